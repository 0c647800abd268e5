"""Tenants over REST: the operator's alone."""

from __future__ import annotations

import pytest

from tests.api.world import World

WHOLE = {
    "name": "Acme", "maxConcurrentCalls": 20, "guaranteedCalls": 5, "dailyCapInr": "2500.50",
    "timezone": "Europe/Paris",
    "allowedOrigins": ["https://app.acme.example"], "toolHosts": ["api.acme.example", "*.tools.acme.example"],
}  # fmt: skip


async def test_a_tenant_is_made_and_changed(world: World) -> None:
    """It comes with its first admin's key; what is changed takes the place of what was, null goes back."""
    made = await world.ask("POST", "/v1/tenants", WHOLE, key="operator")
    assert made.status == 201
    key = made.json.pop("key")
    assert {name: made.json[name] for name in WHOLE} == WHOLE
    headers = {"Authorization": f"Bearer {key}"}
    assert (await world.ask("GET", "/v1/keys", key=None, headers=headers)).json["data"][0]["role"] == "admin"
    assert (await world.ask("GET", "/v1/tenants", key=None, headers=headers)).status == 403
    place = f"/v1/tenants/{made.json['id']}"
    assert (await world.ask("GET", place, key="operator")).json["dailyCapInr"] == "2500.50"
    change = {"name": "Acme Ltd", "dailyCapInr": None, "toolHosts": [], "guaranteedCalls": 7}
    changed = (await world.ask("PATCH", place, change, key="operator")).json
    assert (changed["name"], changed["dailyCapInr"], changed["toolHosts"]) == ("Acme Ltd", None, [])
    assert (changed["guaranteedCalls"], changed["timezone"]) == (7, "Europe/Paris")
    assert (await world.ask("GET", place, key="operator")).json == changed


async def test_tenants_are_listed(world: World) -> None:
    """The newest first, found by a part of the name."""
    for name in ("Ann", "Anna", "Bob"):
        await world.ask("POST", "/v1/tenants", {"name": name}, key="operator")
    found = (await world.ask("GET", "/v1/tenants?search=ann&limit=1", key="operator")).json
    assert [one["name"] for one in found["data"]] == ["Anna"]
    assert found["pagination"]["total"] == 2


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"name": "x", "timezone": "Mars/Base"}, "$.timezone"),
        ({"name": "x", "dailyCapInr": -1}, "$.dailyCapInr"),
        ({"name": "x", "dailyCapInr": "NaN"}, "$.dailyCapInr"),
        ({"name": "x", "allowedOrigins": ["nowhere"]}, "$.allowedOrigins"),
        ({"name": "x", "toolHosts": ["https://x"]}, "$.toolHosts"),
        ({"name": "x", "maxConcurrentCalls": 1e20}, "$.maxConcurrentCalls"),
        ({"timezone": "Asia/Kolkata"}, "$.name"),
        ({"name": "x", "secret": 1}, "$.secret"),
        ([], "$"),
    ],
    ids=[str(n) for n in range(9)],
)
async def test_bad_tenants(world: World, body: object, path: str) -> None:
    """What breaks a rule is named, in making and in changing."""
    refused = await world.ask("POST", "/v1/tenants", body, key="operator")
    assert [fault[0] for fault in refused.faults] == [path]
    if path != "$.name":
        refused = await world.ask("PATCH", f"/v1/tenants/{world.other_tenant}", body, key="operator")
        assert [fault[0] for fault in refused.faults] == [path]


async def test_no_such_tenant(world: World) -> None:
    """A tenant that is not there is not found."""
    assert (await world.ask("GET", "/v1/tenants/t_none", key="operator")).status == 404
    assert (await world.ask("PATCH", "/v1/tenants/t_none", {"name": "x"}, key="operator")).status == 404
