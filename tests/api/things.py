"""One of everything that a path can name, and the smallest body that a route takes: for tests that run every route."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import attrs

from invorto.api.openapi import document
from invorto.storage import deliveries, keys, ledger_rows
from invorto.storage.deliveries import Filters
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World
from tests.storage.nouns import a_call, an_agent, finished
from tests.webhooks.nouns import an_endpoint, routed


async def _agent(world: World) -> str:
    return (await an_agent(world.database, name="Theirs")).id


async def _call(world: World) -> str:
    call = await a_call(world.database, await an_agent(world.database, name="Speaks"))
    await ledger_rows.write(world.database, finished(call))
    return call.id


async def _key(world: World) -> str:
    return (await keys.create(world.database, DEFAULT_TENANT, "dev", "theirs"))[0].id


async def _webhook(world: World) -> str:
    return (await an_endpoint(world.database)).id


async def _delivery(world: World) -> str:
    await an_endpoint(world.database)
    await routed(world.database)
    return (await deliveries.listing(world.database, DEFAULT_TENANT, Filters()))[0][0].id


async def _tenant(world: World) -> str:
    return DEFAULT_TENANT


MAKERS: Mapping[str, Callable[[World], Awaitable[str]]] = {
    "agentId": _agent,
    "callId": _call,
    "keyId": _key,
    "tenantId": _tenant,
    "webhookId": _webhook,
    "deliveryId": _delivery,
}
"""How to make what a path parameter names, in the default tenant. A route with a new parameter needs a line here."""
PLAIN: Mapping[str, str] = {"e164": "+919876543210", "name": "x", "version": "1", "carrier": "twilio"}
"""Parameters that name nothing of a tenant's."""


@attrs.frozen(kw_only=True)
class Known:
    """A route as the document has it."""

    method: str
    path: str
    operation: Mapping[str, Any]
    document: Mapping[str, Any]

    @property
    def role(self) -> str | None:
        """The least role."""
        return self.operation.get("x-role")

    @property
    def parameters(self) -> list[str]:
        """What its path names."""
        return re.findall(r"\{(\w+)\}", self.path)

    def at(self, ids: Mapping[str, str]) -> str:
        """Give the path to these things."""
        return re.sub(r"\{(\w+)\}", lambda found: ids[found[1]], self.path)

    def body(self) -> Any:
        """Give the smallest body that it takes; None: it takes none."""
        content = self.operation.get("requestBody", {}).get("content", {})
        return smallest(content["application/json"]["schema"], self.document) if "application/json" in content else None


def routes(world: World) -> Iterator[Known]:
    """Give every route of the application."""
    whole = document(world.app)
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            yield Known(method=method.upper(), path=path, operation=operation, document=whole)


def smallest(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Any:
    """Give something small that a schema allows, as far as a route's own rules let it."""
    if "$ref" in schema:
        return smallest(whole["components"]["schemas"][schema["$ref"].rpartition("/")[2]], whole)
    if "enum" in schema:
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    if schema.get("type") == "object" or "properties" in schema:
        forms = [schema, *schema.get("anyOf", [])]
        properties = {name: one for form in forms for name, one in form.get("properties", {}).items()}
        return {name: smallest(properties[name], whole) for name in schema.get("required", [])}
    if "anyOf" in schema:
        return smallest(schema["anyOf"][0], whole)
    kind = schema.get("type", "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "integer" | "number":
            return max(1, schema.get("minimum", 1))
        case "boolean":
            return True
        case "array":
            return [smallest(schema["items"], whole)] * schema.get("minItems", 0)
        case "null":
            return None
        case _ if schema.get("format") == "date-time":
            return "2026-03-01T09:30:00Z"
        case _:
            plain = "x" * max(1, schema.get("minLength", 1))
            return next((one for one in (plain, *SAMPLES) if re.search(schema.get("pattern", ""), one)), plain)


SAMPLES = ("1", "+14155550100", "https://example.com/x")
"""Texts of which one fits each pattern that a required field has."""
