"""Agents: what their owners wrote, and every version of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import asyncpg
import attrs

from invorto.errors import Conflict, NotFound
from invorto.model.agent import Agent, AgentStatus
from invorto.model.ids import new_id
from invorto.storage.listing import order, pattern, window
from invorto.storage.postgres import Database, Record, Work

_COLUMNS = "id, tenant_id, name, status, version, document, created_at, updated_at"
_SORTS = {"createdAt": "created_at", "updatedAt": "updated_at", "name": "name", "status": "status"}
_NULL_MEANS = frozenset({"greeting"})
"""Fields for which null is a value (the caller speaks first), and not the wish to be rid of one."""


@attrs.frozen(kw_only=True)
class AgentVersion:
    """What an agent was from *created_at* on."""

    version: int
    document: Mapping[str, Any]
    created_at: datetime


def merge(document: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """
    Lay *change* over *document* as RFC 7396 has it: objects merge, null removes, anything else replaces.

    A null greeting is kept: it says that the caller speaks first.
    """
    return _merge(document, change, keep=_NULL_MEANS)


def _merge(document: Any, change: Any, keep: frozenset[str] = frozenset()) -> Any:
    if not isinstance(change, Mapping):
        return change
    result: dict[str, Any] = dict(document) if isinstance(document, Mapping) else {}
    for name, value in change.items():
        if value is None and name not in keep:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result


async def create(
    db: Database, tenant_id: str, *, name: str, document: Mapping[str, Any], status: AgentStatus = "active"
) -> Agent:
    """Make an agent, version 1; `Conflict` if the tenant has one of that name, `NotFound` without the tenant."""
    with _clash(name, tenant_id):
        async with db.tenant(tenant_id) as work:
            row = await work.one(
                "INSERT INTO agents (id, tenant_id, name, status, version, document)"  # noqa: S608 - our words
                f" VALUES ($1, $2, $3, $4, 1, $5) RETURNING {_COLUMNS}",
                new_id("a"), tenant_id, name, status, document,
            )  # fmt: skip
            await _keep_version(work, row)
    return Agent(**row)


async def get(db: Database, tenant_id: str, id_or_name: str) -> Agent:
    """Give an agent by its id, or else by its name; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(
            f"SELECT {_COLUMNS} FROM agents WHERE (id = $1 OR name = $1) AND deleted_at IS NULL"  # noqa: S608
            " ORDER BY id = $1 DESC LIMIT 1",
            id_or_name,
        )
    if row is None:
        raise NotFound(f"no agent {id_or_name}")
    return Agent(**row)


async def listing(
    db: Database,
    tenant_id: str,
    *,
    page: int = 1,
    limit: int = 20,
    search: str | None = None,
    status: str | None = None,
    sort_by: str = "createdAt",
    sort_order: str = "desc",
) -> tuple[list[Agent], int]:
    """Give one page of agents, and how many there are in all; `Invalid` for a page or an order that is none."""
    most, skip = window(page, limit)
    sorting = order(_SORTS, sort_by, sort_order)
    where = "deleted_at IS NULL AND ($1::text IS NULL OR name ILIKE $1) AND ($2::text IS NULL OR status = $2)"
    asked = (pattern(search), status)
    async with db.tenant(tenant_id) as work:
        total = await work.fetchval(f"SELECT count(*) FROM agents WHERE {where}", *asked)  # noqa: S608 - our words
        rows = await work.fetch(
            f"SELECT {_COLUMNS} FROM agents WHERE {where} ORDER BY {sorting} LIMIT $3 OFFSET $4",  # noqa: S608
            *asked, most, skip,
        )  # fmt: skip
    return [Agent(**row) for row in rows], total


