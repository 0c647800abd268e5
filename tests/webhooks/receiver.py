"""A receiver of webhooks on a real socket: keeps what comes, and answers as a test wants."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import attrs
import standardwebhooks
import trio


@attrs.frozen
class Message:
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str) -> Any:
        """Have the standard's own library verify it."""
        standardwebhooks.Webhook(secret).verify(self.body, dict(self.headers))
        return self.json


def status(code: int, body: bytes = b"", **headers: str) -> bytes:
    """Write a whole answer."""
    told = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return f"HTTP/1.1 {code} X\r\n{lines}\r\n".encode() + body


OK = status(200, b"thanks")

type Behave = Callable[[Message, trio.abc.Stream], Awaitable[None]]


async def kindly(_: Message, stream: trio.abc.Stream) -> None:
    """Take it."""
    await stream.send_all(OK)


async def silently(_: Message, __: trio.abc.Stream) -> None:
    """Never answer."""
    await trio.sleep_forever()


def saying(*answers: bytes) -> Behave:
    """Give each answer once, the last one again and again."""
    left = list(answers)

    async def behave(_: Message, stream: trio.abc.Stream) -> None:
        await stream.send_all(left.pop(0) if len(left) > 1 else left[0])

    return behave


@attrs.define
class Receiver:
    """One that listens."""

    port: int = 0
    behave: Behave = kindly
    messages: list[Message] = attrs.field(factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    connections: int = 0
    _news: trio.Event = attrs.field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def until(self, count: int, seconds: float = 15) -> list[Message]:
        """Wait until so many messages came."""
        with trio.move_on_after(seconds):
            while len(self.messages) < count:
                await self._news.wait()
            return self.messages
        raise AssertionError(f"{len(self.messages)} of {count} messages within {seconds} s")

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Take messages on one connection."""
        self.connections += 1
        pending = b""
        async with stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    while b"\r\n\r\n" not in pending:
                        data = await stream.receive_some()
                        if not data:
                            return
                        pending += data
                    head, _, pending = pending.partition(b"\r\n\r\n")
                    first, *lines = head.decode("latin-1").split("\r\n")
                    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                    size = int(headers.get("content-length", "0"))
                    while len(pending) < size:
                        pending += await stream.receive_some()
                    body, pending = pending[:size], pending[size:]
                    await self._take(Message(first.split(" ")[1], headers, body, trio.current_time()), stream)

    async def _take(self, message: Message, stream: trio.abc.Stream) -> None:
        self.messages.append(message)
        news, self._news = self._news, trio.Event()
        news.set()
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self.behave(message, stream)
        finally:
            self.in_flight -= 1


@asynccontextmanager
async def open_receiver(behave: Behave = kindly) -> AsyncGenerator[Receiver]:
    """Listen for the length of the block."""
    made = Receiver(behave=behave)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, made.serve, 0, host="127.0.0.1", backlog=512))
        made.port = listeners[0].socket.getsockname()[1]
        yield made
        nursery.cancel_scope.cancel()
