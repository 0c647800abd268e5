"""HTTP through the door: each trap of Hypercorn and Quart-Trio has its way round, on real sockets."""

from __future__ import annotations

import json
import socket as stdlib
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio
from structlog.testing import capture_logs

from invorto.api.http1 import Http1
from invorto.api.hypercorn import HttpPatience, HttpServer
from tests.wire.peers import HANDSHAKE, Door, open_door, until, until_end

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
QUICK = HttpPatience(head=0.3, body=0.3, idle=0.3, stalled=0.3, half_closed=0.3, linger=0.3, finish=0.3)
BIG = 30_000_000
SMALL = b'{"a":1}\n'


def application() -> QuartTrio:
    """Make an application with an answer of every kind."""
    app = QuartTrio("wire")

    @app.get("/")
    async def small() -> dict[str, Any]:
        return {"a": 1}

    @app.post("/")
    async def count() -> dict[str, int]:
        return {"bytes": len(await request.get_data())}

    @app.get("/big")
    async def big() -> bytes:
        return bytes(BIG)

    @app.get("/slow")
    async def slow() -> str:
        await trio.sleep(0.1)
        return "slow"

    @app.get("/endless")
    async def endless() -> Response:
        async def drops():
            while True:
                yield bytes(65_536)

        return Response(drops())

    @app.get("/forever")
    async def forever() -> str:
        await trio.sleep_forever()
        return ""

    return app


@asynccontextmanager
async def http_door(patience: HttpPatience | None = None, app: Any = None) -> AsyncGenerator[tuple[Door, HttpServer]]:
    """Open a door with that application behind it."""
    server = HttpServer(app or application(), patience)
    async with open_door(server) as door:
        yield door, server


async def settled(server: HttpServer) -> None:
    """Wait until no connection is left."""
    with trio.fail_after(2):
        while server.connections:
            await trio.sleep(0.01)


def body_of(answer: bytes) -> dict[str, Any]:
    """Read the body of an answer."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def assert_problem(answer: bytes, status: int, code: str) -> None:
    """Look for the API's own shape of an error, and nothing else."""
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    problem = body_of(answer)
    assert set(problem) == {"code", "message", "requestId"}
    assert problem["code"] == code


async def test_requests_follow_each_other_on_one_connection():
    """A client that keeps its connection is answered again and again on it."""
    async with http_door() as (door, _), await door.knock() as stream:
        for _ in range(3):
            await stream.send_all(GET)
            assert (await until(stream, SMALL)).startswith(b"HTTP/1.1 200")


async def test_pipelined_requests_are_answered_in_order():
    """Requests sent without waiting for answers all get theirs, in order, and the connection stays."""
    async with http_door() as (door, _), await door.knock() as stream:
        slow = GET.replace(b"/ ", b"/slow ", 1)
        await stream.send_all(slow + GET + slow + CLOSE)
        answers = await until_end(stream)
        assert answers.count(b"HTTP/1.1 200") == 4
        assert [part[-4:] for part in answers.split(b"HTTP/1.1 200")[1:]] == [b"slow", SMALL[-4:], b"slow", SMALL[-4:]]


async def test_connection_close_closes():
    """`Connection: close` is honoured at once, not after a timeout."""
    async with http_door() as (door, server):
        began = time.monotonic()
        assert SMALL in await door.ask(CLOSE)
        await settled(server)
        assert time.monotonic() - began < 1


async def test_a_client_that_never_closes_is_let_go_of():
    """Whoever keeps its side open after the last answer costs nothing a moment later."""
    async with http_door(HttpPatience(linger=0.1)) as (door, server), await door.knock(CLOSE) as stream:
        assert SMALL in await until_end(stream)
        await settled(server)


async def test_a_client_that_goes_leaves_nothing():
    """When a client closes an idle connection, its task and descriptor are gone at once."""
    async with http_door() as (door, server):
        stream = await door.knock(GET)
        await until(stream, SMALL)
        assert server.connections
        await stream.aclose()
        began = time.monotonic()
        await settled(server)
        assert time.monotonic() - began < 0.5


async def test_a_client_that_goes_cancels_its_request():
    """A request nobody waits for any more is given up."""
    async with http_door(QUICK) as (door, server):
        stream = await door.knock(GET.replace(b"/ ", b"/forever ", 1))
        await trio.sleep(0.05)
        await stream.aclose()
        await settled(server)


async def test_idle_connections_close_at_once_on_drain():
    """A drain does not wait for clients who keep connections open without asking anything."""
    async with http_door() as (door, server), await door.knock(GET) as stream:
        await until(stream, SMALL)
        await trio.sleep(0.05)
        began = time.monotonic()
        server.drain()
        assert await until_end(stream) == b""
        await settled(server)
        assert time.monotonic() - began < 0.3


