"""Routes of deliveries: what was sent, what came of it, the dead letters, and sending again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.errors import Conflict
from invorto.model.rules import text
from invorto.model.webhook import Attempt, Delivery, DeliveryStatus
from invorto.storage import deliveries, webhooks
from invorto.storage.deliveries import Detail, Filters
from invorto.webhooks.attempt import body_of

_PERIODS = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7), "30d": timedelta(days=30)}


@attrs.frozen(kw_only=True)
class DeliveryAnswer:
    """An event on its way to an endpoint."""

    id: str
    endpoint_id: str
    event_id: str
    """The `webhook-id` that it is sent under, each time."""
    type: str
    call_id: str | None
    seq: int | None
    status: DeliveryStatus
    attempt_count: int
    next_attempt_at: datetime | None
    """None where it is over."""
    last_status: int | None
    """Of HTTP; None where no answer came."""
    last_error: str | None
    settled_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, delivery: Delivery) -> DeliveryAnswer:
        """Make what is answered of a delivery."""
        return DeliveryAnswer(**_shown(delivery))


@attrs.frozen(kw_only=True)
class DeliveryDetail(DeliveryAnswer):
    """A delivery with all that was tried."""

    attempts: tuple[Attempt, ...]
    """The oldest first; of each answer the beginning is kept."""
    payload: Mapping[str, Any]
    """What is sent."""

    @classmethod
    def whole(cls, detail: Detail) -> DeliveryDetail:
        """Make what is answered of one delivery."""
        payload = json.loads(body_of(detail.event))
        return DeliveryDetail(**_shown(detail.delivery), attempts=detail.attempts, payload=payload)


def _shown(delivery: Delivery) -> dict[str, Any]:
    pending = delivery.status is DeliveryStatus.PENDING
    return {
        "id": delivery.id, "endpoint_id": delivery.webhook_id, "event_id": delivery.event_id, "type": delivery.type,
        "call_id": delivery.call_id, "seq": delivery.seq, "status": delivery.status,
        "attempt_count": delivery.attempts, "next_attempt_at": delivery.due_at if pending else None,
        "last_status": delivery.last_status, "last_error": delivery.last_error, "settled_at": delivery.settled_at,
        "created_at": delivery.created_at,
    }  # fmt: skip


@attrs.frozen(kw_only=True)
class DeliveriesQuery(PageQuery):
    """What the list of an endpoint's deliveries understands; *since* and *until* are about when they were made."""

    status: DeliveryStatus | None = None
    type: str | None = attrs.field(default=None, validator=text(64))
    call_id: str | None = attrs.field(default=None, validator=text(64))
    since: datetime | None = None
    until: datetime | None = None


@attrs.frozen(kw_only=True)
class DeadQuery(PageQuery):
    """What the list of dead letters understands."""

    endpoint_id: str | None = attrs.field(default=None, validator=text(64))
    type: str | None = attrs.field(default=None, validator=text(64))
    call_id: str | None = attrs.field(default=None, validator=text(64))
    since: datetime | None = None
    until: datetime | None = None


@attrs.frozen(kw_only=True)
class DeadFilter:
    """Which dead letters are meant; nothing: all of them."""

    endpoint_id: str | None = attrs.field(default=None, validator=text(64))
    type: str | None = attrs.field(default=None, validator=text(64))
    call_id: str | None = attrs.field(default=None, validator=text(64))
    since: datetime | None = None
    until: datetime | None = None


@attrs.frozen(kw_only=True)
class Span:
    """From when to when."""

    since: datetime
    until: datetime | None = None


@attrs.frozen(kw_only=True)
class StatsQuery:
    """What the figures are about."""

    period: Literal["1h", "24h", "7d", "30d"] = "24h"


@attrs.frozen(kw_only=True)
class StatsAnswer:
    """How the tenant's webhooks do."""

    depth: int
    """Deliveries that are yet to arrive."""
    oldest_ready_age: float
    """Seconds since the oldest that nobody has begun became due."""
    delivered: int
    """Of the period, as are the next two."""
    failed: int
    """Attempts that failed."""
    dead: int
    period: Literal["1h", "24h", "7d", "30d"]


@attrs.frozen(kw_only=True)
class Queued:
    """How many deliveries are sent."""

    queued: int


@attrs.frozen(kw_only=True)
class Removed:
    """How many dead letters were taken away."""

    removed: int


def _meant(asked: DeadQuery | DeadFilter) -> Filters:
    return Filters(
        webhook_id=asked.endpoint_id, type=asked.type, call_id=asked.call_id, since=asked.since, until=asked.until
    )


