"""Keys over REST: shown once, listed without themselves, revoked at once, and nobody makes more than they are."""

from __future__ import annotations

import pytest

from tests.api.world import World


async def test_a_key_is_shown_once(world: World) -> None:
    """The key is in the answer that makes it, works, and stands in no list."""
    made = await world.ask("POST", "/v1/keys", {"name": " laptop ", "role": "dev"}, key="admin")
    assert made.status == 201
    key = made.json["key"]
    assert made.json["name"] == "laptop"
    assert (await world.ask("GET", "/v1/agents", key=None, headers={"X-Api-Key": key})).status == 200
    listed = await world.ask("GET", "/v1/keys", key="admin")
    assert made.json["id"] in {one["id"] for one in listed.json["data"]}
    assert key.encode() not in listed.data
    assert "operator" not in {one["role"] for one in listed.json["data"]}


async def test_a_revoked_key_opens_nothing(world: World) -> None:
    """From the answer on; revoking again is no error, a key of nobody or of another tenant is not found."""
    made = (await world.ask("POST", "/v1/keys", {"name": "x"}, key="admin")).json
    bearer = {"Authorization": f"Bearer {made['key']}"}
    assert (await world.ask("GET", "/v1/agents", key=None, headers=bearer)).status == 200
    for key, status in (("other", 404), ("dev", 403), ("admin", 204), ("admin", 204)):
        assert (await world.ask("DELETE", f"/v1/keys/{made['id']}", key=key)).status == status
    assert (await world.ask("GET", "/v1/agents", key=None, headers=bearer)).status == 401
    assert (await world.ask("DELETE", "/v1/keys/k_none", key="admin")).status == 404


async def test_nobody_makes_more_than_they_are(world: World) -> None:
    """An admin makes no operator, no key of another tenant, and revokes no operator; an operator may."""
    for body in ({"name": "x", "role": "operator"}, {"name": "x", "tenantId": world.other_tenant}):
        assert (await world.ask("POST", "/v1/keys", body, key="admin")).status == 403
        made = await world.ask("POST", "/v1/keys", body, key="operator")
        assert made.status == 201
    assert made.json["tenantId"] == world.other_tenant
    operator = (await world.ask("POST", "/v1/keys", {"name": "y", "role": "operator"}, key="operator")).json
    assert (await world.ask("DELETE", f"/v1/keys/{operator['id']}", key="admin")).status == 404
    assert (await world.ask("DELETE", f"/v1/keys/{operator['id']}", key="operator")).status == 204
    unknown = await world.ask("POST", "/v1/keys", {"name": "x", "tenantId": "t_none"}, key="operator")
    assert unknown.faults == [("$.tenantId", "there is no such tenant")]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("$.name", "required field missing")),
        ({"name": " "}, ("$.name", "must not be empty")),
        ({"name": "x", "role": "king"}, ("$.role", "expected one of operator, admin, dev, analyst")),
        ({"name": "x", "key": "inv_live_mine1234"}, ("$.key", "unknown field")),
        ({"name": 5}, ("$.name", "expected text")),
    ],
    ids=["missing", "empty", "role", "unknown", "type"],
)
async def test_bad_keys(world: World, body: object, fault: tuple[str, str]) -> None:
    """What is wrong is said with its path."""
    refused = await world.ask("POST", "/v1/keys", body, key="admin")
    assert (refused.status, refused.faults) == (422, [fault])


async def test_what_was_done_is_written_down(world: World) -> None:
    """The audit log says who did what to whom, from where, in which request, and holds no key."""
    made = await world.ask("POST", "/v1/keys", {"name": "x"}, key="admin", headers={"X-Request-Id": "r-1"})
    await world.ask("DELETE", f"/v1/keys/{made.json['id']}", key="admin")
    listed = await world.ask("GET", "/v1/audit", key="admin")
    revoked, created = listed.json["data"][:2]
    assert (created["action"], created["target"], created["requestId"]) == ("key.created", made.json["id"], "r-1")
    assert (revoked["action"], revoked["role"]) == ("key.revoked", "admin")
    assert created["actor"].startswith("k_")
    assert made.json["key"].encode() not in listed.data
    only = (await world.ask("GET", "/v1/audit?action=key.revoked", key="admin")).json
    assert only["pagination"]["total"] == 1
    assert (await world.ask("GET", "/v1/audit", key="other")).json["data"] == []
    assert (await world.ask("GET", f"/v1/audit?tenantId={world.other_tenant}", key="admin")).status == 403
    assert (await world.ask("GET", f"/v1/audit?tenantId={world.other_tenant}", key="operator")).status == 200
    assert (await world.ask("GET", "/v1/audit", key="dev")).status == 403
