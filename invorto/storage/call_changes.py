"""What is changed of a call by others than its owner: metadata, and a summary from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from invorto.convert import unstructure
from invorto.errors import Conflict, NotFound
from invorto.model.facts import make_fact
from invorto.model.record import Summary
from invorto.storage.postgres import Database


async def add_metadata(db: Database, tenant_id: str, id: str, metadata: Mapping[str, Any]) -> None:
    """Lay *metadata* over what a call has, name by name; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        found = await work.fetchval(
            "UPDATE calls SET metadata = metadata || $2 WHERE id = $1 RETURNING id", id, dict(metadata)
        )
    if found is None:
        raise NotFound(f"no call {id}")


async def summarize(
    db: Database,
    tenant_id: str,
    id: str,
    *,
    summary: Summary,
    analysis: Mapping[str, Any] | None,
    otherwise: Mapping[str, Any],
) -> None:
    """
    Keep a summary that was made elsewhere, in place of ours, and publish it in the same transaction.

    *analysis* replaces what there is unless None. What is published is the call's last ``agent.summary`` with these
    changed, or *otherwise* where that is gone. `NotFound`; `Conflict` while the call goes on.
    """
    async with db.tenant(tenant_id) as work:
        ended = await work.fetchrow("SELECT ended_at FROM calls WHERE id = $1 FOR UPDATE", id)
        if ended is None:
            raise NotFound(f"no call {id}")
        kept = await work.fetchrow(
            "UPDATE call_results SET summary = $2, analysis = coalesce($3, analysis) WHERE call_id = $1"
            " RETURNING analysis",
            id, attrs.asdict(summary), analysis,
        )  # fmt: skip
        if ended["ended_at"] is None or kept is None:
            raise Conflict("a call is summarized when it has ended")
        last = await work.fetchval(
            "SELECT data FROM outbox WHERE call_id = $1 AND type = 'agent.summary' ORDER BY seq DESC LIMIT 1", id
        )
        told = {**(last or otherwise), "summary": unstructure(summary), "analysis": kept["analysis"]}
        event = make_fact("agent.summary", told)
        seq = await work.fetchval("UPDATE calls SET outbox_seq = outbox_seq + 1 WHERE id = $1 RETURNING outbox_seq", id)
        await work.execute(
            "INSERT INTO outbox (event_id, tenant_id, call_id, type, data, seq) VALUES ($1, $2, $3, $4, $5, $6)",
            event.event_id, tenant_id, id, event.type, event.data, seq,
        )  # fmt: skip
