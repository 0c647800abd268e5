"""An HTTP server that takes posts and gives them to somebody who says what is answered; for development."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import NoReturn

import attrs
import h11
import trio

MOST = 4 * 2**20
"""Bytes of a body: more than any event has."""
CONNECTIONS = 100
"""Connections at a time; others wait."""
PATIENCE = 10.0
"""Seconds for a whole request; an idle connection is closed after as many."""
LINGER = 1.0
"""Seconds for a peer that was refused to read why."""
_CHUNK = 65_536


@attrs.frozen(kw_only=True)
class Post:
    """What was posted; header names are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


type Take = Callable[[Post], Awaitable[int]]
"""Takes a post in and gives the status that is answered."""


async def serve(
    take: Take,
    host: str,
    port: int,
    *,
    task_status: trio.TaskStatus[tuple[str, int]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve on *host* and *port* (0 takes a free one) and report the address; `OSError` where it cannot be had."""
    limiter = trio.CapacityLimiter(CONNECTIONS)

    async def connected(stream: trio.SocketStream) -> None:
        async with limiter, stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await _converse(stream, take)

    listeners = await trio.open_tcp_listeners(port, host=host)
    address = listeners[0].socket.getsockname()
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, connected, listeners)
        task_status.started((address[0], address[1]))
    raise AssertionError  # pragma: no cover


async def _converse(stream: trio.abc.HalfCloseableStream, take: Take) -> None:
    """Serve one connection until it is over."""
    peer = h11.Connection(h11.SERVER)
    while True:
        post: Post | int | None = None
        try:
            with trio.move_on_after(PATIENCE):
                post = await _read(stream, peer)
            if post is None:
                return
            status = await take(post) if isinstance(post, Post) else post
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
        with trio.move_on_after(PATIENCE):
            await _answer(stream, peer, status)
        if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
            await _let_go(stream)
            return
        peer.start_next_cycle()


async def _read(stream: trio.abc.HalfCloseableStream, peer: h11.Connection) -> Post | int | None:
    """Read a request: what was posted, a status of refusal, or None where nobody asks any more."""
    head: h11.Request | None = None
    body = bytearray()
    while True:  # noqa: ASYNC913 - what is not read is there already
        match peer.next_event():
            case h11.NEED_DATA:
                if peer.they_are_waiting_for_100_continue:
                    await _send(stream, peer, h11.InformationalResponse(status_code=100, headers=[]))
                peer.receive_data(bytes(await stream.receive_some(_CHUNK)))
            case h11.Request() as head:
                pass
            case h11.Data(data):
                body += data
                if len(body) > MOST:
                    return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            case h11.EndOfMessage() if head is not None:
                if head.method != b"POST":
                    return HTTPStatus.METHOD_NOT_ALLOWED
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head.headers}
                return Post(path=head.target.decode("latin-1"), headers=headers, body=bytes(body))
            case _:
                return None


async def _answer(stream: trio.abc.HalfCloseableStream, peer: h11.Connection, status: int) -> None:
    if peer.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    text = b"" if status == HTTPStatus.NO_CONTENT else f"{status}\n".encode()
    headers = [("content-type", "text/plain"), ("content-length", str(len(text)))]
    await _send(stream, peer, h11.Response(status_code=status, headers=headers))
    if text:
        await _send(stream, peer, h11.Data(data=text))
    await _send(stream, peer, h11.EndOfMessage())


async def _let_go(stream: trio.abc.HalfCloseableStream) -> None:
    """Close so that the peer can still read why: what it goes on to send is dropped for a moment."""
    with trio.move_on_after(LINGER):
        await stream.send_eof()
        while await stream.receive_some(_CHUNK):
            pass


async def _send(stream: trio.abc.HalfCloseableStream, peer: h11.Connection, event: h11.Event) -> None:
    data = peer.send(event)
    if data:
        await stream.send_all(data)
