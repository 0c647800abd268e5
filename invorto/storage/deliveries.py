"""Deliveries as their tenant sees them: listed, looked into, sent again, and the dead among them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import attrs

from invorto.errors import Conflict, NotFound
from invorto.model.record import OutboxEvent
from invorto.model.webhook import Attempt, Delivery, DeliveryStatus, Endpoint, Event
from invorto.storage.listing import window
from invorto.storage.postgres import Database, Record, Work
from invorto.storage.webhook_queue import NEW_ID
from invorto.storage.webhooks import WAKE

_COLUMNS = ", ".join(f"d.{field.name}" for field in attrs.fields(Delivery))
_WHERE = (
    "($1::text IS NULL OR d.webhook_id = $1) AND ($2::text IS NULL OR d.status = $2)"
    " AND ($3::text IS NULL OR d.type = $3)"
    " AND ($4::text IS NULL OR d.call_id = $4) AND ($5::timestamptz IS NULL OR d.created_at >= $5)"
    " AND ($6::timestamptz IS NULL OR d.created_at < $6)"
)
_AGAIN = "status = 'pending', step = 0, began_at = NULL, due_at = now(), settled_at = NULL"
_UNTRIED = "webhook.test"
"""What was meant for one endpoint is not missing at another."""


@attrs.frozen(kw_only=True)
class Filters:
    """Which deliveries are meant; None: whatever it is."""

    webhook_id: str | None = None
    status: DeliveryStatus | None = None
    type: str | None = None
    call_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def values(self) -> tuple[Any, ...]:
        """Give what the query is asked with."""
        return self.webhook_id, self.status, self.type, self.call_id, self.since, self.until


@attrs.frozen(kw_only=True)
class Detail:
    """All that is kept of one delivery."""

    delivery: Delivery
    event: Event
    attempts: tuple[Attempt, ...]


@attrs.frozen(kw_only=True)
class Stats:
    """How a tenant's webhooks do."""

    depth: int
    """Deliveries that are yet to arrive."""
    oldest_ready: float
    """Seconds since the oldest that nobody has begun became due."""
    delivered: int
    """Within the period, as are the next two."""
    failed: int
    """Attempts."""
    dead: int


async def listing(
    db: Database, tenant_id: str, filters: Filters, *, page: int = 1, limit: int = 20
) -> tuple[list[Delivery], int]:
    """Give one page of deliveries, the newest first, and how many there are in all."""
    most, skip = window(page, limit)
    async with db.tenant(tenant_id) as work:
        total = await work.fetchval(f"SELECT count(*) FROM deliveries AS d WHERE {_WHERE}", *filters.values)  # noqa: S608
        rows = await work.fetch(
            f"SELECT {_COLUMNS} FROM deliveries AS d WHERE {_WHERE}"  # noqa: S608 - our words
            " ORDER BY d.created_at DESC, d.id DESC LIMIT $7 OFFSET $8",
            *filters.values,
            most,
            skip,
        )
    return [_delivery(row) for row in rows], total


