"""Limits, active and stuck calls: the operator sees the installation, everybody else their tenant."""

from __future__ import annotations

from invorto.model.call import CallStatus
from invorto.storage.leases import Leases
from tests.api.world import World
from tests.storage.leases import claim
from tests.storage.nouns import a_call, an_agent


async def held(world: World) -> Leases:
    """Hold three calls: two of the default tenant, one of them of a campaign, and one of another's."""
    leases = world.deps.leases
    assert leases is not None
    await leases.beat([])
    await leases.open()
    await leases.take(claim("c_1", tenant=("t_default", 0), campaign=("cmp_1", 20)))
    await leases.take(claim("c_2", tenant=("t_default", 0), phase="reserved"))
    await leases.take(claim("c_3", tenant=(world.other_tenant, 0), campaign=("cmp_other", 20)))
    return leases


async def test_limits_for_the_operator(world: World) -> None:
    """All levels with what is held and may be held, this node, and whether admission is open."""
    await held(world)
    answered = await world.ask("GET", "/telephony/limits", key="operator")
    assert answered.status == 200
    tenants = [
        {"tenantId": "t_default", "count": 2, "limit": 0}, {"tenantId": world.other_tenant, "count": 1, "limit": 0},
    ]  # fmt: skip
    assert answered.json == {
        "global": {"count": 3, "limit": 100},
        "campaigns": [
            {"campaignId": "cmp_1", "count": 1, "limit": 20}, {"campaignId": "cmp_other", "count": 1, "limit": 20},
        ],
        "tenants": sorted(tenants, key=lambda each: str(each["tenantId"])),
        "node": {"count": 0, "limit": 200},
        "nodes": 1,
        "closedFor": 0,
    }  # fmt: skip


async def test_limits_for_a_tenant(world: World) -> None:
    """A tenant sees itself and its campaigns, and nothing of anybody else."""
    await held(world)
    answered = await world.ask("GET", "/telephony/limits", key="analyst")
    assert answered.json == {
        "global": None, "campaigns": [{"campaignId": "cmp_1", "count": 1, "limit": 20}],
        "tenants": [{"tenantId": "t_default", "count": 2, "limit": 0}], "node": None, "nodes": None, "closedFor": None,
    }  # fmt: skip


async def test_active_calls(world: World) -> None:
    """What holds a slot is listed in pages, by tenant; where it is held only the operator sees."""
    await held(world)
    mine = await world.ask("GET", "/telephony/calls/active?limit=1", key="analyst")
    assert mine.json["pagination"]["total"] == 2
    (first,) = mine.json["data"]
    assert (first["callId"], first["campaignId"], first["phase"], first["nodeId"]) == ("c_1", "cmp_1", "live", None)
    assert 0 < first["leaseEndsIn"] <= 30
    rest = await world.ask("GET", f"/telephony/calls/active?cursor={mine.json['pagination']['next']}", key="analyst")
    assert [(one["callId"], one["phase"]) for one in rest.json["data"]] == [("c_2", "reserved")]
    everything = await world.ask("GET", "/telephony/calls/active", key="operator")
    assert {(one["callId"], one["nodeId"]) for one in everything.json["data"]} == {
        ("c_1", "n_1"), ("c_2", "n_1"), ("c_3", "n_1"),
    }  # fmt: skip


async def test_stuck_calls(world: World) -> None:
    """A row without a slot and a slot without a row are listed, each to its tenant, with what is wrong."""
    agent = await an_agent(world.database)
    for id in ("c_1", "c_lost"):
        await a_call(world.database, agent, id=id, status=CallStatus.ACTIVE, node_id="n_1")
    await held(world)
    mine = await world.ask("GET", "/telephony/calls/stuck", key="analyst")
    assert [(one["callId"], one["problem"], one["status"], one["nodeId"]) for one in mine.json["data"]] == [
        ("c_lost", "no_lease", "active", None), ("c_2", "no_call", None, None),
    ]  # fmt: skip
    everything = await world.ask("GET", "/telephony/calls/stuck", key="operator")
    assert [(one["callId"], one["nodeId"]) for one in everything.json["data"]] == [
        ("c_lost", "n_1"), ("c_2", "n_1"), ("c_3", "n_1"),
    ]  # fmt: skip


async def test_redis_away(shaky: World) -> None:
    """While Redis is away the answer is 503 with Retry-After, as nobody knows."""
    shaky.redis.away = True  # pyright: ignore[reportAttributeAccessIssue]
    for path in ("/telephony/limits", "/telephony/calls/active", "/telephony/calls/stuck"):
        answered = await shaky.ask("GET", path, key="operator")
        assert (answered.status, answered.json["code"]) == (503, "store_unavailable")
        assert int(answered.headers["Retry-After"]) > 0
