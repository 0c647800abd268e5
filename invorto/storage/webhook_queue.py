"""The queue of webhooks: facts become deliveries, and deliveries are claimed for a while by one node."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import attrs

from invorto.model import pace
from invorto.model.webhook import Event
from invorto.storage import system
from invorto.storage.postgres import Database, Record, Work

ROUTED = 500
"""Facts that become deliveries in one transaction."""
_LOOKED_AT = 200
"""Endpoints that one claim looks at, those that have waited longest."""
_LOCK = 0x57_45_42_48_4F_4F_4B
"""The number of the advisory lock of whoever routes."""

IN_FLIGHT = 10
"""Requests to one endpoint at a time, of all nodes."""
AHEAD = 40
"""Deliveries to an endpoint in good health that are claimed besides, so that its next request waits for no query."""
SICK = 5
"""Failures in a row after which an endpoint gets one request at a time, until one arrives."""


@attrs.frozen(kw_only=True)
class Receiver:
    """An endpoint as whoever delivers to it needs it; what is secret is sealed, bound to the id."""

    id: str
    tenant_id: str
    url: str
    headers: bytes | None
    secret: bytes
    previous: bytes | None
    """The secret of before, as long as it signs."""
    legacy: bool
    environment: bool
    fifo: bool
    in_flight: int
    """Requests at a time."""
    room: int
    """Claims at a time."""


@attrs.frozen(kw_only=True)
class Claim:
    """A delivery that is ours until the lease ends; the token says so."""

    id: str
    token: UUID
    webhook_id: str
    event: Event
    step: int
    """Attempts since the schedule began."""
    began_at: datetime | None
    """The first of them."""


@attrs.frozen(kw_only=True)
class Claimed:
    """What one look at the queue gave."""

    receivers: Mapping[str, Receiver]
    claims: Sequence[Claim] = ()
    soon: float | None = None
    """Seconds until one that has to keep a pace may get more."""


async def route(db: Database) -> int:
    """
    Make deliveries of the oldest facts, one for each endpoint that wants it; tell of how many facts.

    One node routes at a time, so that a call's deliveries are made in their order; another one gets 0.
    """
    return await system.dispatching(db, _route)


async def _route(work: Work) -> int:
    if not await work.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
        return 0
    return await work.fetchval(_ROUTE, ROUTED)


NEW_ID = (
    "'dlv_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'"
    " || substr(replace(gen_random_uuid()::text, '-', ''), 14)"
)
"""An id of ours, made where many are made at once."""

_ROUTE = f"""
WITH batch AS MATERIALIZED (
    SELECT event_id, tenant_id, call_id, seq, type, position FROM outbox WHERE routed_at IS NULL
    ORDER BY position LIMIT $1
), made AS (
    INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, call_id, seq, type)
    SELECT {NEW_ID}, b.tenant_id, e.id, b.event_id, b.call_id, b.seq, b.type
    FROM batch AS b JOIN webhooks AS e ON e.tenant_id = b.tenant_id AND e.status = 'active'
        AND (b.type = ANY(e.events) OR '*' = ANY(e.events))
    ORDER BY b.position
    ON CONFLICT (event_id, webhook_id) DO NOTHING
), done AS (
    UPDATE outbox AS o SET routed_at = now() FROM batch AS b WHERE o.event_id = b.event_id RETURNING 1
)
SELECT count(*)::int FROM done
"""  # noqa: S608 - our words


async def claim(db: Database, node_id: str, *, lease: float, most: int, full: Collection[str] = ()) -> Claimed:
    """
    Claim up to *most* deliveries that are due, for *lease* seconds, of all endpoints but the *full* ones.

    An endpoint belongs to the node that has claims on it, so that its limits hold over all nodes. Of several, each
    gets one before any gets a second.
    """
    return await system.dispatching(
        db, partial(_claim, node_id=node_id, lease=timedelta(seconds=lease), most=most, full=list(full))
    )


async def _claim(work: Work, *, node_id: str, lease: timedelta, most: int, full: list[str]) -> Claimed:
    rows = await work.fetch(_WAITING, full, _LOOKED_AT)
    if not rows:
        return Claimed(receivers={})
    names = [row["id"] for row in rows]
    fifo = [row["fifo"] for row in rows]
    found = await work.fetch(
        _CLAIM, names, [_room(row) for row in rows], [_paced(row) for row in rows], fifo, node_id, most, lease
    )
    counts: dict[str, int] = dict.fromkeys(names, 0)
    for one in found:
        counts[one["webhook_id"]] += 1
    paced = [row for row in rows if row["rate_limit"] is not None]
    spent = [(row["id"], _spent(row, counts[row["id"]])) for row in paced if counts[row["id"]]]
    if spent:
        await work.executemany("UPDATE webhooks SET rate_tat = to_timestamp($2) WHERE id = $1", spent)
    due = dict(spent)
    waits = [pace.wait(row["rate_limit"], due.get(row["id"], row["due"]), row["now"]) for row in paced]
    return Claimed(
        receivers={row["id"]: _receiver(row) for row in rows},
        claims=[_claimed(one) for one in found],
        soon=min((wait for wait in waits if wait > 0), default=None),
    )


def _limit(row: Record) -> int:
    return 1 if row["failures"] >= SICK else IN_FLIGHT


def _room(row: Record) -> int:
    """Tell how many claims an endpoint may have at once."""
    return _limit(row) + (AHEAD if not row["failures"] and row["rate_limit"] is None else 0)


def _paced(row: Record) -> int | None:
    """Tell how many it may be given now; None: as many as there is room for."""
    return None if row["rate_limit"] is None else pace.room(row["rate_limit"], row["due"], row["now"])


def _spent(row: Record, count: int) -> float:
    return pace.after(row["rate_limit"], row["due"], row["now"], count)


def _receiver(row: Record) -> Receiver:
    return Receiver(
        id=row["id"], tenant_id=row["tenant_id"], url=row["url"], headers=row["headers"], secret=row["secret"],
        previous=row["previous"], legacy=row["legacy"], environment=row["environment"], fifo=row["fifo"],
        in_flight=_limit(row), room=_room(row),
    )  # fmt: skip


def _claimed(row: Record) -> Claim:
    event = Event(
        event_id=row["event_id"], tenant_id=row["tenant_id"], call_id=row["call_id"], seq=row["seq"], type=row["type"],
        data=row["data"], created_at=row["written_at"],
    )  # fmt: skip
    return Claim(
        id=row["id"], token=row["token"], webhook_id=row["webhook_id"], event=event, step=row["step"],
        began_at=row["began_at"],
    )  # fmt: skip


# Hops from endpoint to endpoint through the index: what waits for one of them is not read through.
_WAITING = """
WITH RECURSIVE waiting (webhook_id) AS (
    (SELECT webhook_id FROM deliveries WHERE status = 'pending' ORDER BY webhook_id LIMIT 1)
    UNION ALL
    SELECT (SELECT d.webhook_id FROM deliveries AS d WHERE d.status = 'pending' AND d.webhook_id > w.webhook_id
            ORDER BY d.webhook_id LIMIT 1)
    FROM waiting AS w WHERE w.webhook_id IS NOT NULL
), ready AS MATERIALIZED (
    SELECT w.webhook_id, d.due_at FROM waiting AS w CROSS JOIN LATERAL (
        SELECT d.due_at FROM deliveries AS d WHERE d.webhook_id = w.webhook_id AND d.status = 'pending'
        ORDER BY d.due_at LIMIT 1) AS d
    WHERE d.due_at <= now() AND w.webhook_id <> ALL($1)
)
SELECT e.id, e.tenant_id, e.url, e.headers, e.secret, e.legacy, e.environment, e.failures, e.fifo, e.rate_limit,
    CASE WHEN e.previous_until > now() THEN e.previous_secret END AS previous,
    extract(epoch FROM e.rate_tat)::float8 AS due, extract(epoch FROM now())::float8 AS now
