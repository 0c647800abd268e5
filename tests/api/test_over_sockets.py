"""The API behind its own server, on real sockets: what a test client cannot say."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import h11
import pytest
import trio

from invorto.api.hypercorn import HttpServer
from tests.api.test_calls import SOUND, recorded
from tests.api.world import World
from tests.wire.peers import Door, open_door


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    """Give a door with the API behind it."""
    async with open_door(HttpServer(world.app)) as opened:
        yield opened


async def ask(door: Door, head: str, body: bytes = b"", *, key: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """Send a request as bytes on a connection of its own; give status, headers, body."""
    lines = [head, "Host: here", "Connection: close", *([f"Authorization: Bearer {key}"] if key else [])]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return await said(door, "\r\n".join(lines).encode() + b"\r\n\r\n" + body, head.partition(" ")[0])


async def said(door: Door, data: bytes, method: str) -> tuple[int, dict[str, str], bytes]:
    """Say *data*; read one answer."""
    with trio.fail_after(10):
        stream = await door.knock()
        async with stream, trio.open_nursery() as nursery:

            async def say() -> None:
                with suppress(trio.BrokenResourceError):  # refused before we were done
                    await stream.send_all(data)

            nursery.start_soon(say)
            machine = h11.Connection(h11.CLIENT)
            machine.send(h11.Request(method=method, target="/", headers=[("Host", "here")]))
            machine.send(h11.EndOfMessage())
            status, headers, body = 0, dict[str, str](), bytearray()
            while True:
                match machine.next_event():
                    case h11.NEED_DATA:
                        machine.receive_data(await stream.receive_some(65_536))
                    case h11.Response() as response:
                        status = response.status_code
                        headers = {name.decode(): value.decode() for name, value in response.headers}
                    case h11.Data() as data_event:
                        body += data_event.data
                    case h11.EndOfMessage():
                        break
                    case _:
                        pass
            nursery.cancel_scope.cancel()
    return status, headers, bytes(body)


def problem(body: bytes) -> Any:
    """Read an error and hold it to its shape."""
    told = json.loads(body)
    assert {"code", "message", "requestId"} <= set(told) <= {"code", "message", "requestId", "details"}
    return told["code"]


async def test_a_request_as_it_travels(world: World, door: Door) -> None:
    """An agent made over a socket can be listed over another; HEAD tells the length of GET and sends nothing."""
    status, headers, body = await ask(door, "POST /v1/agents HTTP/1.1", b'{"name": "D"}', key=world.keys["dev"])
    assert (status, json.loads(body)["name"]) == (201, "D")
    assert headers["content-type"] == "application/json"
    status, headers, body = await ask(door, "GET /v1/agents?limit=1 HTTP/1.1", key=world.keys["dev"])
    assert (status, len(json.loads(body)["data"])) == (200, 1)
    status, head, nothing = await ask(door, "HEAD /v1/agents?limit=1 HTTP/1.1", key=world.keys["dev"])
    assert (status, head["content-length"], nothing) == (200, headers["content-length"], b"")


REQUESTS = [
    ("GET /v1/agents/%ff HTTP/1.1", 400, "bad_request"),
    ("GET /v1/agents/%00 HTTP/1.1", 404, "not_found"),
    ("GET /v1/../v1/agents/x/../../y HTTP/1.1", 404, "not_found"),
    ("GET /v1/agents/" + "x" * 12_000 + " HTTP/1.1", 404, "not_found"),
    ("GET /v1/agents/" + "x" * 20_000 + " HTTP/1.1", 431, "head_too_large"),
    ("DELETE /v1/agents HTTP/1.1", 405, "method_not_allowed"),
    ("GET /v1/agents HTTP/9.9", 505, "bad_request"),
]


async def test_odd_requests(world: World, door: Door) -> None:
    """Whatever is asked, by whichever layer it is refused, the answer has the one shape."""
    for head, status, code in REQUESTS:
        answered, _, body = await ask(door, head, key=world.keys["dev"])
        assert (answered, problem(body)) == (status, code), head[:80]


BODIES = [
    (b'{"name": "\xff"}', 400, "bad_request"),
    (b'{"name": "D\x00"}', 400, "bad_request"),
    (b"[" * 500_000, 400, "bad_request"),
    (b'{"name": "D", "maxTokens": ' + b"9" * 100_000 + b"}", 400, "bad_request"),
    (b'{"name": "' + b"x" * 2 * 1024 * 1024 + b'"}', 413, "payload_too_large"),
]


async def test_odd_bodies(world: World, door: Door) -> None:
    """A body that makes no sense costs its sender a request, and us nothing: the next one is served."""
    for body, status, code in BODIES:
        answered, _, told = await ask(door, "POST /v1/agents HTTP/1.1", body, key=world.keys["dev"])
        assert (answered, problem(told)) == (status, code), body[:80]
        assert (await ask(door, "GET /v1/agents HTTP/1.1", key=world.keys["dev"]))[0] == 200


async def test_an_endless_body_takes_no_memory(world: World, door: Door) -> None:
    """Whoever sends without end, and without saying how much, is refused at the limit and takes no memory."""
    head = (
        f"POST /v1/agents HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {world.keys['dev']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    data = head.encode() + piece * 640
    tracemalloc.start()
    try:
        status, _, body = await said(door, data, "POST")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (status, problem(body)) == (413, "payload_too_large")
    assert peak < 12_000_000


async def test_half_a_body(world: World, door: Door) -> None:
    """A client that goes in the middle of its request makes nothing, and leaves nothing."""
    head = f"POST /v1/agents HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {world.keys['dev']}\r\n"
    rest = 'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"name": '
    for cut in (head, head + rest):
        await (await door.knock(cut.encode())).aclose()
    assert json.loads((await ask(door, "GET /v1/agents HTTP/1.1", key=world.keys["dev"]))[2])["data"] == []


async def test_a_recording_as_it_travels(world: World, door: Door) -> None:
    """A recording is streamed whole or in parts, and HEAD only tells how long it is."""
    path = await recorded(world)
    key = world.keys["analyst"]
    status, headers, body = await ask(door, f"GET {path} HTTP/1.1", key=key)
    assert (status, headers["content-length"], body) == (200, str(len(SOUND)), SOUND)
    status, headers, body = await ask(door, f"GET {path} HTTP/1.1\r\nRange: bytes=1000-1999", key=key)
    assert (status, headers["content-range"]) == (206, f"bytes 1000-1999/{len(SOUND)}")
    assert (headers["content-length"], body) == ("1000", SOUND[1000:2000])
    status, headers, body = await ask(door, f"HEAD {path} HTTP/1.1", key=key)
    assert (status, headers["content-length"], body) == (200, str(len(SOUND)), b"")


async def test_a_listener_who_leaves(world: World, door: Door) -> None:
    """Whoever stops listening half-way leaves no file open; the guard of every test looks for it."""
    path = await recorded(world)
    await (trio.Path(world.deps.recordings) / "2026/03/x.wav").write_bytes(bytes(20_000_000))
    request = f"GET {path} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {world.keys['dev']}\r\n\r\n"
    stream = await door.knock(request.encode())
    assert await stream.receive_some(1000)
    await stream.aclose()
    assert (await ask(door, "GET /health HTTP/1.1"))[0] == 200
