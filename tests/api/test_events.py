"""The catalogue over REST."""

from __future__ import annotations

import json

import pytest
from jsonschema import Draft202012Validator

from invorto.model.facts import EVENT_TYPES
from tests.api.world import World


async def test_every_schema_can_be_fetched(world: World) -> None:
    """The list names every type, and each version's schema is where the list says."""
    listed = (await world.ask("GET", "/v1/webhooks/events", key="analyst")).json["data"]
    assert [one["type"] for one in listed] == list(EVENT_TYPES)
    for one in listed:
        for version in one["versions"]:
            told = await world.ask("GET", version["schemaUrl"], key="analyst")
            assert told.status == 200
            assert told.headers["Content-Type"] == "application/schema+json"
            Draft202012Validator(json.loads(told.data)).validate(one["sample"])
        newest = (await world.ask("GET", f"/v1/webhooks/events/{one['type']}")).json
        assert newest == one


@pytest.mark.parametrize("path", ["call.end", "call.ended/2", "call.ended/0", "call.ended/x", "call.ended/²", "%00"])
async def test_what_is_not_there(world: World, path: str) -> None:
    """An unknown type or version is not found, whatever it is called."""
    told = await world.ask("GET", f"/v1/webhooks/events/{path}")
    assert (told.status, told.json["code"]) == (404, "not_found")


async def test_nobody_without_a_key(world: World) -> None:
    """The catalogue is for holders of a key."""
    assert (await world.ask("GET", "/v1/webhooks/events", key=None)).status == 401
