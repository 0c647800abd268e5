"""API keys: shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Literal

import attrs

from invorto.errors import NotFound
from invorto.model.ids import new_id
from invorto.storage import system
from invorto.storage.postgres import Database, Record

type KeyRole = Literal["operator", "admin", "dev", "analyst"]

_KEY = re.compile(r"inv_live_[A-Za-z0-9_-]{8,128}")


@attrs.frozen(kw_only=True)
class KeyRecord:
    """A key as it is kept: nothing here opens anything."""

    id: str
    tenant_id: str
    role: KeyRole
    name: str
    created_at: datetime
    revoked_at: datetime | None = None


def new_key() -> str:
    """Make a key of 256 random bits; its letters may stand in a header, a URL and a subprotocol."""
    return f"inv_live_{secrets.token_urlsafe(32)}"


def digest(key: str) -> bytes:
    """Give what is kept of a key: its SHA-256, enough for something that cannot be guessed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


async def create(
    db: Database, tenant_id: str, role: KeyRole, name: str, *, key: str | None = None
) -> tuple[KeyRecord, str]:
    """Make a key, or keep the given one; give its record and the key, which cannot be had again. `NotFound`: tenant."""
    secret = key or new_key()
    row = await system.add_key(db, tenant_id, (new_id("k"), role, name, digest(secret)))
    return _record(row), secret


async def find(db: Database, key: str) -> KeyRecord | None:
    """Give the record of a key that was not revoked, whichever tenant's; None for anything else."""
    if not _KEY.fullmatch(key):
        return None
    wanted = digest(key)
    row = await system.key_of(db, wanted)
    if row is None or not hmac.compare_digest(row["digest"], wanted) or row["revoked_at"] is not None:
        return None
    return _record(row)


async def listing(db: Database, tenant_id: str, *, operators: bool = False) -> list[KeyRecord]:
    """Give the tenant's keys, the newest first, revoked ones too; those of *operators* only where an operator asks."""
    if operators:
        return [_record(row) for row in await system.keys_of(db, tenant_id)]
    async with db.tenant(tenant_id) as work:
        return [_record(row) for row in await work.fetch("SELECT * FROM keys ORDER BY created_at DESC, id DESC")]


async def get(db: Database, tenant_id: str, id: str) -> KeyRecord | None:
    """Give one of the tenant's keys, an operator's too, or None."""
    return next((key for key in await listing(db, tenant_id, operators=True) if key.id == id), None)


async def revoke(db: Database, tenant_id: str, id: str, *, operators: bool = False) -> KeyRecord:
    """Make a key open nothing from now on; twice is no error. `NotFound`; so an operator's is without *operators*."""
    if operators:
        row = await system.revoke_key(db, tenant_id, id)
    else:
        async with db.tenant(tenant_id) as work:
            row = await work.fetchrow(
                "UPDATE keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING *", id
            )
    if row is None:
        raise NotFound(f"no key {id}")
    return _record(row)


async def revoked_among(db: Database, ids: Collection[str]) -> set[str]:
    """Tell which of these keys, of any tenant, count no longer."""
    return set(await system.revoked_among(db, list(ids))) if ids else set()


def _record(row: Record) -> KeyRecord:
    return KeyRecord(**{name: value for name, value in row.items() if name != "digest"})
