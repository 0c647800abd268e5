"""Endpoints of webhooks, tenant by tenant; what is secret of them comes and goes sealed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import attrs

from invorto.errors import LimitReached, NotFound
from invorto.model.webhook import Endpoint, EndpointStatus
from invorto.storage.listing import window
from invorto.storage.postgres import Database, Record, Work
from invorto.storage.webhook_outcomes import give_up

MOST = 100
"""Endpoints of one tenant."""
_COLUMNS = (
    "id, tenant_id, url, events, description, header_names, rate_limit, fifo, legacy, status, disabled_reason,"
    " disabled_at, failing_since, environment, CASE WHEN previous_until > now() THEN previous_until END"
    " AS previous_until, created_at, updated_at"
)
_CHANGEABLE = frozenset(
    {"url", "events", "description", "header_names", "headers", "rate_limit", "fifo", "legacy", "status"}
)
WAKE = "SELECT pg_notify('invorto_webhooks', '')"
"""Has those who deliver look at the queue when the transaction is committed."""


@attrs.frozen(kw_only=True)
class New:
    """An endpoint that is to be made."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: bytes
    """Sealed, as are *headers*."""
    description: str = ""
    header_names: tuple[str, ...] = ()
    headers: bytes | None = None
    rate_limit: float | None = None
    fifo: bool = False
    legacy: bool = False


async def create(db: Database, tenant_id: str, new: New) -> Endpoint:
    """Make an endpoint; `LimitReached` where the tenant has too many, `NotFound` without the tenant."""
    try:
        async with db.tenant(tenant_id) as work:
            held = await work.fetchval("SELECT count(*) FROM webhooks WHERE tenant_id = $1", tenant_id)
            if held >= MOST:
                raise LimitReached("quota", MOST, held, retry_after=60, message=f"a tenant has at most {MOST} webhooks")
            row = await work.one(
                "INSERT INTO webhooks (id, tenant_id, url, events, secret, description, header_names, headers,"  # noqa: S608
                f" rate_limit, fifo, legacy) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
                f" RETURNING {_COLUMNS}",
                new.id, tenant_id, new.url, list(new.events), new.secret, new.description, list(new.header_names),
                new.headers, new.rate_limit, new.fifo, new.legacy,
            )  # fmt: skip
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound(f"no tenant {tenant_id}") from error
    return _endpoint(row)


async def get(db: Database, tenant_id: str, id: str) -> Endpoint:
    """Give an endpoint; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        return _endpoint(await _one(work, id))


async def listing(
    db: Database, tenant_id: str, *, page: int = 1, limit: int = 20, status: EndpointStatus | None = None
) -> tuple[list[Endpoint], int]:
    """Give one page of endpoints, the oldest first, and how many there are in all."""
    most, skip = window(page, limit)
    async with db.tenant(tenant_id) as work:
        where = "$1::text IS NULL OR status = $1"
        total = await work.fetchval(f"SELECT count(*) FROM webhooks WHERE {where}", status)  # noqa: S608 - our words
        rows = await work.fetch(
            f"SELECT {_COLUMNS} FROM webhooks WHERE {where} ORDER BY created_at, id LIMIT $2 OFFSET $3",  # noqa: S608
            status, most, skip,
        )  # fmt: skip
    return [_endpoint(row) for row in rows], total


async def change(db: Database, tenant_id: str, id: str, fields: Mapping[str, Any]) -> Endpoint:
    """
    Change columns of an endpoint; `NotFound`.

    ``active`` begins its health anew, and wakes who delivers; ``disabled`` gives up what waits for it.
    """
    if not fields.keys() <= _CHANGEABLE:
        raise ValueError(f"not to be changed: {sorted(fields.keys() - _CHANGEABLE)}")
    async with db.tenant(tenant_id) as work:
        before = await _one(work, id, "FOR NO KEY UPDATE")
        given = dict(fields)
        status = given.pop("status", before["status"])
        if status != before["status"]:
            given["status"] = status
        sets = [f"{name} = ${place}" for place, name in enumerate(given, 2)] + ["updated_at = now()"]
        if "status" in given:
            sets += _turned(status)
        row = await work.one(
            f"UPDATE webhooks SET {', '.join(sets)} WHERE id = $1 RETURNING {_COLUMNS}",  # noqa: S608 - our words
            id,
            *given.values(),
        )
        if "status" in given:
            await (work.execute(WAKE) if status == "active" else give_up(work))
    return _endpoint(row)


def _turned(status: EndpointStatus) -> list[str]:
    if status == "active":
        return ["disabled_reason = NULL", "disabled_at = NULL", "failures = 0", "failing_since = NULL"]
    return ["disabled_reason = 'request'", "disabled_at = now()"]


async def rotate(
    db: Database, tenant_id: str, id: str, secret: bytes, overlap: timedelta = timedelta(hours=24)
) -> Endpoint:
    """Put a new sealed secret in place; the one that it replaces signs too for *overlap*. `NotFound`."""
    async with db.tenant(tenant_id) as work:
        await _one(work, id)
        return _endpoint(
            await work.one(
                "UPDATE webhooks SET previous_secret = secret, previous_until = now() + $3::interval, secret = $2,"  # noqa: S608
                f" updated_at = now() WHERE id = $1 RETURNING {_COLUMNS}",
                id,
                secret,
                overlap,
            )
        )


async def remove(db: Database, tenant_id: str, id: str) -> None:
    """Take an endpoint away with everything that waits for it; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        if await work.execute("DELETE FROM webhooks WHERE id = $1", id) == "DELETE 0":
            raise NotFound(f"no webhook {id}")


async def of_environment(db: Database, tenant_id: str) -> tuple[Endpoint, bytes] | None:
    """Give the endpoint that was made of the environment, and its sealed secret."""
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(f"SELECT {_COLUMNS}, secret FROM webhooks WHERE environment")  # noqa: S608
    return (_endpoint(row), row["secret"]) if row else None


async def put_environment(db: Database, tenant_id: str, new: New) -> Endpoint:
    """Make the endpoint of the environment, or give it the URL and the secret of *new*."""
    async with db.tenant(tenant_id) as work:
        row = await work.one(
            "INSERT INTO webhooks (id, tenant_id, url, events, secret, description, legacy, environment)"  # noqa: S608
            " VALUES ($1, $2, $3, $4, $5, $6, $7, true)"
            " ON CONFLICT (tenant_id) WHERE environment DO UPDATE SET url = $3, updated_at = now()"
            f" RETURNING {_COLUMNS}",
            new.id, tenant_id, new.url, list(new.events), new.secret, new.description, new.legacy,
        )  # fmt: skip
    return _endpoint(row)


async def _one(work: Work, id: str, lock: str = "") -> Record:
    row = await work.fetchrow(f"SELECT {_COLUMNS} FROM webhooks WHERE id = $1 {lock}", id)  # noqa: S608 - our words
    if row is None:
        raise NotFound(f"no webhook {id}")
    return row


def _endpoint(row: Record) -> Endpoint:
    values: dict[str, Any] = {field.name: row[field.name] for field in attrs.fields(Endpoint)}
    values |= {name: tuple(values[name]) for name in ("events", "header_names")}
    return Endpoint(**values)
