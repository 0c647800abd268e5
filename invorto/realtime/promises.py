"""The slots that are kept free for tenants."""

from __future__ import annotations

from invorto.convert import ANSWERS, structure
from invorto.errors import Invalid
from invorto.model.tenant import TenantSettings
from invorto.storage import system
from invorto.storage.postgres import Database


async def guaranteed(db: Database) -> dict[str, int]:
    """Give the slots that are kept free for each tenant that has such a promise."""
    found: dict[str, int] = {}
    for row in await system.tenants(db):
        try:
            slots = structure(row["settings"], TenantSettings, ANSWERS).guaranteed_calls
        except Invalid:  # from another version: one tenant's settings do not cost the others their promise
            continue
        if slots:
            found[str(row["id"])] = slots
    return found
