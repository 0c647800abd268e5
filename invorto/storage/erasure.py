"""Erasing a person: every call with a number, and all that it left, in one transaction; a receipt stays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import attrs

from invorto.errors import Conflict
from invorto.model.ids import new_id
from invorto.storage import system
from invorto.storage.postgres import Database, Record, Work


@attrs.frozen(kw_only=True)
class Erased:
    """The receipt: how much was erased, and nothing that names the person."""

    id: str
    calls: int
    recordings: int
    events: int
    """For webhooks, with what was delivered of them."""
    erased_at: datetime


type Elsewhere = Callable[[Sequence[str], Sequence[str]], Awaitable[None]]
"""Takes the ids of calls and the places of recordings, and erases what is outside PostgreSQL; may be done again."""


async def erase(db: Database, tenant_id: str, number: str, by: str, elsewhere: Elsewhere) -> Erased:
    """
    Erase everything of whoever has *number* (E.164), within the tenant.

    The calls' rows go last: should anything fail before, it can be asked for again, and finds them. `Conflict` while
    one of the calls is under way.
    """
    async with db.tenant(tenant_id) as work:
        rows = await _calls_with(work, number)
    ids = [row["id"] for row in rows]
    recordings = [row["recording"] for row in rows if row["recording"] is not None]
    await elsewhere(ids, recordings)
    events = await system.erase_facts(db, tenant_id, ids)
    async with db.tenant(tenant_id) as work:
        await _calls_with(work, number)  # one may have begun meanwhile
        await work.execute("DELETE FROM calls WHERE id = ANY($1)", ids)
        counted = {"calls": len(ids), "recordings": len(recordings), "events": events}
        kept = await work.one(
            "INSERT INTO erasures (id, tenant_id, erased, by) VALUES ($1, $2, $3, $4) RETURNING id, created_at",
            new_id("m"), tenant_id, counted, by,
        )  # fmt: skip
    return Erased(id=kept["id"], erased_at=kept["created_at"], **counted)


async def _calls_with(work: Work, number: str) -> list[Record]:
    rows = await work.fetch(
        "SELECT c.id, c.ended_at, c.status, r.recording FROM calls AS c"
        " LEFT JOIN call_results AS r ON r.call_id = c.id"
        " WHERE regexp_replace(c.to_party, '[^0-9]', '', 'g') = $1 OR c.to_party ILIKE $2"
        " OR regexp_replace(c.from_party, '[^0-9]', '', 'g') = $1 OR c.from_party ILIKE $2 FOR UPDATE OF c",
        number.removeprefix("+"), f"sip:{number}@%",
    )  # fmt: skip
    if any(row["ended_at"] is None and row["status"] != "created" for row in rows):
        raise Conflict("a call with this person is under way")
    return rows
