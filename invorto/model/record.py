"""What a call leaves behind: the one value that the ledger turns into rows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import attrs

from invorto.model.call import CallStatus, EndReason

type Role = Literal["user", "assistant", "system", "tool"]


@attrs.frozen(kw_only=True)
class Utterance:
    """One turn of one side, as it was heard."""

    role: Role
    text: str
    began: float
    """Seconds since the start of the call, as is *ended*."""
    ended: float
    turn: int
    interrupted: bool = False
    heard_by: Literal["marks", "timed"] | None = None
    """How it is known what was played; None for the caller's words."""
    confidence: float | None = None
    unheard: str | None = None
    """What the agent was about to say when it was interrupted: never in its memory."""


@attrs.frozen(kw_only=True)
class Cost:
    """What one provider's work on a call costs."""

    kind: Literal["transport", "stt", "llm", "tts"]
    provider: str
    quantity: Decimal
    unit: Literal["minutes", "characters", "tokens"]
    inr: Decimal
    """₹, to the hundredth of a paisa; rounded to the paisa when summed."""


@attrs.frozen(kw_only=True)
class TurnMetrics:
    """How quickly one turn was answered; milliseconds, None where it did not happen."""

    turn: int
    eou_ms: float | None = None
    """From the last speech frame to the decision that the caller had finished."""
    stt_ms: float | None = None
    """From the last speech frame to the final transcript."""
    llm_first_token_ms: float | None = None
    """From the decision to the first token."""
    tts_first_chunk_ms: float | None = None
    """From the first sentence to its first audio."""
    voice_to_voice_ms: float | None = None
    """From the last speech frame to the agent's first audio."""


@attrs.frozen(kw_only=True)
class Summary:
    """What came of a call."""

    outcome: str
    reason: str
    next_steps: tuple[str, ...] = ()
    text: str = ""


@attrs.frozen(kw_only=True)
class TimelineEvent:
    """Something that happened in a call: *id* is ``<ms>-<n>``, *timestamp* Unix milliseconds."""

    id: str
    kind: str
    payload: Mapping[str, Any]
    timestamp: int


@attrs.frozen(kw_only=True)
class OutboxEvent:
    """A fact for webhooks: *data* holds what the type's schema says, less what the outbox adds."""

    type: str
    data: Mapping[str, Any]
    event_id: str


@attrs.frozen(kw_only=True)
class FinishedCall:
    """Everything of a call that is over; writing it is one transaction."""

    call_id: str
    tenant_id: str
    epoch: int
    status: CallStatus
    reason: EndReason
    started_at: datetime | None
    """None where its media never opened."""
    ended_at: datetime
    duration: float
    transcript: tuple[Utterance, ...] = ()
    costs: tuple[Cost, ...] = ()
    metrics: tuple[TurnMetrics, ...] = ()
    summary: Summary | None = None
    analysis: Mapping[str, Any] | None = None
    """What rules make of it: disposition, success, data."""
    order: Mapping[str, Any] | None = None
    """What a model is to make of it; it tells of the call's summary when it is done."""
    recording: str | None = None
    """Where the recording is: a URL, or a path below the recordings' folder."""
    timeline: tuple[TimelineEvent, ...] = ()
    consent: Mapping[str, Any] | None = None
    outbox: tuple[OutboxEvent, ...] = ()
    usage: Mapping[str, Any] = attrs.field(factory=dict)
