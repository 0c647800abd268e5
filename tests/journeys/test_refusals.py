"""Who is turned away at a real server, with which code, and what a client can read of why."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from invorto.storage import calls, keys
from tests.journeys.house import BINARY, Client, open_client, open_server, settings
from tests.wire.peers import open_client as connect


async def turned_away(client: Client) -> tuple[int, str, str]:
    """Give the close code, its reason, and the `error` before it."""
    code, reason = await client.until_closed()
    errors = [event for event in client.events if event["t"] == "error"]
    return code, reason or "", errors[-1]["code"] if errors else ""


async def test_refusals_can_be_read(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Bad key, unknown agent, reserved id, full node, someone else's call: each with its code, after the handshake."""
    environ = settings(postgres_url, redis_url, tmp_path, MAX_CONCURRENT_CALLS="1")
    async with open_server(environ) as server:
        _, other = await keys.create(server.resources.database, server.tenant_id, "dev", "other")
        async with open_client(server, "c-1", key="inv_live_wrong") as client:
            assert await turned_away(client) == (4003, "unauthorized", "")
        async with open_client(server, "tokens") as client:
            assert (await turned_away(client))[:2] == (4002, "bad_call_id")
        async with open_client(server, "c-1", start=BINARY) as first:
            await first.until("tts.done")
            async with open_client(server, "c-2", start=BINARY) as client:
                assert await turned_away(client) == (4029, "concurrency_limit", "concurrency_limit")
                (error,) = [event for event in client.events if event["t"] == "error"]
            assert (error["scope"], error["fatal"]) == ("node", True)
            assert error["retryAfter"] > 0
            async with open_client(server, "c-1", key=other) as client:
                assert await turned_away(client) == (4001, "connection_limit_exceeded", "connection_limit_exceeded")
            async with open_client(server, "c-1", rate=16000) as client:
                assert (await turned_away(client))[0] == 1003
            assert first.closed is None
        with trio.fail_after(5):
            await server.resources.live.wait_empty()
        async with open_client(server, "c-1") as client:
            assert await turned_away(client) == (1000, "", "call_not_live")
        async with open_client(server, "c-3", start=BINARY) as client:
            await client.until("tts.done")


async def test_levels_of_capacity_refuse(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """A full tenant, or a full installation, is told to the caller as such, and the slot is free when the call ends."""
    caps = {"TELEPHONY_GLOBAL_MAX_CONCURRENCY": "2", "TELEPHONY_PER_TENANT_MAX_CONCURRENCY": "1"}
    async with open_server(settings(postgres_url, redis_url, tmp_path, **caps)) as server:
        async with open_client(server, "c-1", start=BINARY) as first:
            await first.until("tts.done")
            owner = await server.resources.leases.owner_of("c-1")
            assert owner is not None
            assert owner.node_id == server.resources.node_id
            assert (await calls.get(server.resources.database, server.tenant_id, "c-1")).epoch == owner.epoch
            async with open_client(server, "c-2", start=BINARY) as client:
                assert await turned_away(client) == (4029, "concurrency_limit", "concurrency_limit")
            (error,) = [event for event in client.events if event["t"] == "error"]
            assert (error["scope"], error["retryAfter"] > 0) == ("tenant", True)
        with trio.fail_after(5):
            await server.resources.live.wait_empty()
        assert await server.resources.leases.owner_of("c-1") is None


async def test_the_same_caller_takes_over(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """A second socket with the same key goes on with the call; the first one is closed 4001 `replaced`."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as server:
        async with open_client(server, "c-1", start=BINARY) as first:
            await first.until("tts.done")
            async with open_client(server, "c-1", start=BINARY) as second:
                connected = await second.until("connected")
                assert connected["resumed"] is True
                assert await first.until_closed() == (4001, "replaced")
                await second.send(t="text", text="a table please")
                await second.until("tts.done")
                assert server.resources.live.held == 1
        with trio.fail_after(5):
            await server.resources.live.wait_empty()


async def test_others_may_listen_where_allowed(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """With REALTIME_ALLOW_MULTI a second key hears the call and cannot end it; MAX_CONNECTIONS_PER_CALL counts both."""
    environ = settings(postgres_url, redis_url, tmp_path, REALTIME_ALLOW_MULTI="1", MAX_CONNECTIONS_PER_CALL="2")
    async with open_server(environ) as server:
        _, other = await keys.create(server.resources.database, server.tenant_id, "dev", "other")
        async with open_client(server, "c-1", start=BINARY) as first:
            await first.until("tts.done")
            async with open_client(server, "c-1", start=BINARY, key=other) as listener:
                await listener.until("connected")
                await first.send(t="text", text="a table please")
                done = await listener.until("tts.done")
                assert done["heard"].startswith("Of course")
                assert listener.audio
                await listener.send(t="end")
                assert (await listener.until("error"))["code"] == "forbidden"
                _, third = await keys.create(server.resources.database, server.tenant_id, "dev", "third")
                async with open_client(server, "c-1", key=third) as one_too_many:
                    assert (await turned_away(one_too_many))[:2] == (4001, "connection_limit_exceeded")
            await first.send(t="text", text="and another")
            await first.until("tts.done", 3)


@pytest.mark.parametrize("path", ["/realtime/voice?callId=c-9", "/v1/realtime/c-9"])
async def test_both_paths_lead_to_the_call(
    path: str, loop: None, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Clients of the original use either."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as server:
        sign = "&" if "?" in path else "?"
        url = f"ws://127.0.0.1:{server.port}{path}{sign}agentId=desk&rate=8000"
        async with connect(url, subprotocols=[server.key]) as socket:
            assert socket.subprotocol == server.key
            assert '"callId":"c-9"' in str(await socket.get_message())
