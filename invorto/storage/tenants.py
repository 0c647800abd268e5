"""Tenants: whose rows are whose."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.errors import NotFound
from invorto.model.ids import new_id
from invorto.storage import system
from invorto.storage.keys import KeyRole, digest, new_key
from invorto.storage.listing import pattern, window
from invorto.storage.postgres import Database, Record

DEFAULT_TENANT = "t_default"
"""The tenant that every installation has: the first migration makes it."""


@attrs.frozen(kw_only=True)
class Tenant:
    """A tenant: *settings* holds its limits, day cap, origins, tool hosts and time zone, where they differ."""

    id: str
    name: str
    settings: Mapping[str, Any]
    created_at: datetime


async def create(
    db: Database, name: str, *, id: str | None = None, settings: Mapping[str, Any] | None = None
) -> Tenant:
    """Make a tenant; `Conflict` if there is one of that *id*."""
    return _tenant(await system.add_tenant(db, id or new_id("t"), name, settings or {}))


async def create_with_key(
    db: Database, name: str, settings: Mapping[str, Any] | None = None, role: KeyRole = "admin"
) -> tuple[Tenant, str]:
    """Make a tenant and its first key; the key cannot be had again."""
    key = new_key()
    row = await system.add_tenant_and_key(
        db, (new_id("t"), name, settings or {}), (new_id("k"), role, "first", digest(key))
    )
    return _tenant(row), key


async def change(
    db: Database, tenant_id: str, *, name: str | None = None, settings: Mapping[str, Any] | None = None
) -> Tenant:
    """Change a tenant's name, put its settings in the place of the old ones, or both; `NotFound`."""
    return _tenant(await system.change_tenant(db, tenant_id, name, settings))


async def listing(
    db: Database, *, page: int = 1, limit: int = 20, search: str | None = None
) -> tuple[list[Tenant], int]:
    """Give one page of all tenants, the newest first, and how many there are: for the operator."""
    rows, total = await system.tenant_page(db, pattern(search), *window(page, limit))
    return [_tenant(row) for row in rows], total


async def get(db: Database, tenant_id: str = DEFAULT_TENANT) -> Tenant:
    """Give a tenant; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow("SELECT * FROM tenants WHERE id = $1", tenant_id)
    if row is None:
        raise NotFound(f"no tenant {tenant_id}")
    return _tenant(row)


async def everyone(db: Database) -> list[Tenant]:
    """Give all tenants, the oldest first: for the operator."""
    return [_tenant(row) for row in await system.tenants(db)]


def _tenant(row: Record) -> Tenant:
    return Tenant(**row)
