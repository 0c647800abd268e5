"""A call's states, the table of moves between them, and why calls end."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.errors import Conflict


class CallStatus(enum.StrEnum):
    """Where a call is in its life; the last five are the ends."""

    CREATED = "created"
    QUEUED = "queued"
    DIALING = "dialing"
    RINGING = "ringing"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    CANCELED = "canceled"

    @property
    def terminal(self) -> bool:
        """Whether nothing comes after."""
        return self in TERMINAL


class EndReason(enum.StrEnum):
    """Why a call ended: one vocabulary for socket, REST and webhooks."""

    HANGUP = "hangup"
    AGENT = "agent"
    TIMEOUT = "timeout"
    SILENCE = "silence"
    TRANSFER = "transfer"
    ERROR = "error"
    CAPACITY_LOST = "capacity_lost"
    DRAINED = "drained"
    API = "api"
    RESUME_TIMEOUT = "resume_timeout"
    NODE_LOST = "node_lost"
    USAGE_CAP = "usage_cap"
    CONSENT_DECLINED = "consent_declined"
    VOICEMAIL = "voicemail"
    CANCELED = "canceled"
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    BUSY = "busy"


class Direction(enum.StrEnum):
    """Who called whom."""

    WEB = "web"
    INBOUND = "inbound"
    OUTBOUND = "outbound"


TERMINAL = frozenset(
    {CallStatus.COMPLETED, CallStatus.FAILED, CallStatus.BUSY, CallStatus.NO_ANSWER, CallStatus.CANCELED}
)

_ORDER = (CallStatus.CREATED, CallStatus.QUEUED, CallStatus.DIALING, CallStatus.RINGING, CallStatus.ACTIVE)

MOVES: Mapping[CallStatus, frozenset[CallStatus]] = {
    **{status: frozenset(_ORDER[place + 1 :]) | TERMINAL for place, status in enumerate(_ORDER[:-1])},
    CallStatus.ACTIVE: frozenset({CallStatus.COMPLETED, CallStatus.FAILED, CallStatus.CANCELED}),
    **{status: frozenset[CallStatus]() for status in TERMINAL},
}
"""Forward only, skipping allowed since callbacks get lost; an end is for ever."""


def check_move(now: CallStatus, then: CallStatus) -> None:
    """Raise `Conflict` unless a call that is *now* may become *then*."""
    if then not in MOVES[now]:
        raise Conflict(f"a call that is {now} cannot become {then}")


ENDS: Mapping[EndReason, CallStatus] = {
    **dict.fromkeys(EndReason, CallStatus.COMPLETED),
    EndReason.ERROR: CallStatus.FAILED,
    EndReason.CAPACITY_LOST: CallStatus.FAILED,
    EndReason.NODE_LOST: CallStatus.FAILED,
    EndReason.REJECTED: CallStatus.FAILED,
    EndReason.CANCELED: CallStatus.CANCELED,
    EndReason.NO_ANSWER: CallStatus.NO_ANSWER,
    EndReason.BUSY: CallStatus.BUSY,
}
"""The terminal state that each reason leads to."""


@attrs.frozen(kw_only=True)
class Call:
    """A call as it is kept: one row."""

    id: str
    tenant_id: str
    agent_id: str
    agent_version: int
    direction: Direction
    status: CallStatus
    epoch: int
    """Fences writes: the owner's writes carry it, an older one changes nothing."""
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: EndReason | None = None
    to: str | None = None
    from_: str | None = None
    node_id: str | None = None
    campaign_id: str | None = None
    duration: float | None = None
    """Seconds from start to end."""
    cost_inr: str | None = None
    """The sum of its costs in ₹, decimal, to the paisa."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    variables: Mapping[str, str] = attrs.field(factory=dict)
    recording: bool | None = None
    """None: as the agent says."""
    transcription: bool | None = None
