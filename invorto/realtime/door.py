"""The door: one port for all; sockets go to their handlers, everything else to HTTP.

A connection's head is read whole before anyone is chosen, so that whoever sends it byte by byte, or not at all, costs
a task and 16 KiB for ten seconds, and nothing behind the door. One connection's crash is one log entry.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import NoReturn

import attrs
import structlog
import trio

from invorto.realtime.closed import Closed
from invorto.realtime.head import HeadReader, Refused, Request, accepted, check_upgrade, refusal
from invorto.realtime.listeners import address_of, peer_of
from invorto.realtime.readers import Readers
from invorto.realtime.socket import Patience, VoiceSocket, open_socket

log = structlog.get_logger(__name__)

HEAD_SECONDS = 10.0
"""For the whole head of a connection's first request."""
_ANSWER_SECONDS = 2.0
# For a refusal to be taken, and the connection to be closed from the other side.

_CHUNK = 4096

VOICE_PATHS = re.compile(r"/realtime/voice/?|/v1/realtime/[^/]+/?")


@attrs.frozen
class Upgrade:
    """A connection that has asked to become a socket and has no answer yet; the door closes it if nobody gives one."""

    request: Request
    _stream: trio.SocketStream = attrs.field(repr=False)
    _residue: bytes = attrs.field(repr=False, default=b"")
    _readers: Readers | None = attrs.field(repr=False, default=None)

    def accept(
        self, subprotocol: str | None = None, patience: Patience | None = None
    ) -> AbstractAsyncContextManager[VoiceSocket]:
        """Open the socket, with one of ``request.subprotocols`` or none."""
        opening = accepted(self.request, subprotocol)
        return open_socket(
            self._stream, opening=opening, residue=self._residue, patience=patience, readers=self._readers
        )

    async def refuse(self, refused: Refused) -> None:
        """Answer with an error instead, and close."""
        await refuse(self._stream, refused)


type SocketHandler = Callable[[Request, Upgrade], Awaitable[None]]
type HttpHandler = Callable[[PrefixedStream], Awaitable[None]]


@attrs.frozen
class Route:
    """Handshakes on paths that match *pattern* whole go to *handler*."""

    pattern: re.Pattern[str]
    handler: SocketHandler


class PrefixedStream(trio.abc.HalfCloseableStream):
    """A stream whose first bytes were read already, and are read again."""

    __slots__ = ("_prefix", "_under", "socket")

    def __init__(self, under: trio.SocketStream, prefix: bytes) -> None:
        self._under, self._prefix = under, prefix
        self.socket = under.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Give the prefix first."""
        if self._prefix:
            await trio.lowlevel.checkpoint()
            cut = len(self._prefix) if max_bytes is None else max_bytes
            data, self._prefix = self._prefix[:cut], self._prefix[cut:]
            return data
        return bytes(await self._under.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        await self._under.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until sending might not wait."""
        await self._under.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Shut our direction."""
        await self._under.send_eof()

    async def aclose(self) -> None:
        """Close."""
        await self._under.aclose()


async def serve_door(
    listeners: Sequence[trio.SocketListener],
    *,
    voice: SocketHandler,
    http_handler: HttpHandler | None,
    routes: Sequence[Route] = (),
    readers: Readers | None = None,
    stop_accepting: trio.Event | None = None,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Accept on *listeners*, and close them at the end; ready with their addresses.

    Without an *http_handler* the door is for sockets alone: other requests get 426 on a socket's path, 404 elsewhere.
    Sockets wait for bytes among *readers*. Running out of descriptors is survived as `trio.serve_listeners` does it.
    After *stop_accepting* no connection is taken and those that are here go on. Cancelling ends all of them.
    """
    table = (*routes, Route(VOICE_PATHS, voice))

    async def serve(stream: trio.SocketStream) -> None:
        try:
            await _serve_connection(stream, table, http_handler, readers)
        except* Closed:
            pass
        except* Exception as group:
            # One of the three edges where errors are contained: a connection.
            log.exception("connection_failed", exc_info=group)

    async with trio.open_nursery() as connections:
        with trio.CancelScope() as accepting:
            async with trio.open_nursery() as nursery:
                accept = partial(trio.serve_listeners, serve, list(listeners), handler_nursery=connections)
                await nursery.start(accept)
                task_status.started([address_of(listener.socket) for listener in listeners])
                if stop_accepting is not None:
                    await stop_accepting.wait()
                    accepting.cancel()
        await trio.sleep_forever()
    raise AssertionError("a door never ends by itself")


async def _serve_connection(
    stream: trio.SocketStream, routes: Sequence[Route], http_handler: HttpHandler | None, readers: Readers | None
) -> None:
    """Read the head, choose who serves it."""
    reader = HeadReader()
    try:
        request = await _read_head(stream, reader)
        if request is None:
            return
        raw, residue = bytes(reader.raw), reader.residue
        del reader  # a call would keep 12 KB of it to its end
        if http_handler is not None and not request.wants_socket:
            await http_handler(PrefixedStream(stream, raw))
            return
        handler = next((route.handler for route in routes if route.pattern.fullmatch(request.path)), None)
        if handler is None:
            raise Refused(404, "not_found", "there is no socket here")
        check_upgrade(request)
        await handler(request, Upgrade(request, stream, residue, readers))
    except Refused as refused:
        log.info("request_refused", status=refused.status, code=refused.code, why=refused.message)
        await refuse(stream, refused)


async def _read_head(stream: trio.SocketStream, reader: HeadReader) -> Request | None:
    """Read until the head is whole; None if the peer went, or never said a word. Raises `Refused`."""
    with trio.move_on_after(HEAD_SECONDS) as patience:
        peer = peer_of(stream.socket)
        while True:  # noqa: ASYNC913 - reading is a checkpoint, whether it fails or not
            try:
                data = await stream.receive_some(_CHUNK)
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            request = reader.feed(bytes(data), peer)
            if request is not None:
                return request
    if patience.cancelled_caught and reader.raw:
        raise Refused(408, "request_timeout", f"the request's head did not come within {HEAD_SECONDS:g} s")
    return None  # browsers open connections that they may never use


async def refuse(stream: trio.SocketStream, refused: Refused) -> None:
    """Answer with an error and close; a peer that neither reads nor closes gets two seconds."""
    with trio.move_on_after(_ANSWER_SECONDS), suppress(trio.BrokenResourceError):
        await stream.send_all(refusal(refused))
        # Closing while bytes are on their way in would reset the connection before the answer is read.
        await stream.send_eof()
        while await stream.receive_some(_CHUNK):
            pass
