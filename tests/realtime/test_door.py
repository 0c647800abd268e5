"""The door: who is let in where, who is turned away how, and that nobody can hold it up."""

from __future__ import annotations

import errno
import json
import re
import socket as stdlib
import time
from functools import partial
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs
from trio_websocket import ConnectionClosed

from invorto.errors import UsageError
from invorto.realtime import door as door_module
from invorto.realtime.door import PrefixedStream, Route, Upgrade, serve_door
from invorto.realtime.head import Refused, Request
from invorto.realtime.listeners import address_of, open_listeners
from tests.wire.peers import HANDSHAKE, Door, echo, open_client, open_door, until, until_end


async def http(stream: PrefixedStream) -> None:
    """Answer with what was asked."""
    asked = await until(stream, b"\r\n\r\n")
    await stream.send_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + asked)
    await stream.send_eof()


def problem_of(answer: bytes) -> tuple[int, str]:
    """Give the status and the code of a refusal."""
    head, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert set(problem) == {"code", "message", "requestId"}
    return int(head.split()[1]), problem["code"]


@pytest.mark.parametrize("path", ["/realtime/voice?callId=c_1", "/v1/realtime/c_1", "/realtime/voice/?callId=c_1"])
async def test_a_client_talks_on_the_voice_paths(path: str):
    """A real client opens a socket, is given one of its subprotocols, and is understood."""
    async with open_door(http) as door:
        url = f"ws://127.0.0.1:{door.port}{path}"
        async with open_client(url, subprotocols=["invorto.v1", "inv_live_x"]) as client:
            assert client.subprotocol == "invorto.v1"
            await client.send_message("hello")
            await client.send_message(bytes(640))
            assert [await client.get_message(), await client.get_message()] == ["hello", bytes(640)]


async def test_one_port_serves_both():
    """HTTP, also on the voice paths, goes to HTTP with every byte that was read; sockets to theirs."""
    async with open_door(http) as door:
        for asked in (
            b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
            b"POST /v1/realtime/c_1 HTTP/1.1\r\nHost: here\r\n\r\nbody",
        ):
            assert (await door.ask(asked)).endswith(asked)
        async with await door.knock(HANDSHAKE) as stream:
            assert (await until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (HANDSHAKE.replace(b"/realtime/voice", b"/elsewhere"), (404, "not_found")),
        (HANDSHAKE.replace(b"/realtime/voice?callId=c_1", b"/v1/realtime/a/b"), (404, "not_found")),
        (HANDSHAKE.replace(b"callId=c_1", b"callId=a&callId=b"), (400, "bad_request")),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), (426, "upgrade_required")),
        (HANDSHAKE.replace(b"GET", b"POST"), (426, "upgrade_required")),
        (HANDSHAKE.replace(b"dGhl", b"!!!!"), (400, "bad_request")),
        (b"\x16\x03\x01\x02\x00", (400, "bad_request")),
        (b"hello\r\n\r\n", (400, "bad_request")),
        (HANDSHAKE[:-2] + b"X: " + b"x" * 17_000, (431, "head_too_large")),
    ],
    ids=["path", "deeper path", "query", "version", "post", "key", "tls", "garbage", "long"],
)  # fmt: skip
@pytest.mark.parametrize("sockets_only", [False, True], ids=["both", "sockets only"])
async def test_what_is_wrong_is_answered(*, sent: bytes, problem: tuple[int, str], sockets_only: bool):
    """Every refusal says why, in the API's shape, and arrives although more bytes are on their way."""
    async with open_door(None if sockets_only else http) as door:
        assert problem_of(await door.ask(sent + bytes(1_000_000))) == problem


