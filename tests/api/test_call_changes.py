"""Calls over REST: made, moved along the table of states, summarized from outside."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from invorto.model.call import CallStatus, Direction
from invorto.storage import agents, calls, ledger_rows
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.webhooks.catalogue import entry
from tests.api.world import World
from tests.storage.nouns import a_call, an_agent, finished


async def test_a_web_call_is_made(world: World) -> None:
    """A web call is there at once with all that was said of it, waits for its socket, and keeps its agent as it is."""
    agent_id = await world.agent(prompt="Be {{tone}}.")
    body = {
        "agentId": agent_id, "direction": "web", "metadata": {"order": 7}, "variables": {"tone": "kind"},
        "recording": False, "transcription": True, "from": "web:anna",
    }  # fmt: skip
    made = await world.ask("POST", "/v1/calls", body)
    assert (made.status, made.json["status"], made.json["direction"]) == (201, "created", "web")
    assert made.headers["Location"] == f"/v1/calls/{made.json['id']}"
    told = (await world.ask("GET", f"/v1/calls/{made.json['id']}")).json
    assert (told["metadata"], told["variables"], told["recording"]) == ({"order": 7}, {"tone": "kind"}, False)
    assert (told["from"], told["startedAt"], told["live"]) == ("web:anna", None, False)
    assert told["agentConfig"]["prompt"] == "Be kind."


async def test_what_a_call_is_by_default(world: World) -> None:
    """Whoever names nobody to be called makes a web call; the agent may be named."""
    await world.agent()
    made = await world.ask("POST", "/v1/calls", {"agentId": "Desk"})
    assert (made.status, made.json["direction"]) == (201, "web")


async def test_nothing_can_dial_yet(world: World) -> None:
    """A call to somebody is refused as long as there is no carrier, and nothing is kept of it."""
    agent_id = await world.agent()
    for body in ({"to": "+919876543210"}, {"to": "+919876543210", "direction": "outbound"}, {"direction": "inbound"}):
        refused = await world.ask("POST", "/v1/calls", {"agentId": agent_id, **body})
        assert (refused.status, refused.json["code"]) == (409, "not_supported")
    assert (await world.ask("GET", "/v1/calls")).json["pagination"]["total"] == 0


BAD: list[tuple[dict[str, Any], str]] = [
    ({"agentId": None}, "$.agentId"),
    ({"agentId": "a_none"}, "$.agentId"),
    ({"direction": "up"}, "$.direction"),
    ({"direction": "outbound"}, "$.to"),
    ({"to": 5}, "$.to"),
    ({"metadata": []}, "$.metadata"),
    ({"variables": {"a": 1}}, "$.variables.a"),
    ({"recording": "yes"}, "$.recording"),
    ({"surprise": 1}, "$.surprise"),
]


async def test_bad_calls(world: World) -> None:
    """What is wrong with a call is told with its path."""
    agent_id = await world.agent()
    for body, path in BAD:
        refused = await world.ask("POST", "/v1/calls", {"agentId": agent_id, **body})
        assert (refused.status, [fault[0] for fault in refused.faults]) == (422, [path]), body
    assert (await world.ask("POST", "/v1/calls", {})).faults == [("$.agentId", "required field missing")]
    assert (await world.ask("POST", "/v1/calls", {"agentId": agent_id}, key="analyst")).status == 403
    assert (await world.ask("POST", "/v1/calls", {"agentId": agent_id}, key="other")).status == 422


async def test_no_calls_for_an_inactive_agent_or_while_draining(world: World) -> None:
    """An agent that is not active answers nothing; a node that goes away takes no new call."""
    agent_id = await world.agent(status="inactive")
    refused = await world.ask("POST", "/v1/calls", {"agentId": agent_id})
    assert (refused.status, refused.json["code"]) == (409, "agent_not_active")
    world.draining = True
    refused = await world.ask("POST", "/v1/calls", {"agentId": agent_id})
    assert (refused.status, refused.json["code"]) == (503, "draining")
    assert "Retry-After" in refused.headers


@pytest.mark.parametrize("status", ["completed", "failed", "canceled", "busy", "no-answer"])
async def test_a_call_ends_before_it_began(world: World, status: str) -> None:
    """A call that waits for its socket can be ended, once; webhooks are told in the same transaction."""
    agent_id = await world.agent()
    call_id = (await world.ask("POST", "/v1/calls", {"agentId": agent_id, "metadata": {"a": 1, "b": 1}})).json["id"]
    body = {"status": status, "metadata": {"b": 2}}
    ended = await world.ask("PATCH", f"/v1/calls/{call_id}/status", body)
    assert (ended.status, ended.json["status"], ended.json["metadata"]) == (200, status, {"a": 1, "b": 2})
    assert ended.json["endedAt"] is not None
    again = await world.ask("PATCH", f"/v1/calls/{call_id}/status", body)
    assert (again.status, again.json["code"]) == (409, "conflict")
    async with world.database.tenant(DEFAULT_TENANT) as work:
        rows = await work.fetch("SELECT type, seq, data FROM outbox WHERE call_id = $1", call_id)
    assert [(row["type"], row["seq"]) for row in rows] == [
        ("call.ended", 1), ("billing.usage.updated", 2), ("agent.summary", 3),
    ]  # fmt: skip
    assert (rows[0]["data"]["status"], rows[0]["data"]["duration"]) == (status, 0)
    assert_published(rows, call_id)


async def test_only_moves_of_the_table(world: World) -> None:
    """A web call becomes active by its socket alone; a dialled one goes forward, never back."""
    agent = await an_agent(world.database)
    web, out = await a_call(world.database, agent), await a_call(world.database, agent, direction=Direction.OUTBOUND)

    async def become(call_id: str, status: str) -> int:
        return (await world.ask("PATCH", f"/v1/calls/{call_id}/status", {"status": status})).status

    for status in ("active", "queued", "ringing", "created"):
        assert await become(web.id, status) == 409
    assert [await become(out.id, status) for status in ("queued", "ringing", "dialing", "active", "busy")] == [
        200, 200, 409, 409, 200,
    ]  # fmt: skip
    assert (await world.ask("PATCH", f"/v1/calls/{web.id}/status", {"status": "gone"})).faults[0][0] == "$.status"
    assert (await world.ask("PATCH", "/v1/calls/c_none/status", {"status": "failed"})).status == 404
    assert (await world.ask("PATCH", f"/v1/calls/{web.id}/status", {"status": "failed"}, key="other")).status == 404
    assert (await calls.get(world.database, DEFAULT_TENANT, web.id)).status is CallStatus.CREATED


async def test_a_summary_when_our_own_is_long_gone(world: World) -> None:
    """Where the call's own event is there no more it is made anew from what is kept, by the same schema."""
    call = await a_call(world.database, await an_agent(world.database))
    await ledger_rows.write(world.database, finished(call, outbox=()))
    assert (await world.ask("POST", f"/v1/calls/{call.id}/summary", {"text": "Booked."})).status == 200
    async with world.database.tenant(DEFAULT_TENANT) as work:
        rows = await work.fetch("SELECT * FROM outbox WHERE call_id = $1", call.id)
    assert [row["data"]["summary"]["text"] for row in rows] == ["Booked."]
    assert rows[0]["data"]["messages"][0]["text"] == "Hello, how can I help?"
    assert_published(rows, call.id)


