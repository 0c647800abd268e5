"""How attempts at webhooks ended: written by id and token, with what follows for the delivery and for the endpoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import attrs

from invorto.model.facts import make_fact
from invorto.model.record import OutboxEvent
from invorto.model.webhook import DisabledReason
from invorto.storage import system
from invorto.storage.postgres import Database, Record, Work

PATIENCE = timedelta(days=5)
"""Of failures alone, before an endpoint is disabled."""
_OF_OURS = "webhook."
"""Events about webhooks: that they did not arrive is told to nobody, or it would never end."""


@attrs.frozen(kw_only=True)
class Outcome:
    """How one attempt ended."""

    id: str
    """The delivery's."""
    token: UUID
    webhook_id: str
    at: datetime
    """When it began."""
    ms: float
    status: int | None = None
    error: str | None = None
    """None: it was delivered."""
    excerpt: str | None = None
    again: datetime | None = None
    """When to try again; None where that is over."""
    gone: bool = False
    """Whether the endpoint wants no more."""

    @property
    def ok(self) -> bool:
        """Whether it was delivered."""
        return self.error is None


@attrs.frozen(kw_only=True)
class Settled:
    """What was made of outcomes."""

    taken: int
    refused: frozenset[str]
    """Deliveries whose claim was not ours any more: somebody else tells how they end."""
    dead: int
    disabled: tuple[str, ...]
    """Endpoints."""


async def settle(db: Database, outcomes: Sequence[Outcome], *, patience: timedelta = PATIENCE) -> Settled:
    """
    Write how attempts ended, in one transaction, and publish what follows: dead, recovered, disabled.

    A second time, after a commit of which nobody knew, changes nothing: the token is gone.
    """
    return await system.dispatching(db, partial(_settle, outcomes=outcomes, patience=patience))


async def _settle(work: Work, *, outcomes: Sequence[Outcome], patience: timedelta) -> Settled:
    rows = await work.fetch(_WRITE, [_told(one) for one in outcomes])
    taken = {row["id"] for row in rows}
    mine = [one for one in outcomes if one.id in taken]
    sick = {row["webhook_id"] for row in rows if row["failures"]}
    disabled = await _health(work, mine, sick, patience)
    facts = [fact for row in rows for fact in _told_of(row)]
    facts += [(row["tenant_id"], _disabled(row)) for row in disabled]
    await publish(work, facts)
    return Settled(
        taken=len(taken),
        refused=frozenset(one.id for one in outcomes) - taken,
        dead=sum(row["status"] == "dead" for row in rows),
        disabled=tuple(row["id"] for row in disabled),
    )


def _told(one: Outcome) -> dict[str, Any]:
    return {
        "id": one.id, "token": one.token, "at": one.at, "ms": one.ms, "status": one.status, "error": one.error,
        "excerpt": one.excerpt, "again": one.again,
    }  # fmt: skip


_WRITE = """
WITH told AS (
    SELECT * FROM jsonb_to_recordset($1) AS t (
        id text, token uuid, at timestamptz, ms float8, status integer, error text, excerpt text, again timestamptz)
), written AS (
    UPDATE deliveries AS d SET
        status = CASE WHEN t.error IS NULL THEN 'delivered'
            WHEN t.again IS NULL OR e.status <> 'active' THEN 'dead' ELSE 'pending' END,
        attempts = d.attempts + 1, step = d.step + 1, began_at = coalesce(d.began_at, t.at),
        due_at = coalesce(t.again, now()), token = NULL, node_id = NULL,
        last_status = t.status, last_error = t.error,
        exhausted_at = CASE WHEN t.error IS NOT NULL AND (t.again IS NULL OR e.status <> 'active') THEN now()
            ELSE d.exhausted_at END,
        settled_at = CASE WHEN t.error IS NULL OR t.again IS NULL OR e.status <> 'active' THEN now() END
    FROM told AS t, webhooks AS e
    WHERE d.id = t.id AND d.token = t.token AND e.id = d.webhook_id
    RETURNING d.id, d.webhook_id, d.tenant_id, d.event_id, d.type, d.status, d.attempts, d.last_status, d.last_error,
        d.exhausted_at, e.failures, t.at, t.ms, t.excerpt
), kept AS (
    INSERT INTO delivery_attempts (delivery_id, number, tenant_id, at, status, error, ms, excerpt)
    SELECT id, attempts, tenant_id, at, last_status, last_error, ms, excerpt FROM written
    ON CONFLICT (delivery_id, number) DO NOTHING
)
SELECT id, webhook_id, tenant_id, event_id, type, status, attempts, last_status, last_error, exhausted_at, failures
FROM written
"""


