"""What agents were, how they become it again, and how they go."""

from __future__ import annotations

import trio

from invorto.model.call import CallStatus
from invorto.storage import agents, calls, ledger_rows
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World
from tests.storage.nouns import a_call, finished


async def changed(world: World, *models: str) -> str:
    """Make an agent that has had *models*, one after the other."""
    agent_id = await world.agent(config={"llm": {"model": models[0]}})
    for model in models[1:]:
        answered = await world.ask("PATCH", f"/v1/agents/{agent_id}", {"config": {"llm": {"model": model}}})
        assert answered.status == 200
    return agent_id


async def test_versions_are_listed(world: World) -> None:
    """Every version is there, the newest first, page by page."""
    agent_id = await changed(world, "a", "b", "c")
    first = (await world.ask("GET", f"/v1/agents/{agent_id}/versions?limit=2", key="analyst")).json
    assert [(one["version"], one["config"]["llm"]["model"]) for one in first["data"]] == [(3, "c"), (2, "b")]
    assert first["pagination"]["total"] == 3
    cursor = first["pagination"]["next"]
    last = (await world.ask("GET", f"/v1/agents/{agent_id}/versions?cursor={cursor}")).json
    assert [one["version"] for one in last["data"]] == [1]
    assert (await world.ask("GET", "/v1/agents/a_none/versions")).status == 404
    assert (await world.ask("GET", f"/v1/agents/{agent_id}/versions", key="other")).status == 404


async def test_rollback_is_a_new_version(world: World) -> None:
    """An agent becomes what it was without losing what it became; what it is already is no change."""
    agent_id = await changed(world, "a", "b")
    back = await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 1})
    assert (back.status, back.json["version"], back.json["config"]) == (200, 3, {"llm": {"model": "a"}})
    again = await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 1})
    assert (again.status, again.json["version"]) == (200, 3)
    assert (await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 9})).status == 404
    for body, path in (({}, "$.version"), ({"version": "1"}, "$.version"), ({"version": 1, "x": 1}, "$.x")):
        refused = await world.ask("POST", f"/v1/agents/{agent_id}/rollback", body)
        assert (refused.status, refused.faults[0][0]) == (422, path)
    assert (await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 1}, key="analyst")).status == 403
    assert (await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 1}, key="other")).status == 404


async def test_rollback_to_what_cannot_be_any_more(world: World) -> None:
    """A version that this installation can no longer serve is refused with its faults, and the agent stays."""
    agent_id = await world.agent()
    await agents.change(world.database, DEFAULT_TENANT, agent_id, document={"llm": {"provider": "gone"}})
    await agents.change(world.database, DEFAULT_TENANT, agent_id, document={"llm": {"provider": "local"}})
    refused = await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 2})
    assert (refused.status, refused.faults[0][0]) == (422, "$.llm.provider")
    assert (await world.ask("GET", f"/v1/agents/{agent_id}")).json["version"] == 3


async def test_two_rollbacks_at_once(world: World) -> None:
    """Two people who roll back in the same moment make one version of it."""
    agent_id = await changed(world, "a", "b")
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(world.ask, "POST", f"/v1/agents/{agent_id}/rollback", {"version": 1})
    assert (await world.ask("GET", f"/v1/agents/{agent_id}")).json["version"] == 3


async def test_an_agent_goes(world: World) -> None:
    """A deleted agent is gone from every route, its name is free, and its calls are still read."""
    agent_id = await world.agent()
    call = await a_call(world.database, await agents.get(world.database, DEFAULT_TENANT, agent_id))
    await ledger_rows.write(world.database, finished(call))
    assert (await world.ask("DELETE", f"/v1/agents/{agent_id}", key="other")).status == 404
    assert (await world.ask("DELETE", f"/v1/agents/{agent_id}", key="analyst")).status == 403
    gone = await world.ask("DELETE", f"/v1/agents/{agent_id}")
    assert (gone.status, gone.data) == (204, b"")
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/versions")):
        assert (await world.ask(method, f"/v1/agents/{agent_id}{path}")).status == 404
    assert (await world.ask("PATCH", f"/v1/agents/{agent_id}", {"name": "x"})).status == 404
    assert (await world.ask("POST", f"/v1/agents/{agent_id}/rollback", {"version": 1})).status == 404
    assert (await world.ask("GET", f"/v1/calls/{call.id}")).json["agentId"] == agent_id
    assert await world.agent() != agent_id


async def test_an_agent_in_use_stays(world: World) -> None:
    """While it holds a call an agent cannot go; a call that never began keeps nobody."""
    agent_id = await world.agent()
    call = await a_call(world.database, await agents.get(world.database, DEFAULT_TENANT, agent_id))
    await calls.move(world.database, DEFAULT_TENANT, call.id, CallStatus.ACTIVE, epoch=1)
    refused = await world.ask("DELETE", f"/v1/agents/{agent_id}")
    assert (refused.status, refused.json["code"]) == (409, "agent_in_use")
    await ledger_rows.write(world.database, finished(call))
    await a_call(world.database, await agents.get(world.database, DEFAULT_TENANT, agent_id))
    assert (await world.ask("DELETE", f"/v1/agents/{agent_id}")).status == 204
