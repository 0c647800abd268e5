"""Secrets are sealed again with the newest key, all of them, while they are in use."""

from __future__ import annotations

import base64

import asyncpg
import pytest

from invorto.errors import UsageError
from invorto.storage import rotation
from invorto.storage.aio import aio
from invorto.storage.postgres import Database
from invorto.storage.rotation import Sealed
from invorto.subkeys import SecretKeys
from invorto.vault import Vault

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
TABLE = """
CREATE TABLE hoard (id text PRIMARY KEY, tenant_id text NOT NULL, secret bytea, other bytea);
ALTER TABLE hoard ENABLE ROW LEVEL SECURITY; ALTER TABLE hoard FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON hoard TO invorto_tenant USING (tenant_id = (SELECT current_setting('invorto.tenant', true)));
GRANT SELECT, INSERT, UPDATE ON hoard TO invorto_tenant;
"""
HOARD = [Sealed("hoard", "secret", "webhook-secrets"), Sealed("hoard", "other", "webhook-secrets", "{id}/x")]
PLAIN = {"keys.digest", "idempotency.digest", "idempotency.request", "idempotency.body"}
"""Columns of bytes that are no sealed secrets."""


def vault(*keys: str) -> Vault:
    """Open a vault."""
    return Vault(SecretKeys.parse(keys))


async def test_secrets_are_sealed_again(database: Database, postgres_url: str) -> None:
    """What an older key sealed opens with the newest alone; a second run finds nothing; a lost key is told."""
    await run(postgres_url, TABLE)
    async with database.tenant("t_default") as work:
        for id in ("wh_1", "wh_2"):
            sealed = vault(OLD).seal("webhook-secrets", id.encode(), bound=id)
            await work.execute("INSERT INTO hoard VALUES ($1, 't_default', $2, NULL)", id, sealed)
    both = vault(NEW, OLD)
    with pytest.raises(UsageError, match="no key of INVORTO_SECRET_KEYS opens"):
        await rotation.rotate(database, vault(NEW), HOARD)
    assert await rotation.rotate(database, both, HOARD) == {"hoard.secret": 2, "hoard.other": 0}
    assert await rotation.rotate(database, both, HOARD) == {"hoard.secret": 0, "hoard.other": 0}
    async with database.tenant("t_default") as work:
        for id, sealed in await work.fetch("SELECT id, secret FROM hoard"):
            assert vault(NEW).unseal("webhook-secrets", sealed, bound=id) == id.encode()


async def test_every_column_of_bytes_is_known(loop: None, postgres_url: str) -> None:
    """A column of bytes is in `SEALED`, or is said to be something else: none is forgotten when keys are changed."""
    connection = await aio(asyncpg.connect, postgres_url)
    try:
        rows = await aio(
            connection.fetch,
            "SELECT table_name || '.' || column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'bytea'",
        )
    finally:
        await aio(connection.close)
    assert {row[0] for row in rows} == {one.name for one in rotation.SEALED} | PLAIN


async def run(url: str, sql: str) -> None:
    """Run something as the owner."""
    connection = await aio(asyncpg.connect, url)
    try:
        await aio(connection.execute, sql)
    finally:
        await aio(connection.close)
