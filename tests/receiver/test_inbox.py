"""The development receiver's HTTP: takes posts, refuses the rest, and outlives whatever clients do."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from invorto.outgoing.client import open_client
from invorto.receiver import inbox
from invorto.receiver.inbox import MOST, PATIENCE, Post, serve


@attrs.define
class Inbox:
    port: int = 0
    posts: list[Post] = attrs.field(factory=list)
    status: int = 200

    async def take(self, post: Post) -> int:
        await trio.lowlevel.checkpoint()
        self.posts.append(post)
        return self.status


@asynccontextmanager
async def open_inbox() -> AsyncGenerator[Inbox]:
    box = Inbox()
    async with trio.open_nursery() as nursery:
        _, box.port = await nursery.start(partial(serve, box.take, "127.0.0.1", 0))
        yield box
        nursery.cancel_scope.cancel()


async def said(port: int, request: bytes, *, end: bool = True) -> bytes:
    """Send bytes and give all that comes back."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        if end:
            await stream.send_eof()
        answer = bytearray()
        with trio.fail_after(5):
            while part := await stream.receive_some():
                answer += part
    return bytes(answer)


async def test_posts_are_taken() -> None:
    """Path, headers and the body as it came, byte for byte, over one connection or several; its status is answered."""
    async with open_inbox() as box, open_client(None) as client:
        for number, status in enumerate((200, 204, 503)):
            box.status = status
            body = bytes(range(256)) * 100 * number
            url = f"http://127.0.0.1:{box.port}/hooks?x={number}"
            answer = await client.request("POST", url, headers={"Webhook-Id": "evt_1"}, content=body)
            assert answer.status == status
            assert (box.posts[-1].path, box.posts[-1].body) == (f"/hooks?x={number}", body)
            assert box.posts[-1].headers["webhook-id"] == "evt_1"
        whole = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        assert (await said(box.port, whole * 2)).count(b"HTTP/1.1 503") == 2
        assert box.posts[-1].body == b"abc"
        asks = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\nconnection: close\r\n\r\n"
        async with await trio.open_tcp_stream("127.0.0.1", box.port) as stream:
            await stream.send_all(asks)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
            await stream.send_all(b"x")
            assert b"503" in await stream.receive_some()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 405"),
        (b"hello\r\n\r\n", b"HTTP/1.1 400"),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc", b"HTTP/1.1 400"),
        (b"POST / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, b"HTTP/1.1 431"),
        (b"", b""),
    ],
    ids=["another method", "no HTTP", "half a body", "an endless head", "nothing"],
)
async def test_the_rest_is_refused(request_: bytes, answer: bytes) -> None:
    """What is no whole post is answered with why, or not at all, and the next one is served."""
    async with open_inbox() as box:
        told = await said(box.port, request_)
        assert told.startswith(answer)
        assert bool(told) is bool(answer)
        assert not box.posts
        assert b" 200 " in await said(box.port, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")


async def test_a_huge_body_is_refused() -> None:
    """More than any event has is not kept in memory."""
    async with open_inbox() as box:
        head = f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {2 * MOST}\r\n\r\n".encode()
        assert (await said(box.port, head + b"x" * (2 * MOST))).startswith(b"HTTP/1.1 413")
        assert not box.posts


async def test_who_is_slow_is_let_go(autojump_clock: MockClock) -> None:
    """A request that does not come to its end is waited for ten seconds."""
    box = Inbox()
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox._converse, theirs, box.take)  # pyright: ignore[reportPrivateUsage]
        await ours.send_all(b"POST / HTTP/1.1\r\n")
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(PATIENCE)
