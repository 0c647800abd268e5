"""Tools by name, tenant by tenant, and the sealed secrets that they take along."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import asyncpg
import attrs

from invorto.convert import ANSWERS, structure, unstructure
from invorto.errors import Conflict, LimitReached, NotFound
from invorto.model.agent import ToolDefinition
from invorto.model.ids import new_id
from invorto.storage.listing import window
from invorto.storage.postgres import Database, Record

MOST = 200
"""Tools of one tenant, and secrets."""


@attrs.frozen(kw_only=True)
class Tool:
    """A tool as it is kept."""

    id: str
    name: str
    definition: ToolDefinition
    created_at: datetime
    updated_at: datetime


@attrs.frozen(kw_only=True)
class Secret:
    """A secret, sealed: bound to its *id*."""

    id: str
    name: str
    created_at: datetime
    updated_at: datetime
    value: bytes = attrs.field(default=b"", repr=False)


_COLUMNS = "id, name, definition, created_at, updated_at"


async def create(db: Database, tenant_id: str, definition: ToolDefinition) -> Tool:
    """Keep a tool; `Conflict` where the name is taken, `LimitReached` where there are too many."""
    try:
        async with db.tenant(tenant_id) as work:
            held = await work.fetchval("SELECT count(*) FROM tools WHERE tenant_id = $1", tenant_id)
            if held >= MOST:
                raise LimitReached("quota", MOST, held, retry_after=60)
            row = await work.one(
                f"INSERT INTO tools (id, tenant_id, name, definition) VALUES ($1, $2, $3, $4) RETURNING {_COLUMNS}",  # noqa: S608
                new_id("tool"), tenant_id, definition.name, unstructure(definition),
            )  # fmt: skip
    except asyncpg.UniqueViolationError:
        raise Conflict(f"there is a tool called {definition.name}") from None
    return _tool(row)


async def listing(db: Database, tenant_id: str, *, page: int = 1, limit: int = 20) -> tuple[list[Tool], int]:
    """Give one page of tools, the oldest first, and how many there are in all."""
    most, skip = window(page, limit)
    async with db.tenant(tenant_id) as work:
        total = await work.fetchval("SELECT count(*) FROM tools")
        rows = await work.fetch(
            f"SELECT {_COLUMNS} FROM tools ORDER BY created_at, id LIMIT $1 OFFSET $2",  # noqa: S608 - our words
            most,
            skip,
        )
    return [_tool(row) for row in rows], total


async def get(db: Database, tenant_id: str, name: str) -> Tool:
    """Give a tool by its name or id; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(f"SELECT {_COLUMNS} FROM tools WHERE name = $1 OR id = $1", name)  # noqa: S608
    if row is None:
        raise NotFound(f"no tool {name}")
    return _tool(row)


async def remove(db: Database, tenant_id: str, name: str) -> None:
    """Take a tool away; agents that name it go on without. `NotFound`."""
    async with db.tenant(tenant_id) as work:
        if await work.execute("DELETE FROM tools WHERE name = $1 OR id = $1", name) == "DELETE 0":
            raise NotFound(f"no tool {name}")


async def equipment(db: Database, tenant_id: str, names: Collection[str]) -> tuple[list[Tool], list[Secret]]:
    """Give the tools of these *names* that there are, and all secrets: what a call needs, in one go."""
    async with db.tenant(tenant_id) as work:
        tools = await work.fetch(f"SELECT {_COLUMNS} FROM tools WHERE name = ANY($1)", list(names))  # noqa: S608
        secrets = await work.fetch("SELECT * FROM secrets")
    return [_tool(row) for row in tools], [_secret(row) for row in secrets]


# -- secrets --------------------------------------------------------------------------------------


async def secrets(db: Database, tenant_id: str) -> list[Secret]:
    """List a tenant's secrets by name, without their values."""
    async with db.tenant(tenant_id) as work:
        rows = await work.fetch("SELECT id, name, created_at, updated_at FROM secrets ORDER BY name")
    return [_secret(row) for row in rows]


async def secret(db: Database, tenant_id: str, name: str) -> Secret:
    """Give a secret without its value; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow("SELECT id, name, created_at, updated_at FROM secrets WHERE name = $1", name)
    if row is None:
        raise NotFound(f"no secret {name}")
    return _secret(row)


async def put_secret(db: Database, tenant_id: str, id: str, name: str, value: bytes) -> Secret:
    """Keep a secret sealed for *id*, in place of the one of that name; `LimitReached` where there are too many."""
    async with db.tenant(tenant_id) as work:
        held = await work.fetchval("SELECT count(*) FROM secrets WHERE name <> $1", name)
        if held >= MOST:
            raise LimitReached("quota", MOST, held, retry_after=60)
        row = await work.one(
            "INSERT INTO secrets (id, tenant_id, name, value) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (tenant_id, name) DO UPDATE SET id = $1, value = $4, updated_at = now()"
            " RETURNING id, name, created_at, updated_at",
            id, tenant_id, name, value,
        )  # fmt: skip
    return _secret(row)


async def remove_secret(db: Database, tenant_id: str, name: str) -> None:
    """Take a secret away; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        if await work.execute("DELETE FROM secrets WHERE name = $1", name) == "DELETE 0":
            raise NotFound(f"no secret {name}")


def _tool(row: Record) -> Tool:
    given: Mapping[str, Any] = row["definition"]
    definition = structure(given, ToolDefinition, ANSWERS)
    return Tool(
        id=row["id"], name=row["name"], definition=definition, created_at=row["created_at"],
        updated_at=row["updated_at"],
    )  # fmt: skip


def _secret(row: Record) -> Secret:
    return Secret(
        id=row["id"], name=row["name"], created_at=row["created_at"], updated_at=row["updated_at"],
        value=bytes(row.get("value") or b""),
    )  # fmt: skip
