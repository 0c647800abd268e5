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
    """Columns of a table that hold what `Vault.seal` made, bound to the row's id."""

    table: str
    columns: tuple[str, ...]
    purpose: Purpose


SEALED: tuple[Sealed, ...] = ()
"""Everything that is sealed: `tests/storage/test_rotation.py` knows of every column of bytes that there is."""


async def rotate(db: Database, vault: Vault, sealed: Sequence[Sealed] = SEALED) -> dict[str, int]:
    """
    Seal again what an older key sealed, in all tenants; give how many secrets, by ``table.column``.

    Serving goes on meanwhile: a secret that is changed in between stays as it was changed. `UsageError` where none of
    the keys opens a secret; what was sealed again before stays so.
    """
    found = {f"{one.table}.{column}": 0 for one in sealed for column in one.columns}
    for tenant in await tenants.everyone(db):
        async with db.tenant(tenant.id) as work:
            for one in sealed:
                for column in one.columns:
                    found[f"{one.table}.{column}"] += await _again(work, vault, one, column)
    return found


async def _again(work: Work, vault: Vault, sealed: Sealed, column: str) -> int:
    count, table = 0, sealed.table
    rows = await work.fetch(f"SELECT id, {column} AS kept FROM {table} WHERE {column} IS NOT NULL")  # noqa: S608
    for row in rows:
        kept, bound = bytes(row["kept"]), str(row["id"])
        if not vault.stale(sealed.purpose, kept, bound=bound):
            continue
        plain = vault.unseal(sealed.purpose, kept, bound=bound)
        done = await work.execute(
            f"UPDATE {table} SET {column} = $3 WHERE id = $1 AND {column} = $2",  # noqa: S608
            row["id"], kept, vault.seal(sealed.purpose, plain, bound=bound),
        )  # fmt: skip
        count += done == "UPDATE 1"
    return count