FROM webhooks AS e JOIN ready AS r ON r.webhook_id = e.id
WHERE e.status = 'active'
ORDER BY r.due_at LIMIT $2
FOR NO KEY UPDATE OF e SKIP LOCKED
"""

# A statement of its own: it sees what others claimed before the endpoints were ours.
_CLAIM = """
WITH room AS (
    SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::bool[]) AS r (webhook_id, most, paced, fifo)
), picked AS (
    SELECT p.id, p.event_id, p.due_at, row_number() OVER (PARTITION BY r.webhook_id ORDER BY p.due_at, p.id) AS place
    FROM room AS r CROSS JOIN LATERAL (
        SELECT d.id, d.event_id, d.due_at FROM deliveries AS d
        WHERE d.webhook_id = r.webhook_id AND d.status = 'pending' AND d.due_at <= now()
            AND (NOT r.fifo OR d.call_id IS NULL OR NOT EXISTS (
                SELECT FROM deliveries AS b WHERE b.webhook_id = d.webhook_id AND b.call_id = d.call_id
                    AND b.status = 'pending' AND b.seq < d.seq))
        ORDER BY d.due_at, d.id
        LIMIT (
            SELECT CASE WHEN bool_or(o.node_id <> $5) THEN 0 ELSE greatest(0, least(r.paced, r.most - count(*))) END
            FROM deliveries AS o
            WHERE o.webhook_id = r.webhook_id AND o.status = 'pending' AND o.token IS NOT NULL AND o.due_at > now())
        FOR UPDATE SKIP LOCKED
    ) AS p
), chosen AS (
    SELECT id, event_id FROM picked ORDER BY place, due_at LIMIT $6
)
UPDATE deliveries AS d SET token = gen_random_uuid(), node_id = $5, due_at = now() + $7
FROM chosen AS c JOIN outbox AS o ON o.event_id = c.event_id
WHERE d.id = c.id
RETURNING d.id, d.token, d.webhook_id, d.event_id, d.tenant_id, d.call_id, d.seq, d.type, d.step, d.began_at, o.data,
    o.created_at AS written_at
"""


async def hand_back(db: Database, claims: Collection[tuple[str, UUID]]) -> int:
    """Give up claims, by id and token, on deliveries that were not tried; tell how many were still ours."""
    if not claims:
        return 0
    return await system.dispatching(db, partial(_hand_back, claims=list(claims)))


async def _hand_back(work: Work, *, claims: list[tuple[str, UUID]]) -> int:
    rows: Any = await work.fetch(
        "UPDATE deliveries AS d SET token = NULL, node_id = NULL, due_at = now()"
        " FROM unnest($1::text[], $2::uuid[]) AS c (id, token) WHERE d.id = c.id AND d.token = c.token RETURNING d.id",
        [name for name, _ in claims],
        [token for _, token in claims],
    )
    return len(rows)
