"""Clients that are made of bytes, and doors to knock at."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from invorto.realtime.closed import Closed
from invorto.realtime.door import HttpHandler, Route, Upgrade, serve_door
from invorto.realtime.head import Request
from invorto.realtime.listeners import open_listeners
from invorto.realtime.socket import Patience

HANDSHAKE = (
    b"GET /realtime/voice?callId=c_1 HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
PATIENT = Patience(message=2**25, backlog=2**26)


async def echo(request: Request, upgrade: Upgrade, patience: Patience | None = None) -> None:
    """Say again what is said."""
    async with upgrade.accept(next(iter(request.subprotocols), None), patience) as socket:
        try:
            while True:
                message = await socket.receive()
                if isinstance(message, str):
                    socket.send_text(message)
                else:
                    socket.send_audio(message)
        except Closed:
            pass


@attrs.frozen
class Door:
    """An open door."""

    port: int
    stop_accepting: trio.Event
    scope: trio.CancelScope
    host: str = "127.0.0.1"

    async def knock(self, data: bytes = b"") -> trio.SocketStream:
        """Connect, and say *data*."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        if data:
            await stream.send_all(data)
        return stream

    async def ask(self, data: bytes) -> bytes:
        """Connect, say *data*, and give all that is answered until the end."""
        async with await self.knock(data) as stream:
            return await until_end(stream)


@asynccontextmanager
async def open_door(
    http_handler: HttpHandler | None = None,
    voice: Callable[[Request, Upgrade], Awaitable[None]] = echo,
    **options: Any,
) -> AsyncGenerator[Door]:
    """Open a door on a free port, and close it after the test."""
    stop = trio.Event()
    async with open_listeners("127.0.0.1", 0) as listeners, trio.open_nursery() as nursery:
        serve = partial(serve_door, listeners, voice=voice, http_handler=http_handler, stop_accepting=stop, **options)
        ((_, port),) = await nursery.start(serve)
        yield Door(port, stop, nursery.cancel_scope)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_client(url: str, **options: Any) -> AsyncGenerator[WebSocketConnection]:
    """Open trio-websocket's client; it forgets its stream when the server closes first, so that is closed here."""
    async with open_websocket_url(url, **options) as client:
        try:
            yield client
        finally:
            if client.closed:
                await trio.aclose_forcefully(client._stream)


async def until_end(stream: trio.abc.ReceiveStream) -> bytes:
    """Give all that comes until the end, within two seconds."""
    data = b""
    with trio.fail_after(2):
        while more := await stream.receive_some():
            data += more
    return data


async def until(stream: trio.abc.ReceiveStream, mark: bytes) -> bytes:
    """Give what comes up to *mark*, within two seconds."""
    data = b""
    with trio.fail_after(2):
        while mark not in data:
            more = await stream.receive_some()
            assert more, f"ended after {data!r}"
            data += more
    return data


__all__ = ["HANDSHAKE", "PATIENT", "Closed", "Door", "Route", "echo", "open_door", "until", "until_end"]
