"""A small HTTP server for stand-ins: a handler is given the whole request and writes what it likes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import h11
import trio


@attrs.define
class Exchange:
    """One request, and the way to answer it."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    stream: trio.abc.Stream
    connection: h11.Connection

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    async def begin(self, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        """Send the head of a streamed answer."""
        lines = [("content-type", kind), *((name.replace("_", "-"), value) for name, value in headers.items())]
        if ("content-length" not in headers) and not any(name == "content-length" for name, _ in lines):
            lines.append(("transfer-encoding", "chunked"))
        await self._send(h11.Response(status_code=status, headers=lines))

    async def send(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def answer(self, status: int, body: Any, **headers: str) -> None:
        """Send a whole answer."""
        await self.begin(status, **headers)
        await self.send(body if isinstance(body, bytes) else json.dumps(body).encode())
        await self.end()

    async def _send(self, event: h11.Event) -> None:
        data = self.connection.send(event)
        if data:
            await self.stream.send_all(data)


type Handler = Callable[[Exchange], Awaitable[None]]


@asynccontextmanager
async def open_web(handler: Handler) -> AsyncGenerator[str]:
    """Serve on this machine for the length of the block; gives the URL."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, partial(_serve, handler), 0, host="127.0.0.1"))
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def _serve(handler: Handler, stream: trio.SocketStream) -> None:
    connection = h11.Connection(h11.SERVER)
    async with stream:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            while (exchange := await _request(stream, connection)) is not None:
                await handler(exchange)
                if connection.states != {h11.SERVER: h11.DONE, h11.CLIENT: h11.DONE}:
                    return
                connection.start_next_cycle()


async def _request(stream: trio.SocketStream, connection: h11.Connection) -> Exchange | None:
    head: h11.Request | None = None
    body = b""
    while True:  # noqa: ASYNC913 - it ends, or waits for data
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            parts = urlsplit(head.target.decode())
            headers = {name.decode(): value.decode() for name, value in head.headers}
            query = parse_qs(parts.query)
            return Exchange(head.method.decode(), parts.path, query, headers, body, stream, connection)
        else:
            return None
