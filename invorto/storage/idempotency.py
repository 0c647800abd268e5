"""Answers that are given again to whoever asks the same again; of concurrent twins one acts, and both are answered."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import attrs
import trio

from invorto.errors import Conflict
from invorto.storage.postgres import Database

KEPT = 24
"""Hours."""
_DEAD = 60.0
"""Seconds after which one who has not answered never will: no request is given as long."""
_LOOK = (0.02, 0.05, 0.1, 0.2)
"""Seconds between looks for a twin's answer; the last one again and again."""
_SWEEP = 200
"""Answers that are over are thrown away so many at a time."""


@attrs.frozen
class Kept:
    """An answer that was given; *body* is None where it held a secret."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


@attrs.frozen
class Claim:
    """The right to act for an Idempotency-Key, until it is kept or given back."""

    tenant_id: str
    digest: bytes
    token: uuid.UUID


async def claim(db: Database, tenant_id: str, digest: bytes, request: bytes) -> Claim | Kept:
    """
    Take the right to act for a key's *digest*, or give the answer that was given, waiting for one who is acting.

    `Conflict` (``idempotency_conflict``) where the key came with another *request* (a digest) within the last day.
    """
    looks = 0
    while True:
        found = await _claim(db, tenant_id, digest, request)
        if found is not None:
            return found
        await trio.sleep(_LOOK[min(looks, len(_LOOK) - 1)])
        looks += 1


async def _claim(db: Database, tenant_id: str, digest: bytes, request: bytes) -> Claim | Kept | None:
    token = uuid.uuid4()
    async with db.tenant(tenant_id) as work:
        await work.execute(  # what is over goes with what is new
            "DELETE FROM idempotency WHERE ctid = ANY (ARRAY (SELECT ctid FROM idempotency WHERE claimed_at <"
            " clock_timestamp() - make_interval(hours => $1) ORDER BY claimed_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
            KEPT, _SWEEP,
        )  # fmt: skip
        mine = await work.fetchrow(
            "INSERT INTO idempotency AS i (tenant_id, digest, request, claim) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (tenant_id, digest) DO UPDATE SET claim = $4, claimed_at = clock_timestamp()"
            " WHERE i.status IS NULL AND i.request = $3"
            " AND i.claimed_at < clock_timestamp() - make_interval(secs => $5)"
            " RETURNING i.claim",
            tenant_id, digest, request, token, _DEAD,
        )  # fmt: skip
        if mine is not None:
            return Claim(tenant_id, digest, token)
        row = await work.fetchrow("SELECT * FROM idempotency WHERE digest = $1", digest)
    if row is None:
        return None  # it was given back meanwhile
    if bytes(row["request"]) != request:
        raise Conflict("this Idempotency-Key came with another request", "idempotency_conflict")
    if row["status"] is None:
        return None
    return Kept(row["status"], row["headers"], row["body"])


async def keep(db: Database, claimed: Claim, answer: Kept) -> None:
    """Keep the answer, unless somebody else has taken the right to act meanwhile."""
    async with db.tenant(claimed.tenant_id) as work:
        await work.execute(
            "UPDATE idempotency SET status = $3, headers = $4, body = $5 WHERE digest = $1 AND claim = $2",
            claimed.digest, claimed.token, answer.status, answer.headers, answer.body,
        )  # fmt: skip


async def give_back(db: Database, claimed: Claim) -> None:
    """Let somebody else act: nothing was done."""
    async with db.tenant(claimed.tenant_id) as work:
        await work.execute(
            "DELETE FROM idempotency WHERE digest = $1 AND claim = $2 AND status IS NULL", claimed.digest, claimed.token
        )