async def get(db: Database, tenant_id: str, id: str) -> Detail:
    """Give a delivery with its event and its attempts; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(
            f"SELECT {_COLUMNS}, o.data, o.created_at AS written_at FROM deliveries AS d"  # noqa: S608 - our words
            " JOIN outbox AS o ON o.event_id = d.event_id WHERE d.id = $1",
            id,
        )
        if row is None:
            raise NotFound(f"no delivery {id}")
        tried = await work.fetch(
            "SELECT number, at, status, error, ms, excerpt FROM delivery_attempts WHERE delivery_id = $1"
            " ORDER BY number",
            id,
        )
    event = Event(
        event_id=row["event_id"], tenant_id=row["tenant_id"], call_id=row["call_id"], seq=row["seq"],
        type=row["type"], data=row["data"], created_at=row["written_at"],
    )  # fmt: skip
    return Detail(delivery=_delivery(row), event=event, attempts=tuple(Attempt(**one) for one in tried))


async def retry(db: Database, tenant_id: str, id: str) -> Delivery:
    """
    Send a delivery now, whatever came of it so far, and by the whole schedule again where that was over.

    `NotFound`; `Conflict` while it is on its way, and where its endpoint is disabled.
    """
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(
            "SELECT d.status, d.token, e.status AS endpoint FROM deliveries AS d"
            " JOIN webhooks AS e ON e.id = d.webhook_id WHERE d.id = $1 FOR UPDATE OF d",
            id,
        )
        if row is None:
            raise NotFound(f"no delivery {id}")
        if row["endpoint"] != "active":
            raise Conflict("its endpoint is disabled: set its status to active first")
        if row["token"] is not None:
            raise Conflict("it is on its way just now")
        sets = "due_at = now()" if row["status"] == DeliveryStatus.PENDING else _AGAIN
        made = await work.one(f"UPDATE deliveries AS d SET {sets} WHERE d.id = $1 RETURNING {_COLUMNS}", id)  # noqa: S608
        await work.execute(WAKE)
    return _delivery(made)


async def retry_dead(db: Database, tenant_id: str, filters: Filters) -> int:
    """Send all dead letters again that are meant and whose endpoint is active; tell how many."""
    meant = attrs.evolve(filters, status=DeliveryStatus.DEAD)
    async with db.tenant(tenant_id) as work:
        return await _count(
            work,
            f"UPDATE deliveries AS d SET {_AGAIN} FROM webhooks AS e"  # noqa: S608 - our words
            f" WHERE e.id = d.webhook_id AND e.status = 'active' AND {_WHERE}",
            *meant.values,
        )


async def remove_dead(db: Database, tenant_id: str, filters: Filters) -> int:
    """Take dead letters away that are meant; tell how many."""
    meant = attrs.evolve(filters, status=DeliveryStatus.DEAD)
    async with db.tenant(tenant_id) as work:
        return await _count(work, f"DELETE FROM deliveries AS d WHERE {_WHERE}", *meant.values)  # noqa: S608


async def replay_missing(
    db: Database, tenant_id: str, endpoint: Endpoint, since: datetime, until: datetime | None = None
) -> int:
    """Make deliveries of the facts that an endpoint wants and never was to get, from before it was there too."""
    async with db.tenant(tenant_id) as work:
        return await _count(
            work,
            "INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, call_id, seq, type)"  # noqa: S608 - our words
            f" SELECT {NEW_ID}, o.tenant_id, $1, o.event_id, o.call_id, o.seq, o.type FROM outbox AS o"
            " WHERE o.created_at >= $2 AND ($3::timestamptz IS NULL OR o.created_at < $3)"
            f" AND o.routed_at IS NOT NULL AND o.type <> '{_UNTRIED}' AND NOT o.data ? 'sample'"
            " AND ('*' = ANY($4) OR o.type = ANY($4))"
            " ORDER BY o.position ON CONFLICT (event_id, webhook_id) DO NOTHING",
            endpoint.id, since, until, list(endpoint.events),
        )  # fmt: skip


async def send(
    db: Database, tenant_id: str, webhook_id: str, fact: OutboxEvent, *, call_id: str | None, seq: int | None
) -> Delivery:
    """Write a fact that is meant for one endpoint alone, whatever it wants otherwise, and its delivery."""
    async with db.tenant(tenant_id) as work:
        await work.execute(
            "INSERT INTO outbox (event_id, tenant_id, type, data, call_id, seq, routed_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, now())",
            fact.event_id, tenant_id, fact.type, fact.data, call_id, seq,
        )  # fmt: skip
        row = await work.one(
            "INSERT INTO deliveries AS d (id, tenant_id, webhook_id, event_id, type)"  # noqa: S608 - our words
            f" VALUES ({NEW_ID}, $1, $2, $3, $4) RETURNING {_COLUMNS}",
            tenant_id, webhook_id, fact.event_id, fact.type,
        )  # fmt: skip
    return _delivery(row)


async def stats(db: Database, tenant_id: str, period: timedelta) -> Stats:
    """Tell how a tenant's webhooks do: what waits now, and what came of the deliveries of *period*."""
    async with db.tenant(tenant_id) as work:
        row = await work.one(_STATS, period)
    return Stats(
        depth=row["depth"], oldest_ready=row["oldest_ready"] or 0.0, delivered=row["delivered"], failed=row["failed"],
        dead=row["dead"],
    )  # fmt: skip


_STATS = """
SELECT (SELECT count(*) FROM deliveries WHERE status = 'pending') AS depth,
    (SELECT extract(epoch FROM now() - min(d.due_at))::float8 FROM deliveries AS d JOIN webhooks AS e
        ON e.id = d.webhook_id
        WHERE d.status = 'pending' AND e.status = 'active' AND d.due_at <= now()) AS oldest_ready,
    count(*) FILTER (WHERE status = 'delivered') AS delivered,
    coalesce(sum(attempts - (status = 'delivered')::int), 0)::bigint AS failed,
    count(*) FILTER (WHERE status = 'dead') AS dead
FROM deliveries WHERE created_at >= now() - $1::interval
"""


async def _count(work: Work, statement: str, *args: object) -> int:
    """Do it, wake those who deliver, and tell how many rows it was."""
    tag = await work.execute(statement, *args)
    await work.execute(WAKE)
    return int(tag.rpartition(" ")[2])


def _delivery(row: Record) -> Delivery:
    values: dict[str, Any] = {field.name: row[field.name] for field in attrs.fields(Delivery)}
    values["status"] = DeliveryStatus(values["status"])
    return Delivery(**values)
