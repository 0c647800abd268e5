"""What is changed of a call by others than its owner: metadata, a summary from outside, an end before it began."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.convert import unstructure
from invorto.errors import Conflict, NotFound
from invorto.model.call import Call, CallStatus, EndReason
from invorto.model.ids import new_id
from invorto.model.record import FinishedCall, OutboxEvent, Summary
from invorto.storage import ledger_rows
from invorto.storage.postgres import Database, Work

REASONS: Mapping[CallStatus, EndReason] = {
    CallStatus.COMPLETED: EndReason.API,
    CallStatus.FAILED: EndReason.ERROR,
    CallStatus.CANCELED: EndReason.CANCELED,
    CallStatus.BUSY: EndReason.BUSY,
    CallStatus.NO_ANSWER: EndReason.NO_ANSWER,
}
"""Why a call ended that somebody says has ended."""


async def add_metadata(db: Database, tenant_id: str, id: str, metadata: Mapping[str, Any]) -> None:
    """Lay *metadata* over what a call has, name by name; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        found = await work.fetchval(
            "UPDATE calls SET metadata = metadata || $2 WHERE id = $1 RETURNING id", id, dict(metadata)
        )
    if found is None:
        raise NotFound(f"no call {id}")


async def end_unbegun(db: Database, call: Call, status: CallStatus, now: datetime) -> bool:
    """
    End a call whose media never opened; False where it has been opened, or ended, meanwhile.

    Like every end, one transaction with what is told of it.
    """
    reason = REASONS[status]
    told: dict[str, Any] = {
        "status": status.value, "reason": reason.value, "agentId": call.agent_id, "direction": call.direction.value,
        "duration": 0.0, "costInr": "0.00",
    }  # fmt: skip
    record = FinishedCall(
        call_id=call.id, tenant_id=call.tenant_id, epoch=call.epoch, status=status, reason=reason, started_at=None,
        ended_at=max(now, call.created_at), duration=0.0,
        outbox=(OutboxEvent(type="call.ended", data=told, event_id=new_id("evt")),),
    )  # fmt: skip
    try:
        return await ledger_rows.write(db, record)
    except Conflict:
        return False


async def summarize(
    db: Database, tenant_id: str, id: str, summary: Summary, analysis: Mapping[str, Any] | None
) -> None:
    """
    Keep a summary that was made elsewhere, in place of ours, and publish it in the same transaction.

    *analysis* replaces what there is unless None. `NotFound`; `Conflict` while the call goes on.
    """
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(
            "SELECT agent_id, direction, status, end_reason, duration, cost_inr FROM calls WHERE id = $1 FOR UPDATE", id
        )
        if row is None:
            raise NotFound(f"no call {id}")
        if row["end_reason"] is None:
            raise Conflict("a call is summarized when it has ended")
        kept = await work.fetchval(
            "UPDATE call_results SET summary = $2, analysis = coalesce($3, analysis) WHERE call_id = $1"
            " RETURNING coalesce(analysis, 'null'::jsonb)",
            id, attrs.asdict(summary), analysis,
        )  # fmt: skip
        told: dict[str, Any] = {
            "status": row["status"], "reason": row["end_reason"], "agentId": row["agent_id"],
            "direction": row["direction"], "duration": row["duration"], "costInr": str(row["cost_inr"]),
            "summary": unstructure(summary), "analysis": kept,
        }  # fmt: skip
        await _publish(work, tenant_id, id, OutboxEvent(type="agent.summary", data=told, event_id=new_id("evt")))


async def _publish(work: Work, tenant_id: str, call_id: str, event: OutboxEvent) -> None:
    seq = await work.fetchval(
        "UPDATE calls SET outbox_seq = outbox_seq + 1 WHERE id = $1 RETURNING outbox_seq", call_id
    )
    await work.execute(
        "INSERT INTO outbox (event_id, tenant_id, call_id, type, data, seq) VALUES ($1, $2, $3, $4, $5, $6)",
        event.event_id, tenant_id, call_id, event.type, event.data, seq,
    )  # fmt: skip
