"""What the original Node client sends works as it did, for the routes that are here."""

from __future__ import annotations

from invorto.storage import ledger_rows
from tests.api.world import World
from tests.storage.nouns import a_call, an_agent, finished

FLAT = {
    "name": "Front desk", "prompt": "You book tables.", "voice": "asha", "locale": "en-IN", "temperature": 0.3,
    "model": "gpt-4o-mini", "maxTokens": 150, "systemPrompt": "You are polite.", "tools": [], "metadata": {"team": "x"},
}  # fmt: skip


async def test_it_makes_an_agent(world: World) -> None:
    """A flat agent is made, and `id` and `status` are where the client reads them."""
    made = await world.ask("POST", "/v1/agents", FLAT)
    assert made.status == 201
    assert made.json["id"]
    assert made.json["status"] == "active"
    assert made.json["config"] == {
        "prompt": "You are polite.\n\nYou book tables.", "locale": "en-IN", "tools": [], "metadata": {"team": "x"},
        "llm": {"model": "gpt-4o-mini", "temperature": 0.3, "maxTokens": 150}, "tts": {"voice": "asha"},
    }  # fmt: skip


async def test_it_patches_an_agent(world: World) -> None:
    """A flat, partial change touches what it names."""
    agent_id = (await world.ask("POST", "/v1/agents", FLAT)).json["id"]
    changed = await world.ask("PATCH", f"/v1/agents/{agent_id}", {"temperature": 0.9, "systemPrompt": "Be brief."})
    assert changed.status == 200
    assert changed.json["config"]["llm"] == {"model": "gpt-4o-mini", "temperature": 0.9, "maxTokens": 150}
    assert changed.json["config"]["prompt"] == "Be brief."
    assert (await world.ask("PATCH", f"/v1/agents/{agent_id}", {"status": "inactive"})).json["status"] == "inactive"


async def test_it_lists_agents(world: World) -> None:
    """Its whole query is understood, and `data` and `pagination` are what it reads."""
    await world.ask("POST", "/v1/agents", FLAT)
    query = "page=1&limit=20&search=desk&status=active&sortBy=createdAt&sortOrder=desc"
    listed = (await world.ask("GET", f"/v1/agents?{query}")).json
    assert [agent["name"] for agent in listed["data"]] == ["Front desk"]
    page = listed["pagination"]
    assert (page["page"], page["limit"], page["total"], page["pages"]) == (1, 20, 1, 1)


async def test_it_reads_calls(world: World) -> None:
    """Calls are listed and read, and a timeline is under `timeline`."""
    agent = await an_agent(world.database)
    call = await a_call(world.database, agent)
    await ledger_rows.write(world.database, finished(call))
    query = (
        f"agentId={agent.id}&status=completed&page=1&limit=10&from=2026-01-01T00:00:00.000Z&to=2026-12-31T00:00:00.000Z"
    )
    listed = (await world.ask("GET", f"/v1/calls?{query}")).json
    assert [(one["id"], one["status"]) for one in listed["data"]] == [(call.id, "completed")]
    assert (await world.ask("GET", f"/v1/calls/{call.id}")).json["id"] == call.id
    timeline = (await world.ask("GET", f"/v1/calls/{call.id}/timeline")).json
    assert timeline["callId"] == call.id
    assert set(timeline["timeline"][0]) == {"id", "kind", "payload", "timestamp"}


async def test_it_reads_health_metrics_and_errors(world: World) -> None:
    """`ok` is where it was, metrics are text, and an error has a `message`."""
    assert (await world.ask("GET", "/health")).json["ok"] is True
    metrics = await world.ask("GET", "/metrics", key="operator")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert (await world.ask("GET", "/v1/agents/a_none")).json["message"]


async def test_it_makes_and_ends_a_call(world: World) -> None:
    """Its call is made with every field that it sends, and ends by its status with metadata."""
    agent_id = (await world.ask("POST", "/v1/agents", FLAT)).json["id"]
    body = {"agentId": agent_id, "direction": "web", "metadata": {"a": 1}, "recording": True, "transcription": True}
    made = await world.ask("POST", "/v1/calls", body)
    assert (made.status, made.json["status"]) == (201, "created")
    path = f"/v1/calls/{made.json['id']}/status"
    ended = await world.ask("PATCH", path, {"status": "canceled", "metadata": {"why": "test"}})
    assert (ended.status, ended.json["status"], ended.json["metadata"]) == (200, "canceled", {"a": 1, "why": "test"})
    dialled = await world.ask(
        "POST", "/v1/calls", {**body, "to": "+919876543210", "from": "+911", "direction": "outbound"}
    )
    assert dialled.status == 409
    assert dialled.json["message"]


async def test_it_deletes_an_agent(world: World) -> None:
    """An agent goes, and its versions with it."""
    agent_id = (await world.ask("POST", "/v1/agents", FLAT)).json["id"]
    assert (await world.ask("DELETE", f"/v1/agents/{agent_id}")).status == 204
    assert (await world.ask("GET", f"/v1/agents/{agent_id}")).status == 404


async def test_it_reads_figures(world: World) -> None:
    """Usage, stats, health and metrics answer where it asks for them."""
    call = await a_call(world.database, await an_agent(world.database))
    await ledger_rows.write(world.database, finished(call))
    usage = await world.ask("GET", "/v1/tenants/t_default/usage?period=24h")
    assert (usage.status, usage.json["period"]) == (200, "24h")
    stats = await world.ask("GET", f"/v1/realtime/{call.id}/stats")
    assert (stats.status, stats.json["callId"]) == (200, call.id)
    assert (await world.ask("GET", "/health", key=None)).json["ok"] is True
    assert (await world.ask("GET", "/metrics", key="operator")).status == 200
    artifacts = await world.ask("GET", f"/v1/calls/{call.id}/artifacts")
    assert artifacts.status in {200, 409}  # without a key of the installation nothing is signed