async def test_a_drain_lets_answers_end_and_new_connections_ask_once():
    """While draining, what was asked is answered, and a new connection gets one answer that says it closes."""
    async with http_door() as (door, server), await door.knock(GET.replace(b"/ ", b"/slow ", 1)) as stream:
        await trio.sleep(0.05)
        server.drain()
        answer = await until_end(stream)
        assert b"connection: close" in answer.lower()
        assert answer.endswith(b"slow")
        answer = await door.ask(GET)
        assert b"connection: close" in answer.lower()
        assert answer.endswith(SMALL)


@pytest.mark.parametrize("path", ["/big", "/endless"])
async def test_a_client_that_does_not_read_cannot_hold_up_a_cancel(path: str):
    """The process ends at once, whatever a client has not read."""
    async with http_door() as (door, server):
        stream = await door.knock(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        await until(stream, b"\r\n\r\n")
        await trio.sleep(0.1)
        assert server.connections
        began = time.monotonic()
        door.scope.cancel()
    assert time.monotonic() - began < 0.5
    await trio.aclose_forcefully(stream)


async def test_a_client_that_does_not_read_is_cut():
    """A client that takes nothing for `stalled` seconds loses its connection, without a drain too."""
    async with http_door(QUICK) as (door, server):
        stream = await door.knock(b"GET /big HTTP/1.1\r\nHost: here\r\n\r\n")
        await settled(server)
        await trio.aclose_forcefully(stream)


async def test_a_slow_reader_gets_all_of_it():
    """A client that reads slowly, but reads, gets the whole answer although it takes longer than `stalled`."""
    async with http_door(QUICK) as (door, _), await door.knock(b"GET /big HTTP/1.1\r\nHost: here\r\n\r\n") as stream:
        got = 0
        began = time.monotonic()
        with trio.fail_after(20):
            while got < BIG:
                await trio.sleep(0.005 if time.monotonic() - began < 1 else 0)
                got += len(await stream.receive_some(65_536))
        assert time.monotonic() - began > 1


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x00\x01\x02\r\n\r\n", 400, "bad_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: here\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: here\r\nX: " + bytes(b"x" * 20_000) + b"\r\n\r\n", 431, "head_too_large"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "bad_request"),
    ],
    ids=["garbage", "tls", "no host", "bad length", "large head", "http2"],
)
@pytest.mark.parametrize("kept", [False, True], ids=["first", "second"])
async def test_what_is_not_http_is_refused_in_our_shape(*, sent: bytes, status: int, code: str, kept: bool):
    """Garbage, also on a connection that carried HTTP before, gets an error like all others; nothing else notices."""
    async with http_door() as (door, server):
        async with await door.knock() as stream:
            if kept:
                await stream.send_all(GET)
                await until(stream, SMALL)
            await stream.send_all(sent)
            assert_problem(await until_end(stream), status, code)
        await settled(server)
        assert SMALL in await door.ask(CLOSE)


async def test_a_stray_byte_after_an_upgrade_ends_its_connection_alone():
    """A handshake with a byte too many, which ends Hypercorn's process (its issue 225), troubles nobody here."""
    async with http_door() as (door, _):
        assert (await door.ask(HANDSHAKE + b"xx")).startswith(b"HTTP/1.1 101")
        assert_problem(await door.ask(HANDSHAKE.replace(b"/realtime/voice", b"/", 1) + b"xx"), 404, "not_found")
        assert SMALL in await door.ask(CLOSE)


async def test_an_upgrade_on_a_used_connection_is_refused():
    """A proxy that sends a handshake over a connection that carried HTTP is told to open another."""
    async with http_door() as (door, _), await door.knock(GET) as stream:
        await until(stream, SMALL)
        await stream.send_all(HANDSHAKE + b"xx")
        answer = await until_end(stream)
        assert_problem(answer, 426, "upgrade_required")
        assert b"\r\nupgrade: websocket\r\n" in answer.lower()


async def test_h2c_is_not_spoken():
    """A client that offers HTTP/2 by an upgrade goes on in HTTP/1.1."""
    async with http_door() as (door, _):
        offer = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"
        answer = await door.ask(b"GET / HTTP/1.1\r\nHost: here\r\n" + offer)
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(SMALL)