async def _health(work: Work, outcomes: Iterable[Outcome], sick: Collection[str], patience: timedelta) -> list[Record]:
    """Keep count of each endpoint's failures in a row; give those that are disabled for it."""
    rows: dict[str, dict[str, Any]] = {}
    gone: set[str] = set()
    for one in sorted(outcomes, key=lambda one: one.at):
        if one.ok:
            if one.webhook_id in rows or one.webhook_id in sick:
                rows[one.webhook_id] = {"id": one.webhook_id, "well": True, "failures": 0, "since": None}
        else:
            row = rows.setdefault(one.webhook_id, {"id": one.webhook_id, "well": False, "failures": 0, "since": one.at})
            row["failures"] += 1
            row["since"] = row["since"] or one.at
            if one.gone:
                gone.add(one.webhook_id)
    if not rows:
        return []
    health = await work.fetch(_HEALTH, sorted(rows.values(), key=lambda row: row["id"]), patience)
    why: dict[str, DisabledReason] = {row["id"]: "failing" for row in health if row["tired"]}
    why |= dict.fromkeys(gone, "gone")
    return await disable(work, why)


_HEALTH = """
WITH told AS (
    SELECT * FROM jsonb_to_recordset($1) AS t (id text, well boolean, failures integer, since timestamptz)
)
UPDATE webhooks AS e SET
    failures = CASE WHEN t.well THEN 0 ELSE e.failures END + t.failures,
    failing_since = CASE WHEN t.well THEN t.since ELSE coalesce(e.failing_since, t.since) END
FROM told AS t WHERE e.id = t.id
RETURNING e.id, e.failures > 0 AND now() - e.failing_since >= $2 AS tired
"""


async def disable(work: Work, why: dict[str, DisabledReason]) -> list[Record]:
    """Disable endpoints that are active, and give up what waits for them; give those that were."""
    if not why:
        return []
    rows = await work.fetch(
        "UPDATE webhooks AS e SET status = 'disabled', disabled_reason = w.reason, disabled_at = now(),"
        " updated_at = now() FROM unnest($1::text[], $2::text[]) AS w (id, reason)"
        " WHERE e.id = w.id AND e.status = 'active' RETURNING e.id, e.tenant_id, e.url, e.disabled_reason",
        list(why), list(why.values()),
    )  # fmt: skip
    await give_up(work)
    return rows


async def give_up(work: Work) -> int:
    """Let what waits for disabled endpoints be dead, from where it can be recovered; tell how many."""
    return await work.fetchval(
        "WITH over AS (UPDATE deliveries AS d SET status = 'dead', settled_at = now(), exhausted_at = now(),"
        " last_error = coalesce(d.last_error, 'the endpoint was disabled')"
        " FROM webhooks AS e WHERE e.id = d.webhook_id AND e.status = 'disabled' AND d.status = 'pending'"
        " AND d.token IS NULL RETURNING 1) SELECT count(*)::int FROM over"
    )


def _told_of(row: Record) -> Iterable[tuple[str, OutboxEvent]]:
    """Give what a settled delivery gives to tell."""
    if row["type"].startswith(_OF_OURS):
        return
    about = {
        "endpointId": row["webhook_id"],
        "deliveryId": row["id"],
        "messageId": row["event_id"],
        "messageType": row["type"],
        "attempts": row["attempts"],
    }
    if row["status"] == "dead":
        last = {"lastStatus": row["last_status"], "lastError": row["last_error"]}
        yield row["tenant_id"], make_fact("webhook.message.exhausted", {**about, **last})
    elif row["status"] == "delivered" and row["exhausted_at"] is not None:
        yield row["tenant_id"], make_fact("webhook.message.recovered", about)


def _disabled(row: Record) -> OutboxEvent:
    return make_fact(
        "webhook.endpoint.disabled", {"endpointId": row["id"], "url": row["url"], "reason": row["disabled_reason"]}
    )


async def publish(work: Work, facts: Sequence[tuple[str, OutboxEvent]]) -> None:
    """Write facts that are about no call to the outbox, each with its tenant."""
    if facts:
        await work.executemany(
            "INSERT INTO outbox (event_id, tenant_id, type, data) VALUES ($1, $2, $3, $4)",
            [(fact.event_id, tenant_id, fact.type, fact.data) for tenant_id, fact in facts],
        )
