"""What keeps the queue of webhooks in order: its figures, and the end of what has been kept long enough."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import attrs

from invorto.storage import system
from invorto.storage.postgres import Database, Work
from invorto.storage.webhook_outcomes import give_up

_AT_ONCE = 1000
"""Rows that one transaction takes away."""


@attrs.frozen(kw_only=True)
class Backlog:
    """What waits, of all tenants."""

    facts: int
    """That have not become deliveries."""
    pending: int
    """Deliveries, those in flight and those that wait for their next attempt among them."""
    oldest_ready: float
    """Seconds since the oldest delivery that nobody has claimed became due; 0 where none is.

    Endpoints that fail, or have a rate, are slow by themselves and do not count: this tells how we do."""
    dead: int


async def backlog(db: Database) -> Backlog:
    """Look at the queue."""
    return await system.dispatching(db, _backlog)


async def _backlog(work: Work) -> Backlog:
    row = await work.one(_BACKLOG)
    return Backlog(
        facts=row["facts"], pending=row["pending"], oldest_ready=row["oldest_ready"] or 0.0, dead=row["dead"]
    )


_BACKLOG = """
SELECT (SELECT count(*) FROM outbox WHERE routed_at IS NULL) AS facts,
    (SELECT count(*) FROM deliveries WHERE status = 'pending') AS pending,
    (SELECT count(*) FROM deliveries WHERE status = 'dead') AS dead,
    (SELECT extract(epoch FROM now() - min(first.due_at))::float8
        FROM webhooks AS e CROSS JOIN LATERAL (
            SELECT d.due_at FROM deliveries AS d WHERE d.webhook_id = e.id AND d.status = 'pending'
            ORDER BY d.due_at LIMIT 1) AS first
        WHERE e.status = 'active' AND e.failures = 0 AND e.rate_limit IS NULL AND first.due_at <= now())
        AS oldest_ready
"""


async def purge(db: Database, life: timedelta) -> int:
    """
    Take away deliveries that were settled, and facts that were routed, longer than *life* ago; tell how many rows.

    In many small transactions, so that nobody waits for it.
    """
    taken = 0
    while taken_now := await system.dispatching(db, partial(_purge, life=life)):
        taken += taken_now
    return taken


async def _purge(work: Work, *, life: timedelta) -> int:
    deliveries = await work.fetchval(
        "WITH old AS (DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE status <> 'pending'"
        " AND settled_at < now() - $1::interval ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1)"
        " SELECT count(*)::int FROM old",
        life, _AT_ONCE,
    )  # fmt: skip
    facts = await work.fetchval(
        "WITH old AS (DELETE FROM outbox WHERE event_id IN (SELECT o.event_id FROM outbox AS o"
        " WHERE o.routed_at IS NOT NULL AND o.created_at < now() - $1::interval"
        " AND NOT EXISTS (SELECT FROM deliveries AS d WHERE d.event_id = o.event_id)"
        " ORDER BY o.created_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING 1) SELECT count(*)::int FROM old",
        life, _AT_ONCE,
    )  # fmt: skip
    return deliveries + facts


async def sweep(db: Database) -> int:
    """Give up what waits for endpoints that were disabled while it was on its way."""
    return await system.dispatching(db, give_up)
