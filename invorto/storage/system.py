"""What must see all tenants at once: the one file whose units of work run as ``invorto_system``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import asyncpg
import attrs

from invorto.errors import Conflict, NotFound, StoreUnavailable
from invorto.model.call import CallStatus
from invorto.model.record import OutboxEvent
from invorto.storage.postgres import Database, Record, Work


@attrs.frozen
class Note:
    """A fact about a call that goes on, for the outbox."""

    call_id: str
    tenant_id: str
    event: OutboxEvent


@attrs.frozen(kw_only=True)
class LiveCall:
    """A call that has not ended, wherever it runs."""

    id: str
    tenant_id: str
    status: CallStatus
    node_id: str | None
    epoch: int
    created_at: datetime


def _everybody(db: Database) -> AbstractAsyncContextManager[Work]:
    return db._system()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - this file is the one that may


async def add_tenant(db: Database, tenant_id: str, name: str, settings: Mapping[str, Any]) -> Record:
    """Add a row to tenants; `Conflict` if there is one of that id."""
    try:
        async with _everybody(db) as work:
            return await work.one(
                "INSERT INTO tenants (id, name, settings) VALUES ($1, $2, $3) RETURNING *", tenant_id, name, settings
            )
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"there is a tenant {tenant_id} already") from error


async def add_tenant_and_key(
    db: Database, tenant: tuple[str, str, Mapping[str, Any]], key: tuple[str, str, str, bytes]
) -> Record:
    """Add a tenant (id, name, settings) and its first key (id, role, name, digest), both or neither; give its row."""
    async with _everybody(db) as work:
        row = await work.one("INSERT INTO tenants (id, name, settings) VALUES ($1, $2, $3) RETURNING *", *tenant)
        await work.execute(
            "INSERT INTO keys (tenant_id, id, role, name, digest) VALUES ($1, $2, $3, $4, $5)", tenant[0], *key
        )
    return row


async def change_tenant(db: Database, tenant_id: str, name: str | None, settings: Mapping[str, Any] | None) -> Record:
    """Change a tenant's name, its settings, or both; `NotFound`."""
    async with _everybody(db) as work:
        row = await work.fetchrow(
            "UPDATE tenants SET name = coalesce($2, name), settings = coalesce($3, settings) WHERE id = $1 RETURNING *",
            tenant_id, name, settings,
        )  # fmt: skip
    if row is None:
        raise NotFound(f"no tenant {tenant_id}")
    return row


async def tenant_page(db: Database, search: str | None, most: int, skip: int) -> tuple[list[Record], int]:
    """Give some rows of tenants, the newest first, and how many there are in all; *search* is a pattern for ILIKE."""
    where = "$1::text IS NULL OR name ILIKE $1 OR id ILIKE $1"
    async with _everybody(db) as work:
        total = await work.fetchval(f"SELECT count(*) FROM tenants WHERE {where}", search)  # noqa: S608
        rows = await work.fetch(
            f"SELECT * FROM tenants WHERE {where} ORDER BY created_at DESC, id DESC LIMIT {most} OFFSET {skip}",  # noqa: S608
            search,
        )
    return rows, total


async def add_deed(db: Database, id: str, deed: Mapping[str, Any]) -> None:
    """Write a row of audit."""
    async with _everybody(db) as work:
        await work.execute(
            "INSERT INTO audit (id, tenant_id, actor, role, action, target, request_id, address, details)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            id, deed["tenant_id"], deed["actor"], deed["role"], deed["action"], deed["target"], deed["request_id"],
            deed["address"], deed["details"],
        )  # fmt: skip


async def keys_of(db: Database, tenant_id: str) -> list[Record]:
    """Give a tenant's keys, the operators' among them, the newest first."""
    async with _everybody(db) as work:
        return await work.fetch("SELECT * FROM keys WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC", tenant_id)


async def revoke_key(db: Database, tenant_id: str, id: str) -> Record | None:
    """Revoke any key of a tenant, an operator's too; None where there is none."""
    async with _everybody(db) as work:
        return await work.fetchrow(
            "UPDATE keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1 AND id = $2 RETURNING *",
            tenant_id, id,
        )  # fmt: skip


async def revoked_among(db: Database, ids: Sequence[str]) -> list[str]:
    """Give those of the keys that count no longer."""
    async with _everybody(db) as work:
        rows = await work.fetch(
            "SELECT i.id FROM unnest($1::text[]) AS i (id) LEFT JOIN keys AS k ON k.id = i.id"
            " WHERE k.id IS NULL OR k.revoked_at IS NOT NULL",
            list(ids),
        )
    return [row["id"] for row in rows]


async def tenants(db: Database) -> list[Record]:
    """Give all rows of tenants, the oldest first."""
    async with _everybody(db) as work:
        return await work.fetch("SELECT * FROM tenants ORDER BY created_at, id")


async def add_key(db: Database, tenant_id: str, key: tuple[str, str, str, bytes]) -> Record:
    """Add a key (id, role, name, digest); `NotFound` where there is no such tenant."""
    try:
        async with _everybody(db) as work:
            return await work.one(
                "INSERT INTO keys (tenant_id, id, role, name, digest) VALUES ($1, $2, $3, $4, $5) RETURNING *",
                tenant_id,
                *key,
            )
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound(f"no tenant {tenant_id}") from error