async def test_a_slow_head_is_answered_and_closed():
    """Whoever sends a second request's head drop by drop is told so after `head` seconds, however steadily it drips."""
    async with http_door(QUICK) as (door, server), await door.knock(GET) as stream:
        await until(stream, SMALL)
        began = time.monotonic()
        with trio.move_on_after(2):
            for byte in GET:
                await stream.send_all(bytes((byte,)))
                await trio.sleep(0.05)
                if not server.connections or time.monotonic() - began > 0.5:
                    break
        assert_problem(await until_end(stream), 408, "request_timeout")
        assert time.monotonic() - began < 1.5


async def test_a_body_that_stops_is_answered_and_closed():
    """Whoever promises a body and stops sending it is told so after `body` seconds."""
    async with http_door(QUICK) as (door, server):
        answer = await door.ask(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nhalf")
        assert_problem(answer, 408, "request_timeout")
        await settled(server)


async def test_an_idle_connection_is_closed_in_time():
    """An idle connection is closed after `idle` seconds, without a word."""
    async with http_door(QUICK) as (door, server), await door.knock(GET) as stream:
        await until(stream, SMALL)
        assert await until_end(stream) == b""
        await settled(server)


async def test_a_long_answer_outlives_the_idle_bound():
    """A request that takes longer than `idle` is answered all the same, and its connection kept."""
    patience = HttpPatience(idle=0.05, head=0.05)
    async with http_door(patience) as (door, _), await door.knock(GET.replace(b"/ ", b"/slow ", 1)) as stream:
        assert (await until(stream, b"slow")).startswith(b"HTTP/1.1 200")
        await stream.send_all(GET)
        await until(stream, SMALL)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (GET, SMALL),
        (GET.replace(b"/ ", b"/slow ", 1), b"slow"),
        (b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\nbody", b'{"bytes":4}\n'),
    ],
    ids=["quick", "slow", "body"],
)
async def test_a_client_that_shuts_its_direction_gets_its_answer(sent: bytes, expected: bytes):
    """A half-closed connection is not a client that is gone: it is answered, then closed."""
    async with http_door() as (door, server), await door.knock(sent) as stream:
        await stream.send_eof()
        assert (await until_end(stream)).endswith(expected)
        await settled(server)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\nha"])
async def test_a_request_cut_in_the_middle_leaves_nothing(sent: bytes):
    """Half a request and then the end: no task, no descriptor stays."""
    async with http_door(QUICK) as (door, server), await door.knock(sent) as stream:
        await stream.send_eof()
        await until_end(stream)
        await settled(server)


async def test_a_half_closed_connection_to_a_request_without_end_is_given_up():
    """A client that shut its direction and asked for something endless does not stay for ever."""
    async with http_door(QUICK) as (door, server), await door.knock(GET.replace(b"/ ", b"/forever ", 1)) as stream:
        await stream.send_eof()
        await until_end(stream)
        await settled(server)


async def test_an_error_in_the_application_stays_in_its_request():
    """An application that raises before it answers is apologized for, one that raises in between is cut off."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/later":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"ha", "more_body": True})
        raise RuntimeError("oops")

    async with http_door(app=app) as (door, server):
        async with await door.knock(GET) as stream:
            for _ in range(2):
                answer = await until(stream, b'"}')
                assert_problem(answer, 500, "internal_error")
                await stream.send_all(GET)
        answer = await door.ask(GET.replace(b"/ ", b"/later ", 1))
        assert answer.endswith(b"\r\n\r\n2\r\nha\r\n")
        await settled(server)


async def test_an_error_of_the_server_stays_in_its_connection(monkeypatch: pytest.MonkeyPatch):
    """What Hypercorn itself raises is logged and ends one connection."""

    async def broken(*_: Any) -> None:
        raise RuntimeError("oops")

    server = HttpServer(application())
    left, right = stdlib.socketpair()
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (left, right))
    monkeypatch.setattr(Http1, "handle", broken)
    with capture_logs() as logs:
        async with theirs:
            await theirs.send_all(GET)
            await server(ours)
    assert [entry["event"] for entry in logs] == ["connection_failed"]
    assert ours.socket.fileno() == -1
    assert not server.connections


async def test_an_application_that_ignores_the_end_is_ended():
    """A request's task that does not care that its client is gone is cancelled in time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await trio.sleep_forever()

    async with http_door(QUICK, app) as (door, server):
        await (await door.knock(GET)).aclose()
        await settled(server)


async def test_large_bodies_come_whole():
    """A body of many reads comes through whole, with `Expect: 100-continue` too."""
    size = 1_000_000
    async with http_door() as (door, _), await door.knock() as stream:
        await stream.send_all(
            b"POST / HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size
        )
        await until(stream, b"HTTP/1.1 100")
        await stream.send_all(bytes(size))
        assert b'{"bytes":%d}' % size in await until(stream, b"}")