async def test_a_door_for_sockets_alone_says_so():
    """Plain HTTP there gets 426 on a socket's path and 404 elsewhere."""
    async with open_door(None) as door:
        answer = await door.ask(b"GET /realtime/voice HTTP/1.1\r\nHost: here\r\n\r\n")
        assert problem_of(answer) == (426, "upgrade_required")
        assert b"\r\nUpgrade: websocket\r\n" in answer
        assert problem_of(await door.ask(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")) == (404, "not_found")


async def test_carriers_have_routes_of_their_own():
    """A route that was added gets its handshakes, whole paths only, and may refuse them."""
    seen = list[str]()

    async def media(request: Request, upgrade: Upgrade) -> None:
        seen.append(request.path)
        await upgrade.refuse(Refused(403, "forbidden", "this link was used already"))

    routes = [Route(re.compile(r"/telephony/[^/]+/[^/]+/media/.+"), media)]
    async with open_door(http, routes=routes) as door:
        path = b"/telephony/twilio/ca_1/media/c_1/17.abc"
        assert problem_of(await door.ask(HANDSHAKE.replace(b"/realtime/voice", path))) == (403, "forbidden")
        assert problem_of(await door.ask(HANDSHAKE.replace(b"/realtime/voice", b"/x" + path))) == (404, "not_found")
    assert seen == [path.decode()]


async def test_a_slow_head_is_turned_away(monkeypatch: pytest.MonkeyPatch):
    """A head that drips is a 408 after its time; a connection that never says a word is closed without one."""
    monkeypatch.setattr(door_module, "HEAD_SECONDS", 0.3)
    async with open_door(http) as door, await door.knock() as quiet, await door.knock(b"GET / HT") as slow:
        began = time.monotonic()
        await slow.send_all(b"TP/1.1\r\n")
        assert problem_of(await until_end(slow)) == (408, "request_timeout")
        assert await until_end(quiet) == b""
        assert 0.2 < time.monotonic() - began < 1.5


@pytest.mark.parametrize("sent", [b"", b"GET / HT", HANDSHAKE[:-4]])
async def test_a_client_that_leaves_in_the_middle_is_forgotten(sent: bytes):
    """Half a head and then the end is nobody's request: closed, and nothing is logged."""
    with capture_logs() as logs:
        async with open_door(http) as door, await door.knock(sent) as stream:
            await stream.send_eof()
            assert await until_end(stream) == b""
    assert logs == []


async def test_a_handler_that_crashes_harms_its_connection_alone():
    """An error of one connection, in a group with others too, is one log entry with its traceback; others talk on."""

    async def crash(request: Request, upgrade: Upgrade) -> None:
        async with upgrade.accept() as socket:
            if request.query["callId"] == "c_1":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    raise RuntimeError("oops")
            await socket.receive()  # Closed, when the peer goes, is nothing to log

    with capture_logs() as logs:
        async with open_door(http, crash) as door:
            url = f"ws://127.0.0.1:{door.port}/v1/realtime/c_2?callId=c_2"
            async with open_client(url):
                with pytest.raises(ConnectionClosed) as raised:
                    async with open_client(url.replace("c_2", "c_1")) as client:
                        await client.get_message()
                assert raised.value.reason is not None
                assert raised.value.reason.code == 1011
                assert b"200 OK" in await door.ask(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    assert [entry["event"] for entry in logs] == ["connection_failed"]
    assert "oops" in repr(logs[0]["exc_info"].exceptions)


async def test_nothing_secret_is_logged():
    """A refusal's entry has neither query nor headers."""
    with capture_logs() as logs:
        async with open_door(http) as door:
            await door.ask(HANDSHAKE.replace(b"/realtime/voice", b"/nowhere").replace(b"c_1", b"c_1&api_key=S3CR3T"))
            await door.ask(HANDSHAKE.replace(b"c_1", b"c_1&token=S3CR3T&token=S3CR3T"))
    assert len(logs) == 2
    assert "S3CR3T" not in repr(logs)


async def test_the_door_can_stop_accepting():
    """After that nobody can connect, and those who are here talk on."""
    async with open_door(http) as door:
        async with open_client(f"ws://127.0.0.1:{door.port}/v1/realtime/c_1") as client:
            await client.send_message("a")
            assert await client.get_message() == "a"
            door.stop_accepting.set()
            await trio.sleep(0.05)
            with pytest.raises(OSError, match="127"):
                await door.knock()
            await client.send_message("b")
            assert await client.get_message() == "b"


async def test_cancelling_the_door_ends_everyone_at_once():
    """Half a head, an idle socket, a peer that does not read: none of them holds it up."""

    async def shout(_: Request, upgrade: Upgrade) -> None:
        async with upgrade.accept() as socket:
            while True:
                socket.send_audio(bytes(60_000))
                await trio.sleep(0.001)

    async with open_door(http, shout) as door:
        peers = [await door.knock(), await door.knock(b"GET"), await door.knock(HANDSHAKE)]
        await trio.sleep(0.05)
        began = time.monotonic()
        door.scope.cancel()
    assert time.monotonic() - began < 0.5
    for peer in peers:
        await trio.aclose_forcefully(peer)


async def test_running_out_of_descriptors_is_survived(monkeypatch: pytest.MonkeyPatch):
    """EMFILE when accepting is waited out, as Trio does it."""
    failures = iter([OSError(errno.EMFILE, "too many")])
    accept = trio.SocketListener.accept

    async def poor(self: trio.SocketListener) -> trio.SocketStream:
        stream = await accept(self)
        for failure in failures:
            await stream.aclose()
            raise failure
        return stream

    monkeypatch.setattr(trio.SocketListener, "accept", poor)
    async with open_door(http) as door:
        assert await door.ask(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n") == b""
        assert b"200 OK" in await door.ask(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")


async def test_frames_leave_at_once():
    """The connection of a socket does not gather small packets (TCP_NODELAY)."""
    options = list[int]()

    async def look(_: Request, upgrade: Upgrade) -> None:
        options.append(upgrade._stream.getsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY))
        await upgrade.refuse(Refused(404, "not_found", "seen enough"))

    async with open_door(http, look) as door:
        await door.ask(HANDSHAKE)
    assert options
    assert all(options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_a_door_is_ready_with_its_addresses(host: str):
    """A free port is the same for every address of the host, and known when the door is."""
    async with open_listeners(host, 0) as listeners, trio.open_nursery() as nursery:
        serve = partial(serve_door, listeners, voice=echo, http_handler=http)
        addresses = await nursery.start(serve)
        assert len({port for _, port in addresses}) == 1
        for address, port in addresses:
            door = Door(port, trio.Event(), nursery.cancel_scope, address)
            assert b"200 OK" in await door.ask(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        nursery.cancel_scope.cancel()


async def test_port_zero_is_one_port_on_all_addresses(monkeypatch: pytest.MonkeyPatch):
    """A name with two addresses gets the same free port on both."""

    async def both(*_: Any, **__: Any) -> list[Any]:
        return [(stdlib.AF_INET, stdlib.SOCK_STREAM, 6, "", (f"127.0.0.{i}", 0)) for i in (1, 2)]

    monkeypatch.setattr(trio.socket, "getaddrinfo", both)
    async with open_listeners("two", 0) as listeners:
        (first, port), (second, same) = (address_of(listener.socket) for listener in listeners)
        assert (first, second) == ("127.0.0.1", "127.0.0.2")
        assert port == same


async def listen(*args: Any, **options: Any) -> int:
    """Listen, and give the port that was taken."""
    async with open_listeners(*args, **options) as listeners:
        return address_of(listeners[0].socket)[1]


async def test_a_taken_port_is_told_in_a_sentence():
    """Who starts a second server reads which port is taken and which setting to change."""
    async with open_listeners("127.0.0.1", 0) as (listener,):
        port = address_of(listener.socket)[1]
        with pytest.raises(UsageError, match=rf"port {port} on 127\.0\.0\.1 is taken: .* REALTIME_PORT"):
            await listen("127.0.0.1", port, setting="REALTIME_PORT")
        with pytest.raises(UsageError, match="is taken"):
            await listen("127.0.0.1", port, shared=True)
    assert await listen("127.0.0.1", port) == port


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "256.1.1.1"])
async def test_a_host_that_is_not_ours_is_told_in_a_sentence(host: str):
    """BIND_HOST is named, with what would do."""
    with pytest.raises(UsageError, match=r"BIND_HOST .*no address of this machine.* 127\.0\.0\.1"):
        await listen(host, 0)


async def test_several_workers_share_a_port():
    """With `shared` the kernel deals connections out to whoever listens."""
    async with open_listeners("127.0.0.1", 0, shared=True) as (first,):
        port = address_of(first.socket)[1]
        async with open_listeners("127.0.0.1", port, shared=True):
            assert await listen("127.0.0.1", port, shared=True) == port


async def test_a_prefixed_stream_is_the_stream_with_its_first_bytes():
    """What was read comes first, in pieces as small as one likes, then the rest; all else is the stream's own."""
    left, right = stdlib.socketpair()
    under, far = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (left, right))
    async with far, PrefixedStream(under, b"head") as stream:
        await far.send_all(b"more")
        assert [await stream.receive_some(3), await stream.receive_some(3)] == [b"hea", b"d"]
        assert await stream.receive_some(3) == b"mor"
        assert stream.socket is under.socket
        await stream.wait_send_all_might_not_block()
        await stream.send_all(b"back")
        await stream.send_eof()
        assert await until_end(far) == b"back"
        assert not hasattr(stream, "do_handshake")
    assert under.socket.fileno() == -1