async def key_of(db: Database, digest: bytes) -> Record | None:
    """Give the row of the key with that digest, revoked or not."""
    async with _everybody(db) as work:
        return await work.fetchrow("SELECT * FROM keys WHERE digest = $1", digest)


async def erase_facts(db: Database, tenant_id: str, call_ids: Sequence[str]) -> int:
    """Delete what webhooks are told of some calls, with its deliveries; give how many events that were."""
    async with _everybody(db) as work:
        gone = await work.fetch(
            "DELETE FROM outbox WHERE tenant_id = $1 AND call_id = ANY($2) RETURNING event_id",
            tenant_id,
            list(call_ids),
        )
    return len(gone)


async def tenant_of(db: Database, call_id: str) -> str | None:
    """Give the tenant of a call, or None when there is no such call."""
    async with _everybody(db) as work:
        return await work.fetchval("SELECT tenant_id FROM calls WHERE id = $1", call_id)


async def live_calls(db: Database, limit: int = 1000) -> list[LiveCall]:
    """Give the calls that have not ended, the oldest first: what a reconciler compares with the leases."""
    async with _everybody(db) as work:
        rows = await work.fetch(
            "SELECT id, tenant_id, status, node_id, epoch, created_at FROM calls WHERE ended_at IS NULL"
            " ORDER BY created_at LIMIT $1",
            limit,
        )
    return [
        LiveCall(
            id=row["id"],
            tenant_id=row["tenant_id"],
            status=CallStatus(row["status"]),
            node_id=row["node_id"],
            epoch=row["epoch"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def claim(db: Database, call: LiveCall, node_id: str) -> int | None:
    """
    Make *node_id* the owner of a call whose node is lost, and give its new epoch.

    None where it has ended, has an owner newer than *call* says, or somebody is claiming it in this very moment.
    """
    async with _everybody(db) as work:
        return await work.fetchval(
            "UPDATE calls SET epoch = epoch + 1, node_id = $3 WHERE id = (SELECT id FROM calls"
            " WHERE id = $1 AND epoch = $2 AND ended_at IS NULL FOR UPDATE SKIP LOCKED) RETURNING epoch",
            call.id, call.epoch, node_id,
        )  # fmt: skip


async def nobody_talks(db: Database) -> bool:
    """Tell whether no call holds a slot as far as is written; False too while PostgreSQL is away."""
    try:
        async with _everybody(db) as work:
            return not await work.fetchval(
                "SELECT EXISTS (SELECT FROM calls WHERE ended_at IS NULL"
                " AND status IN ('dialing', 'ringing', 'active'))"
            )
    except StoreUnavailable:
        return False


async def note(db: Database, notes: Sequence[Note]) -> None:
    """
    Write facts of any number of calls to the outbox, in one transaction.

    Each gets the next number of its call, in the order given. A fact whose event id is there already is left out, so
    that writing them again, after a commit of which nobody knew, does no harm.
    """
    if not notes:
        return
    rows = [
        {
            "event_id": item.event.event_id,
            "tenant_id": item.tenant_id,
            "call_id": item.call_id,
            "type": item.event.type,
            "data": item.event.data,
            "place": place,
        }
        for place, item in enumerate(notes)
    ]
    async with _everybody(db) as work:
        await work.execute(_NOTE, rows)


_NOTE = """
WITH fresh AS (
    SELECT i.* FROM jsonb_to_recordset($1)
        AS i (event_id text, tenant_id text, call_id text, type text, data jsonb, place integer)
    WHERE NOT EXISTS (SELECT FROM outbox AS o WHERE o.event_id = i.event_id)
), locked AS (
    SELECT id FROM calls WHERE id IN (SELECT call_id FROM fresh) ORDER BY id FOR UPDATE
), numbered AS (
    UPDATE calls AS c SET outbox_seq = c.outbox_seq + f.n
    FROM (SELECT call_id, count(*)::int AS n FROM fresh JOIN locked ON locked.id = call_id GROUP BY call_id) AS f
    WHERE c.id = f.call_id
    RETURNING c.id, c.outbox_seq - f.n AS base
)
INSERT INTO outbox (event_id, tenant_id, call_id, type, data, seq)
SELECT event_id, tenant_id, call_id, type, data,
    base + row_number() OVER (PARTITION BY call_id ORDER BY place)
FROM fresh LEFT JOIN numbered ON numbered.id = call_id
ORDER BY place
ON CONFLICT (event_id) DO NOTHING
"""


async def dispatching[T](db: Database, step: Callable[[Work], Awaitable[T]]) -> T:
    """Do one unit of work on the queue of webhooks, which is all tenants': what `storage.webhook_*` are made of."""
    async with _everybody(db) as work:
        return await step(work)


async def claim_analyses(db: Database, most: int, lease: float) -> list[Record]:
    """Claim up to *most* calls whose analysis is due, for *lease* seconds."""
    async with _everybody(db) as work:
        return await work.fetch(
            "UPDATE analyses SET token = gen_random_uuid(), attempts = attempts + 1,"
            " due_at = now() + make_interval(secs => $2)"
            " WHERE call_id IN (SELECT call_id FROM analyses WHERE due_at <= now() ORDER BY due_at LIMIT $1"
            " FOR UPDATE SKIP LOCKED) RETURNING call_id, tenant_id, asked, attempts, token",
            most,
            lease,
        )