def assert_published(rows: list[Any], call_id: str) -> None:
    """Hold events to the schemas that are published of them."""
    for row in rows:
        known = {"eventId": "evt_1", "tenantId": DEFAULT_TENANT, "callId": call_id, "seq": row["seq"]}
        body = {"type": row["type"], "timestamp": "2026-03-01T09:30:00.000Z", "data": {**row["data"], **known}}
        jsonschema.Draft202012Validator(entry(row["type"]).schema()).validate(body)


async def test_a_summary_from_outside(world: World) -> None:
    """A summary from outside takes the place of ours, is read with the call, and is published."""
    call = await a_call(world.database, await an_agent(world.database))
    body = {"text": "A table for two.", "outcome": "booked", "nextSteps": ["call back"], "analysis": {"mood": "good"}}
    early = await world.ask("POST", f"/v1/calls/{call.id}/summary", body)
    assert (early.status, early.json["code"]) == (409, "conflict")
    await ledger_rows.write(world.database, finished(call))
    told = await world.ask("POST", f"/v1/calls/{call.id}/summary", body)
    assert (told.status, told.json["summary"]["text"], told.json["analysis"]) == (
        200, "A table for two.", {"mood": "good"},
    )  # fmt: skip
    assert (await world.ask("POST", f"/v1/calls/{call.id}/summary", {"text": "Or three."})).status == 200
    read = (await world.ask("GET", f"/v1/calls/{call.id}")).json
    assert (read["summary"], read["analysis"]) == (
        {"outcome": "", "reason": "", "nextSteps": [], "text": "Or three."}, {"mood": "good"},
    )  # fmt: skip
    async with world.database.tenant(DEFAULT_TENANT) as work:
        rows = await work.fetch("SELECT type, seq, data FROM outbox WHERE call_id = $1 ORDER BY seq", call.id)
    assert [(row["type"], row["seq"]) for row in rows] == [
        ("call.ended", 1), ("agent.summary", 2), ("agent.summary", 3), ("agent.summary", 4),
    ]  # fmt: skip
    assert rows[3]["data"]["summary"]["text"] == "Or three."
    assert rows[3]["data"]["analysis"] == {"mood": "good"}
    assert rows[3]["data"]["text"] == "x"  # all else is as it was told before
    for wrong, path in (({}, "$.text"), ({"text": " "}, "$.text"), ({"text": "x", "nextSteps": "y"}, "$.nextSteps")):
        refused = await world.ask("POST", f"/v1/calls/{call.id}/summary", wrong)
        assert (refused.status, refused.faults[0][0]) == (422, path)
    assert (await world.ask("POST", f"/v1/calls/{call.id}/summary", body, key="other")).status == 404
    assert (await agents.get(world.database, DEFAULT_TENANT, call.agent_id)).status == "active"