async def change(
    db: Database,
    tenant_id: str,
    id: str,
    *,
    name: str | None = None,
    document: Mapping[str, Any] | None = None,
    status: AgentStatus | None = None,
    check: Callable[[Mapping[str, Any]], object] | None = None,
    merging: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Any]] = merge,
) -> Agent:
    """
    Change what is given; *document* is merged into what there is, and makes a new version if that changes it.

    *merging* is how, for who knows the fields: which of them are settings, and which are one value.

    *check* sees the merged document while nobody else can change it; what it raises, such as `Invalid`, leaves
    everything as it was. `NotFound`, `Conflict` if the name is taken.
    """
    with _clash(name, tenant_id):
        async with db.tenant(tenant_id) as work:
            before = await _for_update(work, id)
            merged = before["document"] if document is None else merging(before["document"], document)
            if document is not None and check is not None:
                check(merged)
            renewed = merged != before["document"]
            row = await work.one(
                "UPDATE agents SET name = $2, status = $3, document = $4, version = $5,"  # noqa: S608
                f" updated_at = greatest(now(), updated_at) WHERE id = $1 RETURNING {_COLUMNS}",
                id, before["name"] if name is None else name, status or before["status"], merged,
                before["version"] + renewed,
            )  # fmt: skip
            if renewed:
                await _keep_version(work, row)
    return Agent(**row)


async def versions(
    db: Database, tenant_id: str, id: str, *, page: int = 1, limit: int = 20
) -> tuple[list[AgentVersion], int]:
    """Give one page of an agent's versions, the newest first, and how many there are; `NotFound`."""
    most, skip = window(page, limit)
    async with db.tenant(tenant_id) as work:
        newest = await work.fetchval("SELECT version FROM agents WHERE id = $1 AND deleted_at IS NULL", id)
        if newest is None:
            raise NotFound(f"no agent {id}")
        rows = await work.fetch(
            "SELECT version, document, created_at FROM agent_versions WHERE agent_id = $1"
            " ORDER BY version DESC LIMIT $2 OFFSET $3",
            id, most, skip,
        )  # fmt: skip
    return [AgentVersion(**row) for row in rows], newest


async def rollback(
    db: Database, tenant_id: str, id: str, version: int, *, check: Callable[[Mapping[str, Any]], object] | None = None
) -> Agent:
    """
    Make an agent again what it was as *version*, as a new version; nothing changes where it is that already.

    *check* sees the document, which an installation with other engines may have to refuse. `NotFound` for the agent or
    the version.
    """
    async with db.tenant(tenant_id) as work:
        before = await _for_update(work, id)
        document = await work.fetchval(
            "SELECT document FROM agent_versions WHERE agent_id = $1 AND version = $2", id, version
        )
        if document is None:
            raise NotFound(f"the agent {id} has no version {version}")
        if check is not None:
            check(document)
        if document == before["document"]:
            return Agent(**before)
        row = await work.one(
            "UPDATE agents SET document = $2, version = version + 1,"  # noqa: S608 - our words
            f" updated_at = greatest(now(), updated_at) WHERE id = $1 RETURNING {_COLUMNS}",
            id, document,
        )  # fmt: skip
        await _keep_version(work, row)
    return Agent(**row)


async def remove(db: Database, tenant_id: str, id: str) -> None:
    """
    Take an agent away; its calls go on naming it, and another may have its name.

    `Conflict` (``agent_in_use``) while a call is under way, `NotFound`.
    """
    async with db.tenant(tenant_id) as work:
        await _for_update(work, id)
        live = await work.fetchval(
            "SELECT count(*) FROM calls WHERE agent_id = $1 AND ended_at IS NULL AND status <> 'created'", id
        )
        if live:
            raise Conflict(f"the agent holds {live} calls", "agent_in_use")
        await work.execute("UPDATE agents SET deleted_at = now() WHERE id = $1", id)


async def _for_update(work: Work, id: str) -> Record:
    row = await work.fetchrow(
        f"SELECT {_COLUMNS} FROM agents WHERE id = $1 AND deleted_at IS NULL FOR UPDATE",  # noqa: S608 - our words
        id,
    )
    if row is None:
        raise NotFound(f"no agent {id}")
    return row


async def _keep_version(work: Work, row: Record) -> None:
    await work.execute(
        "INSERT INTO agent_versions (tenant_id, agent_id, version, document) VALUES ($1, $2, $3, $4)",
        row["tenant_id"], row["id"], row["version"], row["document"],
    )  # fmt: skip


@contextmanager
def _clash(name: str | None, tenant_id: str) -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"there is an agent named {name!r} already") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound(f"no tenant {tenant_id}") from error
