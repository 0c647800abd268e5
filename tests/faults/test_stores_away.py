"""PostgreSQL and Redis killed under a whole server with live calls: no call notices, nothing is lost or reordered."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from invorto.errors import StoreUnavailable
from invorto.model.call import Call
from invorto.storage import calls
from invorto.storage.migrate import migrate
from invorto.storage.postgres import Database
from tests.faults.servers import Server as Store
from tests.faults.servers import postgres_server, redis_server
from tests.journeys.house import BINARY, Client, Server, open_client, open_server, settings
from tests.journeys.processes import rest
from tests.webhooks.judge import bodies, faults

BRIEF = '{"replies": ["Yes."]}'
GREETS = {"greeting": "Hello.", "recording": {"enabled": False}}


@pytest.fixture
def postgres() -> Iterator[tuple[Store, str]]:
    """Give a PostgreSQL of this test's own and its URL."""
    with postgres_server() as given:
        yield given


@pytest.fixture
def redis() -> Iterator[tuple[Store, str]]:
    """Give a Redis of this test's own, that keeps what it took, and its URL."""
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as given:
        yield given


async def ask(client: Client) -> None:
    """See that a call goes on: ask, and be answered."""
    answers = sum(event["t"] == "tts.done" for event in client.events)
    await client.send(t="text", text="are you there?")
    assert (await client.until("tts.done", answers + 1))["heard"] == "Yes."


async def ended(database: Database, call_id: str) -> Call:
    """Wait until a call is over in PostgreSQL."""
    with trio.fail_after(20):
        while True:
            try:
                call = await calls.get(database, "t_default", call_id)
            except StoreUnavailable:
                call = None
            if call is not None and call.status.terminal:
                return call
            await trio.sleep(0.1)


@asynccontextmanager
async def calling(server: Server, call_id: str) -> AsyncGenerator[Client]:
    """Call, and wait for the greeting."""
    async with open_client(server, call_id, start=BINARY) as client:
        await client.until("tts.done")
        yield client


async def facts(database: Database, call_id: str) -> list[str]:
    """Give the types of a call's outbox rows, in their order, which has no gap."""
    async with database.tenant("t_default") as work:
        rows = await work.fetch("SELECT seq, type FROM outbox WHERE call_id = $1 ORDER BY seq", call_id)
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["type"] for row in rows]


async def test_postgres_goes_and_comes_under_live_calls(
    loop: None, postgres: tuple[Store, str], redis_url: str, tmp_path: Path
) -> None:
    """Live calls go on without PostgreSQL, end and are spooled; new ones are told; all is there when it is back."""
    store, url = postgres
    await migrate(url)
    environ = settings(url, redis_url, tmp_path, SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="error", DRAIN_TIMEOUT="0")
    async with open_server(environ, GREETS) as server:
        async with calling(server, "c-1") as one, calling(server, "c-2") as two:
            store.kill()
            await ask(one)
            async with open_client(server, "c-3", start=BINARY) as late:
                assert await late.until_closed() == (1011, "store_unavailable")
                (error,) = [event for event in late.events if event["t"] == "error"]
                assert (error["code"], error["fatal"]) == ("store_unavailable", True)
                assert error["retryAfter"] > 0
            answer = await rest(server, "/v1/calls/c-1")
            assert (answer.status, answer.body["code"]) == (503, "store_unavailable")
            assert (await rest(server, "/health")).status == 200
            ready = await rest(server, "/health/ready")
            assert (ready.status, ready.body["code"]) == (503, "store_unavailable")

            await one.send(t="end")
            assert (await one.until("end"))["reason"] == "hangup"
            assert (await one.until_closed())[0] == 1000
            assert server.resources.ledger.behind
            await trio.to_thread.run_sync(store.start)
            assert (await ended(server.resources.database, "c-1")).end_reason == "hangup"
            await ask(two)
            async with calling(server, "c-4") as late:
                await ask(late)
                store.kill()  # again, and this time the server goes before it is back
                await two.send(t="end")
                assert (await two.until_closed())[0] == 1000
                server.stop.ask()
                assert (await late.until("end"))["reason"] == "drained"
    assert list((tmp_path / "spool").glob("*.rec"))
    await trio.to_thread.run_sync(store.start)
    async with open_server(environ, GREETS) as server:
        database = server.resources.database
        reasons = [(await ended(database, f"c-{number}")).end_reason for number in (1, 2, 4)]
        assert reasons == ["hangup", "hangup", "drained"]
        for number in (1, 2, 4):
            told = await facts(database, f"c-{number}")
            assert told[:2] == ["call.started", "call.answered"]
            assert told[-3:] == ["call.ended", "billing.usage.updated", "agent.summary"]
            assert told.count("call.ended") == 1
            whole = await bodies(database, "t_default", f"c-{number}")
            assert [fault for fact in whole for fault in faults(fact)] == []
            words = await calls.transcript(database, "t_default", f"c-{number}")
            assert [word.text for word in words[:3]] == ["Hello.", "are you there?", "Yes."]
        with trio.fail_after(10):
            while server.resources.ledger.behind:
                await trio.sleep(0.05)
    assert not list((tmp_path / "spool").glob("*.rec"))


async def test_redis_goes_and_comes_under_live_calls(
    loop: None, postgres_url: str, redis: tuple[Store, str], tmp_path: Path
) -> None:
    """Calls begin, go on and end without Redis, the node is degraded and ready; the timeline catches up in order."""
    store, url = redis
    environ = settings(postgres_url, url, tmp_path, SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="error")
    async with open_server(environ, GREETS) as server:
        async with calling(server, "c-1") as one:
            store.kill()
            await ask(one)
            async with calling(server, "c-2") as two:
                await ask(two)
                await two.send(t="end")
                assert (await two.until_closed())[0] == 1000
            with trio.fail_after(10):
                while server.resources.timeline.healthy:
                    await trio.sleep(0.05)
            health = await rest(server, "/health")
            assert (health.status, health.body["status"]) == (200, "degraded")
            assert (await rest(server, "/health/ready")).status == 200
            await trio.to_thread.run_sync(store.start)
            await ask(one)
            with trio.fail_after(20):
                await server.resources.timeline.flush()
            await one.send(t="end")
            assert (await one.until_closed())[0] == 1000
        for client, call_id in ((one, "c-1"), (two, "c-2")):
            await ended(server.resources.database, call_id)
            with trio.fail_after(10):
                await server.resources.timeline.flush()
            page: dict[str, Any] = (await rest(server, f"/v1/calls/{call_id}/timeline?count=1000")).body
            kept = page["timeline"]
            ids = [tuple(map(int, event["id"].split("-"))) for event in kept]
            assert ids == sorted(set(ids))
            told = [event["id"] for event in client.events if event["t"] == "tts.done"]
            assert [event["id"] for event in kept if event["kind"] == "tts.done"] == told
            assert kept[0]["kind"] == "call.started"
            assert kept[-1]["kind"] == "call.ended"
        assert server.resources.timeline.dropped == 0
        with trio.fail_after(5):  # what was found holds for a second
            while (await rest(server, "/health")).body["status"] != "ok":
                await trio.sleep(0.1)