def add_queue_routes(routes: Routes, deps: ApiDeps) -> None:
    """Add what stands below ``/v1/webhooks``."""
    database = deps.database

    @routes.get("/<webhook_id>/deliveries", needs="analyst", errors=["not_found"])
    async def list_deliveries(caller: Caller, webhook_id: str, query: DeliveriesQuery) -> Page[DeliveryAnswer]:
        """List an endpoint's deliveries, the newest first."""
        await webhooks.get(database, caller.tenant_id, webhook_id)
        page, limit = page_of(query)
        meant = Filters(
            webhook_id=webhook_id, status=query.status, type=query.type, call_id=query.call_id, since=query.since,
            until=query.until,
        )  # fmt: skip
        found, total = await deliveries.listing(database, caller.tenant_id, meant, page=page, limit=limit)
        return page_answer(map(DeliveryAnswer.of, found), total, query)

    @routes.post("/<webhook_id>/recover", needs="dev", status=202, errors=["not_found", "conflict"])
    async def recover(caller: Caller, webhook_id: str, body: Span) -> Queued:
        """Send the endpoint's dead letters of a time again, each by the whole schedule."""
        await _active(caller, webhook_id)
        meant = Filters(webhook_id=webhook_id, since=body.since, until=body.until)
        return Queued(queued=await deliveries.retry_dead(database, caller.tenant_id, meant))

    @routes.post("/<webhook_id>/replay-missing", needs="dev", status=202, errors=["not_found", "conflict"])
    async def replay_missing(caller: Caller, webhook_id: str, body: Span) -> Queued:
        """Send what the endpoint never was to get: it was disabled, did not want it yet, or was not there."""
        endpoint = await _active(caller, webhook_id)
        count = await deliveries.replay_missing(database, caller.tenant_id, endpoint, body.since, body.until)
        return Queued(queued=count)

    async def _active(caller: Caller, webhook_id: str) -> Any:
        endpoint = await webhooks.get(database, caller.tenant_id, webhook_id)
        if endpoint.status != "active":
            raise Conflict("it is disabled: set its status to active first")
        return endpoint

    @routes.get("/dead", needs="analyst")
    async def list_dead(caller: Caller, query: DeadQuery) -> Page[DeliveryAnswer]:
        """List the dead letters of all endpoints, the newest first; each is kept for DLQ_TTL_DAYS."""
        page, limit = page_of(query)
        meant = attrs.evolve(_meant(query), status=DeliveryStatus.DEAD)
        found, total = await deliveries.listing(database, caller.tenant_id, meant, page=page, limit=limit)
        return page_answer(map(DeliveryAnswer.of, found), total, query)

    @routes.post("/dead/retry", needs="dev", status=202)
    async def retry_dead(caller: Caller, body: DeadFilter) -> Queued:
        """Send the dead letters that are meant again, those of disabled endpoints excepted."""
        return Queued(queued=await deliveries.retry_dead(database, caller.tenant_id, _meant(body)))

    @routes.delete("/dead", needs="dev", query=DeadFilter, status=200)
    async def remove_dead(caller: Caller, query: DeadFilter) -> Removed:
        """Take the dead letters away that are meant."""
        return Removed(removed=await deliveries.remove_dead(database, caller.tenant_id, _meant(query)))

    @routes.get("/stats", needs="analyst")
    async def stats(caller: Caller, query: StatsQuery) -> StatsAnswer:
        """Tell what waits now, and what came of the deliveries of a period."""
        found = await deliveries.stats(database, caller.tenant_id, _PERIODS[query.period])
        return StatsAnswer(
            depth=found.depth, oldest_ready_age=round(found.oldest_ready, 3), delivered=found.delivered,
            failed=found.failed, dead=found.dead, period=query.period,
        )  # fmt: skip


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes of single deliveries."""
    routes = Routes("deliveries", gate, "/v1/deliveries")
    database = deps.database

    @routes.get("/<delivery_id>", needs="analyst", errors=["not_found"])
    async def read(caller: Caller, delivery_id: str) -> DeliveryDetail:
        """Read a delivery, with its attempts and what is sent."""
        return DeliveryDetail.whole(await deliveries.get(database, caller.tenant_id, delivery_id))

    @routes.post("/<delivery_id>/retry", needs="dev", status=202, errors=["not_found", "conflict"])
    async def retry(caller: Caller, delivery_id: str) -> DeliveryAnswer:
        """Send a delivery now, also one that arrived; under the same `webhook-id`."""
        return DeliveryAnswer.of(await deliveries.retry(database, caller.tenant_id, delivery_id))

    return routes
