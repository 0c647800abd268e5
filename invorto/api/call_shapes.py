"""What is answered of calls."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.model.call import Call, CallStatus, Direction, EndReason
from invorto.model.record import Cost, Summary, TurnMetrics, Utterance
from invorto.storage import calls


@attrs.frozen(kw_only=True)
class CallAnswer:
    """A call: what fences owners and names machines is nobody's business outside."""

    id: str
    tenant_id: str
    agent_id: str
    agent_version: int
    direction: Direction
    status: CallStatus
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    end_reason: EndReason | None
    to: str | None
    from_: str | None
    campaign_id: str | None
    duration: float | None
    """Seconds from start to end."""
    cost_inr: str | None
    """The sum of its costs in ₹, decimal, to the paisa."""
    metadata: Mapping[str, Any]
    variables: Mapping[str, str]
    recording: bool | None
    """null: as the agent says."""
    transcription: bool | None

    @classmethod
    def of(cls, call: Call) -> CallAnswer:
        """Make what is answered of a call."""
        return CallAnswer(**{field.alias: getattr(call, field.name) for field in attrs.fields(CallAnswer)})


@attrs.frozen(kw_only=True)
class CallDetail(CallAnswer):
    """All that is kept of a call, and where the rest is."""

    live: bool
    costs: tuple[Cost, ...]
    usage: Mapping[str, Any]
    summary: Summary | None
    analysis: Mapping[str, Any] | None
    metrics: tuple[TurnMetrics, ...]
    consent: Mapping[str, Any] | None
    agent_config: Mapping[str, Any] | None
    """The agent's configuration as it was at the start."""
    recording_url: str | None
    timeline_url: str
    transcript_url: str


@attrs.frozen(kw_only=True)
class TranscriptAnswer:
    """What was said; empty while the call goes on."""

    call_id: str
    transcript: tuple[Utterance, ...]


def detail_answer(detail: calls.Detail, *, live: bool) -> CallDetail:
    """Make what is answered of one call."""
    call = detail["call"]
    here = f"/v1/calls/{call.id}"
    return CallDetail(
        **attrs.asdict(CallAnswer.of(call), recurse=False),
        live=live,
        costs=detail["costs"],
        usage=detail["usage"],
        summary=detail["summary"],
        analysis=detail["analysis"],
        metrics=detail["metrics"],
        consent=detail["consent"],
        agent_config=detail["agent"],
        recording_url=f"{here}/recording" if detail["recording"] else None,
        timeline_url=f"{here}/timeline",
        transcript_url=f"{here}/transcript",
    )
