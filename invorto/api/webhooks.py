"""Routes of webhooks: endpoints, their secrets, and a help for those who write receivers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deeds import note
from invorto.api.deliveries import DeliveryAnswer, add_queue_routes
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.api.schema import Mode, Schema, Schemas
from invorto.convert import structure
from invorto.errors import Fault, Invalid
from invorto.model.facts import EVENT_TYPES
from invorto.model.rules import between, count, every, text
from invorto.model.webhook import EVERYTHING, DisabledReason, Endpoint, EndpointStatus, Order
from invorto.outgoing.rules import rules_of
from invorto.plain import invalid
from invorto.storage import webhooks
from invorto.webhooks import signing
from invorto.webhooks.desk import Desk
from invorto.webhooks.making import make_seals

_HIDDEN = "***"
"""Stands for the value of a header."""


def _listed(_: object, __: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    if not value:
        raise ValueError('must name at least one type; "*" is all of them')
    for one in value:
        if one != EVERYTHING:
            _known(_, __, one)


def _known(_: object, __: attrs.Attribute[Any], value: str) -> None:
    if value not in EVENT_TYPES:
        raise ValueError(f"there is no event {value[:64]!r}: see /v1/webhooks/events")


@attrs.frozen(kw_only=True)
class NewWebhook:
    """An endpoint to make."""

    url: str = attrs.field(validator=text(2048, least=1))
    """Where events are posted: https, and a public address."""
    events: tuple[str, ...] = attrs.field(validator=every(count(100), _listed))
    """Types of events; `*` is all of them."""
    description: str = attrs.field(default="", validator=text(500))
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=count(20))
    """Sent with each request; their values are not shown again."""
    rate_limit: float | None = attrs.field(default=None, validator=between(0.01, 10_000))
    """Deliveries a second at most."""
    order: Order = "any"
    """`fifo`: a call's events come one after the other, in their order."""
    legacy_signature: bool = False
    """Whether the original system's `x-webhook-signature` is sent too."""


class WebhookChange:
    """What to change of an endpoint; what is not named stays, null goes back to the default."""

    @classmethod
    def json_schema(cls, schemas: Schemas, mode: Mode) -> Schema:
        """Write its schema: everything may be left out, and be null."""
        whole = schemas.object(NewWebhook, mode)
        properties: Schema = {
            name: {"anyOf": [one, {"type": "null"}]} for name, one in whole["properties"].items()
        } | {"status": {"enum": ["active", "disabled"]}}  # fmt: skip
        return {"type": "object", "description": cls.__doc__, "properties": properties, "additionalProperties": False}


@attrs.frozen(kw_only=True)
class _Status:
    status: EndpointStatus | None = None


@attrs.frozen(kw_only=True)
class WebhooksQuery(PageQuery):
    """What the list of endpoints understands."""

    status: EndpointStatus | None = None


@attrs.frozen(kw_only=True)
class WebhookAnswer:
    """An endpoint, without what is secret."""

    id: str
    tenant_id: str
    url: str
    events: tuple[str, ...]
    description: str
    headers: Mapping[str, str]
    """Their names; the values are not shown."""
    rate_limit: float | None
    order: Order
    legacy_signature: bool
    status: EndpointStatus
    disabled_reason: DisabledReason | None
    """`gone` after a 410, `failing` after five days of failures, `request` when somebody asked for it."""
    disabled_at: datetime | None
    failing_since: datetime | None
    """Since when nothing has arrived."""
    environment: bool
    """Whether it was made of TENANT_WEBHOOK_URL."""
    previous_secret_until: datetime | None
    """Until when the secret of before a rotation signs too."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> WebhookAnswer:
        """Make what is answered of an endpoint."""
        return WebhookAnswer(**_shown(endpoint))


@attrs.frozen(kw_only=True)
class SecretWebhook(WebhookAnswer):
    """An endpoint with its new secret."""

    secret: str
    """Verifies what comes: it cannot be had again."""


@attrs.frozen(kw_only=True)
class Sample:
    """What is to be sent as a test."""

    type: str = attrs.field(default="webhook.test", validator=_known)
    """A type of event; its data are a sample's, and say so."""


@attrs.frozen(kw_only=True)
class Suspect:
    """A message as it came to a receiver."""

    payload: str = attrs.field(validator=text(1_000_000))
    """The raw body, as text."""
    headers: Mapping[str, str] = attrs.field(validator=count(100))
    secret: str = attrs.field(validator=text(500, least=1))


@attrs.frozen(kw_only=True)
class Verdict:
    """Whether a message is genuine."""

    valid: bool
    reason: str | None
    """What is wrong with it."""


def _shown(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.id, "tenant_id": endpoint.tenant_id, "url": endpoint.url, "events": endpoint.events,
        "description": endpoint.description, "headers": dict.fromkeys(endpoint.header_names, _HIDDEN),
        "rate_limit": endpoint.rate_limit, "order": "fifo" if endpoint.fifo else "any",
        "legacy_signature": endpoint.legacy, "status": endpoint.status, "disabled_reason": endpoint.disabled_reason,
        "disabled_at": endpoint.disabled_at, "failing_since": endpoint.failing_since,
        "environment": endpoint.environment, "previous_secret_until": endpoint.previous_until,
        "created_at": endpoint.created_at, "updated_at": endpoint.updated_at,
    }  # fmt: skip


