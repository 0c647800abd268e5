"""What a call leaves that nobody held: the record of one that ended before it began, and its event made anew (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.convert import ANSWERS, structure
from invorto.model.agent import AgentConfig
from invorto.model.call import Call, CallStatus, EndReason
from invorto.model.record import FinishedCall
from invorto.realtime.closing import Closing
from invorto.realtime.watch import Watch

REASONS: Mapping[CallStatus, EndReason] = {
    CallStatus.COMPLETED: EndReason.API,
    CallStatus.FAILED: EndReason.ERROR,
    CallStatus.CANCELED: EndReason.CANCELED,
    CallStatus.BUSY: EndReason.BUSY,
    CallStatus.NO_ANSWER: EndReason.NO_ANSWER,
}
"""Why a call ended that somebody says has ended."""
_RATE = 8000
"""What is told as the rate of a call of which nobody knows it."""


def unbegun(
    call: Call, agent: Mapping[str, Any] | None, status: CallStatus, now: datetime, address: str
) -> FinishedCall:
    """Make the record of a call whose media never opened, and that is *status* now; *agent* is its configuration."""
    record = FinishedCall(
        call_id=call.id, tenant_id=call.tenant_id, epoch=call.epoch, status=status, reason=REASONS[status],
        started_at=None, ended_at=max(now, call.created_at), duration=0.0,
    )  # fmt: skip
    return attrs.evolve(record, outbox=_closing(record, call, agent, address).facts())


def at_a_glance(record: FinishedCall, call: Call, agent: Mapping[str, Any] | None, address: str) -> Mapping[str, Any]:
    """Make the data of ``agent.summary`` of a call from what is kept of it, where its own event is there no more."""
    return _closing(record, call, agent, address).facts()[-1].data


def _closing(record: FinishedCall, call: Call, agent: Mapping[str, Any] | None, address: str) -> Closing:
    return Closing(
        record=record, call=call, agent=structure(dict(agent or {}), AgentConfig, ANSWERS), rate=_RATE,
        recording=None, tools=(), watch=Watch(_unheard), address=address,
    )  # fmt: skip


def _unheard(*_: object) -> None:
    """Nothing is watched."""
