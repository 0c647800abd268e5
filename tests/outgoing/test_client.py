"""Requests over real sockets: what was checked is what is connected to, and nothing outlives the client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import ip_address

import pytest
import trio
import trustme

from invorto.errors import Invalid
from invorto.outgoing.addresses import Address, AddressRules, parse_networks
from invorto.outgoing.client import OutgoingFailed, open_client

HOME = AddressRules(allow_http=True, ports=None, subnets=parse_networks(["127.0.0.0/8"]))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Kind: Plain\r\n\r\nok"

type Serve = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncGenerator[int]:
    """Serve on a port of this machine for the length of the block; gives the port."""

    async def contained(stream: trio.abc.Stream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await serve(stream)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, contained, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def heads(stream: trio.abc.Stream, seen: list[bytes], answer: bytes = OK) -> None:
    """Answer every request that comes on one connection."""
    pending = b""
    while data := await stream.receive_some():
        pending += data
        while b"\r\n\r\n" in pending:
            head, _, pending = pending.partition(b"\r\n\r\n")
            seen.append(head)
            await stream.send_all(answer)


def once(answer: bytes) -> Serve:
    """Make a server that says *answer* to the first request and closes."""

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)

    return serve


async def test_an_answer_is_given_and_the_connection_used_again() -> None:
    """Two requests one after the other share a connection; headers are ours where it matters."""
    seen: list[bytes] = []
    accepted: list[trio.abc.Stream] = []

    async def serve(stream: trio.abc.Stream) -> None:
        accepted.append(stream)
        await heads(stream, seen)

    async with server(serve) as port, open_client(HOME) as client:
        for _ in range(2):
            answer = await client.request(
                "GET", f"http://127.0.0.1:{port}/a?b=c", headers={"Host": "evil", "X-Mine": "1"}
            )
            assert (answer.status, answer.body, answer.headers["x-kind"], answer.truncated) == (
                200,
                b"ok",
                "Plain",
                False,
            )
    assert len(accepted) == 1
    assert seen[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{port}".encode() in seen[0].lower()
    assert b"evil" not in seen[0]
    assert b"x-mine: 1" in seen[0].lower()


async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """A server that closes after each answer is simply connected to anew."""
    async with server(once(OK)) as port, open_client(HOME) as client:
        for _ in range(3):
            assert (await client.request("POST", f"http://127.0.0.1:{port}/", content=b"x")).status == 200


async def test_redirects_are_answers() -> None:
    """Where a redirect leads nobody checked: it is not followed."""
    seen: list[bytes] = []
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    async with server(partial(heads, seen=seen, answer=moved)) as port, open_client(HOME) as client:
        assert (await client.request("GET", f"http://127.0.0.1:{port}/")).status == 302
    assert len(seen) == 1


async def test_a_name_is_looked_up_once_and_held_to_what_it_gave() -> None:
    """A resolver that changes its answer after the check changes nothing: what was checked is connected to."""
    asked: list[str] = []

    async def rebinding(host: str) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        asked.append(host)
        return [ip_address("127.0.0.1" if len(asked) == 1 else "10.0.0.1")]

    async with server(once(OK)) as port, open_client(HOME, resolve=rebinding) as client:
        assert (await client.request("GET", f"http://hook.example:{port}/")).status == 200
        assert asked == ["hook.example"]
        with pytest.raises(Invalid, match="10.0.0.1"):  # noqa: RUF043 - dots stand for themselves well enough
            await client.request("GET", f"http://hook.example:{port}/")


async def test_one_private_address_among_public_ones_is_enough() -> None:
    """A name that leads to a public and to a private place is refused before anything is connected to."""

    async def both(_: str) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return [ip_address("8.8.8.8"), ip_address("192.168.1.1")]

    async with open_client(AddressRules(), resolve=both) as client:
        with pytest.raises(Invalid, match="not a public address"):
            await client.request("GET", "https://hook.example/")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "https://localhost/", "https://[::1]/"])
async def test_by_itself_it_reaches_nothing_private(url: str) -> None:
    """Without rules that open it, this machine is out of reach, by address and by name."""
    async with open_client(AddressRules()) as client:
        with pytest.raises(Invalid):
            await client.request("GET", url)


async def test_settings_of_the_installation_may_lead_anywhere() -> None:
    """Addresses of the environment are not checked."""
    async with server(once(OK)) as port, open_client(None) as client:
        assert (await client.request("GET", f"http://localhost:{port}/")).status == 200


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "protocol"),
        (b"hello\r\n\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "protocol"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000, "protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "protocol"),
    ],
)
async def test_half_answers_and_garbage_are_failures(answer: bytes, reason: str) -> None:
    """What is not a whole HTTP answer is told as one kind of failure, and the client goes on."""
    async with server(once(answer)) as port, open_client(HOME) as client:
        with pytest.raises(OutgoingFailed) as failed:
            await client.request("GET", f"http://127.0.0.1:{port}/")
        assert failed.value.reason in {reason, "lost"}
    async with server(once(OK)) as port, open_client(HOME) as client:
        assert (await client.request("GET", f"http://127.0.0.1:{port}/")).status == 200


async def test_a_flood_is_cut() -> None:
    """Of an answer without an end a fixed part is kept, and nobody waits for the rest."""

    async def flood(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            await stream.send_all(bytes(65_536))

    with trio.fail_after(5):
        async with server(flood) as port, open_client(HOME) as client:
            answer = await client.request("GET", f"http://127.0.0.1:{port}/", most=1000)
            assert (len(answer.body), answer.truncated) == (1000, True)


async def test_nobody_listens() -> None:
    """A closed port, and a name that is none, are failures of their own kind."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with open_client(HOME) as client:
            with pytest.raises(OutgoingFailed) as refused:
                await client.request("GET", f"http://127.0.0.1:{closed.getsockname()[1]}/")
            assert refused.value.reason == "connect"
            with pytest.raises(OutgoingFailed) as unknown:
                await client.request("GET", "http://nobody.invalid/")
            assert unknown.value.reason == "name"