def _columns(given: NewWebhook) -> dict[str, Any]:
    return {
        "events": tuple(dict.fromkeys(given.events)), "description": given.description,
        "rate_limit": given.rate_limit, "fifo": given.order == "fifo", "legacy": given.legacy_signature,
    }  # fmt: skip


def changed(before: Endpoint, body: object) -> tuple[NewWebhook, EndpointStatus | None, bool]:
    """Put a change into an endpoint: gives the whole, the status that is asked for, and whether headers were named."""
    if not isinstance(body, dict):
        raise invalid([Fault("$", "expected an object")])
    given = cast("dict[str, Any]", body)
    kept = {
        "url": before.url, "events": list(before.events), "description": before.description,
        "rateLimit": before.rate_limit, "order": "fifo" if before.fifo else "any", "legacySignature": before.legacy,
    }  # fmt: skip
    merged = {name: value for name, value in (kept | given).items() if value is not None and name != "status"}
    faults: list[Fault] = []
    status: EndpointStatus | None = None
    whole: NewWebhook | None = None
    try:
        status = structure({name: value for name, value in given.items() if name == "status"}, _Status).status
    except Invalid as error:
        faults += error.faults
    try:
        whole = structure(merged, NewWebhook)
    except Invalid as error:
        faults += error.faults
    if whole is None or faults:
        raise invalid(faults)
    return whole, status, "headers" in given


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("webhooks", gate, "/v1/webhooks")
    database = deps.database
    desk = Desk(database, make_seals(deps.config), rules_of(deps.config.webhooks), deps.resolve)

    @routes.post("", needs="dev", status=201, secret=True, errors=["quota_exceeded", "not_supported"])
    async def create(caller: Caller, body: NewWebhook) -> SecretWebhook:
        """Make an endpoint; its secret is shown in this answer and never again."""
        made, secret = await desk.create(caller.tenant_id, url=body.url, headers=body.headers, **_columns(body))
        await note(deps, caller, "webhook.created", made.id, url=made.url, events=made.events)
        return SecretWebhook(**_shown(made), secret=secret)

    @routes.get("", needs="analyst")
    async def listing(caller: Caller, query: WebhooksQuery) -> Page[WebhookAnswer]:
        """List the tenant's endpoints, the oldest first."""
        page, limit = page_of(query)
        found, total = await webhooks.listing(
            database, caller.tenant_id, page=page, limit=limit, status=query.status
        )  # fmt: skip
        return page_answer(map(WebhookAnswer.of, found), total, query)

    @routes.get("/<webhook_id>", needs="analyst", errors=["not_found"])
    async def read(caller: Caller, webhook_id: str) -> WebhookAnswer:
        """Read an endpoint."""
        return WebhookAnswer.of(await webhooks.get(database, caller.tenant_id, webhook_id))

    @routes.patch("/<webhook_id>", needs="dev", body=WebhookChange, errors=["not_found", "conflict"])
    async def change(caller: Caller, webhook_id: str, body: Any) -> WebhookAnswer:
        """Change an endpoint. `status: active` enables it again and begins its health anew."""
        before = await webhooks.get(database, caller.tenant_id, webhook_id)
        whole, status, named = changed(before, body)
        fields = _columns(whole) | ({"status": status} if status else {})
        made = await desk.change(before, url=whole.url, headers=whole.headers if named else None, **fields)
        await note(deps, caller, "webhook.changed", made.id, fields=sorted(cast("dict[str, Any]", body)))
        return WebhookAnswer.of(made)

    @routes.delete("/<webhook_id>", needs="dev", errors=["not_found"])
    async def remove(caller: Caller, webhook_id: str) -> None:
        """Take an endpoint away, with everything that waits for it and all that is kept of its deliveries."""
        await webhooks.remove(database, caller.tenant_id, webhook_id)
        await note(deps, caller, "webhook.removed", webhook_id)

    @routes.post("/<webhook_id>/rotate", needs="dev", secret=True, errors=["not_found", "conflict"])
    async def rotate(caller: Caller, webhook_id: str) -> SecretWebhook:
        """Give an endpoint a new secret, shown this once; for 24 hours the old one signs too."""
        before = await webhooks.get(database, caller.tenant_id, webhook_id)
        made, secret = await desk.rotate(before)
        await note(deps, caller, "webhook.rotated", webhook_id)
        return SecretWebhook(**_shown(made), secret=secret)

    @routes.post("/<webhook_id>/test", needs="dev", status=202, errors=["not_found", "conflict"])
    async def test(caller: Caller, webhook_id: str, body: Sample) -> DeliveryAnswer:
        """Send a sample to an endpoint, whatever it wants otherwise; read the delivery to see what came of it."""
        endpoint = await webhooks.get(database, caller.tenant_id, webhook_id)
        return DeliveryAnswer.of(await desk.test(endpoint, body.type))

    @routes.post("/verify", needs="analyst")
    async def verify(body: Suspect) -> Verdict:
        """Tell whether a message is genuine, for receivers that are being written; no signature is ever given."""
        try:
            reason = signing.fault(body.secret, body.headers, body.payload.encode(errors="replace"), time.time())
        except Invalid as error:
            raise invalid([Fault("$.secret", str(error))]) from None
        return Verdict(valid=reason is None, reason=reason)

    add_queue_routes(routes, deps)
    return routes
