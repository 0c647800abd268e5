"""What administrators did: written with the deed, read by administrators, changed by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.model.ids import new_id
from invorto.storage import system
from invorto.storage.listing import window
from invorto.storage.postgres import Database


@attrs.frozen(kw_only=True)
class Deed:
    """One administrative act, by whom and from where; holds no secret."""

    tenant_id: str
    """Whose affair it was."""
    actor: str
    """A key's id, or what a token's bearer is called."""
    role: str
    action: str
    """Noun and verb, such as ``key.created``."""
    target: str | None = None
    request_id: str | None = None
    address: str | None = None
    details: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True)
class KeptDeed(Deed):
    """A deed as it is kept."""

    id: str
    at: datetime


async def note(db: Database, deed: Deed) -> None:
    """Keep a deed."""
    await system.add_deed(db, new_id("ad"), attrs.asdict(deed, recurse=False))


async def listing(
    db: Database,
    tenant_id: str,
    *,
    page: int = 1,
    limit: int = 20,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[list[KeptDeed], int]:
    """Give one page of what was done in a tenant, the latest first, and how much there is in all."""
    most, skip = window(page, limit)
    where = "($1::text IS NULL OR action = $1) AND ($2::timestamptz IS NULL OR at >= $2)"
    where += " AND ($3::timestamptz IS NULL OR at < $3)"
    async with db.tenant(tenant_id) as work:
        total = await work.fetchval(f"SELECT count(*) FROM audit WHERE {where}", action, since, until)  # noqa: S608
        rows = await work.fetch(
            f"SELECT * FROM audit WHERE {where} ORDER BY at DESC, id DESC LIMIT {most} OFFSET {skip}",  # noqa: S608
            action, since, until,
        )  # fmt: skip
    return [KeptDeed(**row) for row in rows], total