async def test_connecting_has_a_deadline() -> None:
    """A server that never finishes the handshake is given up."""

    async def silent(stream: trio.abc.Stream) -> None:
        while await stream.receive_some():
            pass

    async with server(silent) as port, open_client(HOME, connect=0.2) as client:
        with trio.fail_after(5), pytest.raises(OutgoingFailed) as late:
            await client.request("GET", f"https://127.0.0.1:{port}/")
        assert late.value.reason == "connect"


async def test_tls_is_verified() -> None:
    """A certificate of another name, or of an authority that nobody trusts, is a failure; a good one is not."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("hook.example").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def secured(stream: trio.abc.Stream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await once(OK)(tls)

    async def home(_: str) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        return [ip_address("127.0.0.1")]

    async with server(secured) as port:
        async with open_client(HOME, tls=trusting, resolve=home) as client:
            assert (await client.request("GET", f"https://hook.example:{port}/")).status == 200
            with pytest.raises(OutgoingFailed) as other:
                await client.request("GET", f"https://other.example:{port}/")
            assert other.value.reason == "tls"
        async with open_client(HOME, resolve=home) as client:
            with pytest.raises(OutgoingFailed) as stranger:
                await client.request("GET", f"https://hook.example:{port}/")
            assert stranger.value.reason == "tls"


@pytest.mark.parametrize("checkpoints", range(12))
async def test_cancelled_anywhere_leaves_nothing(checkpoints: int) -> None:
    """A request that is cancelled at any of its waits leaves no socket, and the client can be used again."""

    class Stop(trio.abc.Instrument):
        left = checkpoints

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            if task is me:
                self.left -= 1
                if self.left == 0:
                    scope.cancel()

    me, stop = trio.lowlevel.current_task(), Stop()
    async with server(once(OK)) as port, open_client(HOME) as client:
        trio.lowlevel.add_instrument(stop)
        with trio.CancelScope() as scope:
            await client.request("GET", f"http://localhost:{port}/")
        trio.lowlevel.remove_instrument(stop)
        assert (await client.request("GET", f"http://127.0.0.1:{port}/")).status == 200


async def test_bad_headers_are_refused() -> None:
    """A header that would begin another one is never written."""
    async with server(once(OK)) as port, open_client(HOME) as client:
        for headers in ({"X": "a\r\nY: b"}, {"X\n": "a"}, {"X": "\u20b9"}, {"": "a"}):
            with pytest.raises(Invalid):
                await client.request("GET", f"http://127.0.0.1:{port}/", headers=headers)


async def test_many_who_tidy_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that end at the same moment close what has been idle together, each connection once."""
    async with server(partial(heads, seen=[])) as kept, server(once(OK)) as closing, open_client(HOME) as client:

        async def ask(port: int) -> None:
            assert (await client.request("GET", f"http://127.0.0.1:{port}/")).status == 200

        for ports in ([kept] * 8, [closing] * 20):
            async with trio.open_nursery() as nursery:
                for port in ports:
                    nursery.start_soon(ask, port)
            monkeypatch.setattr("invorto.outgoing.client._IDLE_SECONDS", -1.0)
        assert client._kept == sum(len(idle) for idle in client._idle.values())
