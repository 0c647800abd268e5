"""SIGTERM with live calls, and with peers that neither read nor go: all are seen off, and the process always ends."""

from __future__ import annotations

import socket as stdlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import trio

from invorto.storage import calls
from invorto.storage.postgres import Database
from tests.journeys.house import BINARY, Reach, open_client, open_server, settings
from tests.journeys.processes import STRICT, reach, rest, running
from tests.journeys.test_tree import BRIEF
from tests.wire.peers import HANDSHAKE

LIVE = 50
PATIENCE = 3.0


async def test_fifty_live_calls_are_drained(
    database: Database, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """At SIGTERM calls go on, nobody new comes in, REST answers; at the deadline all hear goodbye and are recorded."""
    environ = settings(
        postgres_url, redis_url, tmp_path / "data", DRAIN_TIMEOUT=str(PATIENCE), SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="info"
    )
    async with running("serve", folder=tmp_path, environ=environ) as server, AsyncExitStack() as stack:
        at = await reach(await server.port(), database)
        clients = [await stack.enter_async_context(open_client(at, f"c-{n}", start=BINARY)) for n in range(LIVE)]
        for client in clients:
            await client.until("connected")
        first, second, *others = clients
        told_at = trio.current_time()
        server.tell()
        await server.until("draining")

        ready = await rest(at, "/health/ready")
        assert (ready.status, ready.body["ready"], ready.body["code"]) == (503, False, "draining")
        assert (await rest(at, "/v1/calls")).status == 200
        async with open_client(at, "c-new", start=BINARY) as late:
            assert await late.until_closed() == (1001, "draining")
            assert [event["code"] for event in late.events] == ["draining"]
        await first.send(t="text", text="are you there?")
        assert (await first.until("tts.done"))["heard"] == "Yes."
        await second.send(t="end")
        assert (await second.until("end"))["reason"] == "hangup"
        assert first.closed is None

        for client in (first, *others):
            assert (await client.until("end", seconds=PATIENCE + 10))["reason"] == "drained"
            assert (await client.until_closed())[0] == 1000
            said = [event for event in client.events if event["t"] == "tts.done"]
            assert (said[-1]["heard"], said[-1]["interrupted"]) == ("Goodbye.", False)
            assert sum(map(len, client.audio)) >= 0.3 * 8000 * 2
        assert await server.ended() == 0
        took = trio.current_time() - told_at
        print(f"{LIVE} calls were drained {took - PATIENCE:.2f} s after the deadline")
        assert PATIENCE <= took < PATIENCE + 5
        assert not server.complaints(), "\n".join(server.complaints())
    async with database.tenant(at.tenant_id) as work:
        rows = await work.fetch("SELECT status, end_reason, count(*) AS n FROM calls GROUP BY 1, 2 ORDER BY n")
    assert [tuple(row) for row in rows] == [("completed", "hangup", 1), ("completed", "drained", LIVE - 1)]
    words = await calls.transcript(database, at.tenant_id, "c-0")
    assert [word.text for word in words] == ["are you there?", "Yes.", "Goodbye."]


@asynccontextmanager
async def stubborn(at: Reach) -> AsyncGenerator[None]:
    """Keep open what clients leave open: idle, half-said, half-closed, and not read."""
    get = f"GET /v1/agents HTTP/1.1\r\nHost: h\r\nX-Api-Key: {at.key}\r\n\r\n".encode()
    unread = get * 2000
    head = HANDSHAKE.replace(b"callId=c_1", f"callId=c-deaf&agentId={at.agent_id}&rate=8000".encode())
    head = head.replace(b"\r\n\r\n", f"\r\nSec-WebSocket-Protocol: invorto.v1, {at.key}\r\n\r\n".encode())
    kinds = {
        "silent": b"",
        "slow head": b"GET /health HTT",
        "idle": get,
        "half a body": b"POST /v1/agents HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\nX-Api-Key: x\r\n\r\n{",
        "unread answers": unread,
        "deaf call": head,
        "half a handshake": head[:200],
    }
    async with AsyncExitStack() as stack:
        for data in kinds.values():
            for half_closed in (False, True):
                stream = trio.SocketStream(trio.socket.socket())
                stack.push_async_callback(trio.aclose_forcefully, stream)
                stream.socket.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_RCVBUF, 4096)
                await stream.socket.connect(("127.0.0.1", at.port))
                with trio.move_on_after(0.5), suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
                if half_closed and data is not unread:
                    with suppress(trio.BrokenResourceError, OSError):
                        stream.socket.shutdown(stdlib.SHUT_WR)
        await trio.sleep(0.3)
        yield


async def test_stuck_peers_do_not_keep_it_from_ending(
    database: Database, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Idle, slow, half-closed and deaf connections, HTTP and voice: the process ends in its time, with code 0."""
    environ = settings(
        postgres_url, redis_url, tmp_path / "data", DRAIN_TIMEOUT="0.5", SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="info"
    )
    async with running("serve", folder=tmp_path, environ=environ) as server:
        at = await reach(await server.port(), database, {"greeting": "Hello. " * 200, "recording": {"enabled": False}})
        async with stubborn(at), open_client(at, "c-1", start=BINARY) as client:
            await client.until("connected")
            began = trio.current_time()
            server.tell()
            assert (await client.until("end"))["reason"] == "drained"
            assert await server.ended(30) == 0
            took = trio.current_time() - began
            print(f"with stuck peers it ended {took - 0.5:.2f} s after the deadline")
            assert took < 0.5 + 5
        assert not server.complaints(), "\n".join(server.complaints())
    async with database.tenant(at.tenant_id) as work:
        rows = await work.fetch("SELECT id, status FROM calls WHERE status NOT IN ('completed', 'failed')")
    assert rows == []


async def test_idle_it_ends_at_once(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Without calls a SIGTERM is followed by the end within a second, also in Python's development mode."""
    environ = settings(postgres_url, redis_url, tmp_path / "data", LOG_LEVEL="info")
    async with running("serve", folder=tmp_path, environ=environ, python=(*STRICT, "-X", "dev")) as server:
        await server.port()
        began = trio.current_time()
        server.tell()
        assert await server.ended() == 0
        took = trio.current_time() - began
        print(f"idle it ended in {took:.2f} s")
        assert took < 2
        assert not server.complaints(), "\n".join(server.complaints())


async def test_a_request_under_way_is_answered(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Who has sent half a body when the server is told to stop may send the other half, and is answered."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as server:
        body = b'{"name": "late", "prompt": "Be brief."}'
        head = f"POST /v1/agents HTTP/1.1\r\nHost: h\r\nX-Api-Key: {server.key}\r\nContent-Type: application/json\r\n"
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            await stream.send_all(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:10])
            while not server.resources.http.connections:
                await trio.sleep(0.01)
            await trio.sleep(0.2)  # the head is read
            server.stop.ask()
            await trio.sleep(0.3)  # and the calls' part of the stop is over: there are none
            await stream.send_all(body[10:])
            with trio.fail_after(5):
                answer = await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 201"), answer
