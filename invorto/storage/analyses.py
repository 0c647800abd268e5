"""The queue of analyses: claimed for a while, and over in the transaction that writes the answer and tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import attrs

from invorto.model.record import OutboxEvent, Summary
from invorto.storage import system
from invorto.storage.postgres import Database


@attrs.frozen(kw_only=True)
class Claimed:
    """A call to be analysed, ours until the lease ends; *attempts* counts this one."""

    call_id: str
    tenant_id: str
    asked: Mapping[str, Any]
    attempts: int
    token: UUID


async def claim(db: Database, most: int, lease: float) -> list[Claimed]:
    """Claim up to *most* that are due, the oldest first, for *lease* seconds; after it anybody may."""
    return [Claimed(**row) for row in await system.claim_analyses(db, most, lease)]


async def settle(
    db: Database, claimed: Claimed, *, summary: Summary | None, analysis: Mapping[str, Any] | None, fact: OutboxEvent
) -> bool:
    """
    Write what was made of a call, and tell of it, in one transaction.

    False, and nothing is changed, if the claim is no longer ours: somebody else has settled it, or will.
    """
    async with db.tenant(claimed.tenant_id) as work:
        gone = await work.fetchval(
            "DELETE FROM analyses WHERE call_id = $1 AND token = $2 RETURNING 1", claimed.call_id, claimed.token
        )
        if gone is None:
            return False
        await work.execute(
            "UPDATE call_results SET summary = coalesce($2, summary), analysis = $3 WHERE call_id = $1",
            claimed.call_id, summary and attrs.asdict(summary), analysis,
        )  # fmt: skip
        number = await work.fetchval(
            "UPDATE calls SET outbox_seq = outbox_seq + 1 WHERE id = $1 RETURNING outbox_seq", claimed.call_id
        )
        await work.execute(
            "INSERT INTO outbox (event_id, tenant_id, call_id, type, data, seq) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (event_id) DO NOTHING",
            fact.event_id, claimed.tenant_id, claimed.call_id, fact.type, fact.data, number,
        )  # fmt: skip
    return True
