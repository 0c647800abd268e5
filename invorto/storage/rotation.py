"""Sealing every secret again with the newest of the installation's keys, so that the oldest can be thrown away."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from invorto.storage import tenants
from invorto.storage.postgres import Database, Work
from invorto.subkeys import Purpose
from invorto.vault import Vault


@attrs.frozen
class Sealed:
    """A column that holds what `Vault.seal` made, bound to *bound* with the row's id in it."""

    table: str
    column: str
    purpose: Purpose
    bound: str = "{id}"

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.table}.{self.column}"


SEALED: tuple[Sealed, ...] = (
    Sealed("webhooks", "secret", "webhook-secrets", "{id}/secret"),
    Sealed("webhooks", "previous_secret", "webhook-secrets", "{id}/secret"),
    Sealed("webhooks", "headers", "webhook-secrets", "{id}/headers"),
    Sealed("secrets", "value", "tool-secrets"),
)
"""Everything that is sealed: `tests/storage/test_rotation.py` knows of every column of bytes that there is."""


async def rotate(db: Database, vault: Vault, sealed: Sequence[Sealed] = SEALED) -> dict[str, int]:
    """
    Seal again what an older key sealed, in all tenants; give how many secrets, by ``table.column``.

    Serving goes on meanwhile: a secret that is changed in between stays as it was changed. `UsageError` where none of
    the keys opens a secret; tenants that were done before stay so.
    """
    found = {one.name: 0 for one in sealed}
    for tenant in await tenants.everyone(db):
        async with db.tenant(tenant.id) as work:
            for one in sealed:
                found[one.name] += await _again(work, vault, one)
    return found


async def _again(work: Work, vault: Vault, sealed: Sealed) -> int:
    count, table, column = 0, sealed.table, sealed.column
    rows = await work.fetch(f"SELECT id, {column} AS kept FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
    for row in rows:
        kept, bound = bytes(row["kept"]), sealed.bound.format(id=row["id"])
        if not vault.stale(sealed.purpose, kept, bound=bound):
            continue
        plain = vault.unseal(sealed.purpose, kept, bound=bound)
        done = await work.execute(
            f"UPDATE {table} SET {column} = $3 WHERE id = $1 AND {column} = $2",  # noqa: S608
            row["id"], kept, vault.seal(sealed.purpose, plain, bound=bound),
        )  # fmt: skip
        count += done == "UPDATE 1"
    return count
