"""Hypercorn, one connection at a time: the door's HTTP handler, with a way round each trap of Hypercorn and Quart-Trio.

Hypercorn's own server shields what it sends without a deadline, so that a peer that does not read holds up a stop for
ever; lets one connection's error end the process; and, under Quart-Trio, never closes a connection that it keeps alive.
Here its protocol (h11 to ASGI) is driven by a connection of ours: every wait has a bound, nothing is shielded, an error
stays in its connection, WebSockets and HTTP/2 are refused, and every refusal has the API's shape.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Any, cast

import attrs
import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from invorto.api.contained import contained
from invorto.api.http1 import Http1
from invorto.realtime.door import PrefixedStream
from invorto.realtime.head import HEAD_LIMIT

log = structlog.get_logger(__name__)

_CHUNK = 16_384


@attrs.frozen(kw_only=True)
class HttpPatience:
    """How long is waited for one client; seconds."""

    head: float = 10
    """For a request's head, from its first byte."""
    body: float = 20
    """Between two pieces of a body."""
    idle: float = 75
    """Between two requests; more than the 60 s of most load balancers, who should be the ones to close."""
    stalled: float = 20
    """For a client that reads to take some bytes of an answer."""
    half_closed: float = 2
    """For the answer to a client that has shut its direction: it may be waiting, or gone."""
    linger: float = 1
    """For a client to take the last answer and close."""
    finish: float = 10
    """For a request's task to end after its client is gone."""


class _Signal(EventWrapper):
    """Hypercorn's event, that can be set without waiting."""

    def give(self) -> None:
        """Set it."""
        self._event.set()


class HttpServer:
    """Serves one ASGI application on whatever streams it is called with."""

    def __init__(self, app: Any, patience: HttpPatience | None = None, stopping: trio.Event | None = None) -> None:
        self.stopping = trio.Event() if stopping is None else stopping
        self.app = ASGIWrapper(cast("Any", contained(app)))
        self.patience = patience or HttpPatience()
        self.context = WorkerContext(None)
        self.context.terminated = self._drained = _Signal()
        self.connections: set[_Connection] = set()
        self._left = trio.lowlevel.ParkingLot()
        self.config = Config()
        self.config.accesslog = self.config.errorlog = None  # requests are logged by the application, errors by us
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = HEAD_LIMIT

    async def __call__(self, stream: trio.SocketStream | PrefixedStream) -> None:
        """Serve one connection until it is over, and close it. Errors are logged, not raised; a cancel ends it."""
        connection = _Connection(self, stream)
        self.connections.add(connection)
        try:
            await connection.run()
        except* OSError:
            pass  # it went while we looked at it
        except* Exception as group:
            log.exception("connection_failed", exc_info=group)
        finally:
            self.connections.discard(connection)
            self._left.unpark_all()
            await trio.aclose_forcefully(stream)

    async def wait_idle(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            await self._left.park()

    def drain(self) -> None:
        """Close idle connections now and all others after the answer they are at; new ones get one answer each."""
        self._drained.give()
        self.stopping.set()
        for connection in self.connections:
            connection.close_if_idle()


class _Connection:
    """One client's connection: reads with a bound for each phase, sends with another."""

    def __init__(self, server: HttpServer, stream: trio.SocketStream | PrefixedStream) -> None:
        self._server = server
        self._patience = server.patience
        self._stream = stream
        self._send_lock = trio.Lock()
        self._reading = trio.CancelScope()
        self._busy = False  # a request is being answered
        self._ended = False  # we have closed our direction
        self._torn = False  # an answer was cut: nothing more may be sent
        self._head_by = trio.current_time() + self._patience.head
        self._settled = trio.Event()  # not busy, or ended
        self._protocol: Http1

    async def run(self) -> None:
        """Serve requests until one side closes."""
        server, socket = self._server, self._stream.socket
        client = parse_socket_addr(socket.family, socket.getpeername())
        own = parse_socket_addr(socket.family, socket.getsockname())
        with trio.CancelScope() as scope:
            async with TaskGroup() as tasks:
                self._protocol = Http1(
                    server.app,
                    server.config,
                    server.context,
                    tasks,
                    ConnectionState({}),
                    False,
                    client,
                    own,
                    self._send,
                )
                await self._read()
                scope.deadline = trio.current_time() + self._patience.finish
                await self._protocol.handle(Closed())

    def close_if_idle(self) -> None:
        """Close now unless a request is under way."""
        if not self._busy and not self._partial:
            self._reading.cancel()

    @property
    def _partial(self) -> bool:
        """Whether a head, or more, has come in part."""
        return bool(self._protocol.connection.trailing_data[0])

    @property
    def _in_body(self) -> bool:
        """Whether more of a body is to come."""
        return self._protocol.connection.their_state is h11.SEND_BODY

    def _bound(self) -> float:
        """Tell until when the next bytes are waited for."""
        now, patience = trio.current_time(), self._patience
        if self._ended:
            return now + patience.linger
        if self._in_body:
            return now + patience.body
        if self._busy:
            return inf  # the client waits for us; reading only tells when it goes
        if self._partial or not self._protocol.keep_alive_requests:
            return self._head_by
        self._head_by = now + patience.idle + patience.head
        return now if self._server.context.terminated.is_set() else now + patience.idle

    async def _read(self) -> None:
        """Give the protocol what comes, until the end of it."""
        while True:  # noqa: ASYNC913 - reading is a checkpoint, whether it fails or not
            data: bytes | None = None
            with trio.CancelScope(deadline=self._bound()) as self._reading:  # noqa: ASYNC912 - reading is one
                try:
                    data = bytes(await self._stream.receive_some(_CHUNK))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
            if self._ended:
                if not data:
                    return
            elif data is None:
                if not self._partial and not self._in_body:
                    return
                await self._protocol.time_out()
            elif not data:
                await self._half_closed()
                return
            else:
                if not self._partial:
                    self._head_by = trio.current_time() + self._patience.head
                await self._protocol.handle(RawData(data))

    async def _half_closed(self) -> None:
        """Let a client that will send no more have the answer that it is waiting for, if it is quick."""
        if self._busy and not self._in_body:
            with trio.move_on_after(self._patience.half_closed):
                await self._settled.wait()
        elif self._partial or self._in_body:
            await self._protocol.handle(RawData(b""))

    async def _send(self, event: Event) -> None:
        """Do what the protocol asks for."""
        match event:
            case RawData(data):
                await self._send_bytes(data)
            case Updated(idle):
                self._busy = not idle
                if idle:
                    self._settled.set()
                    self._head_by = trio.current_time() + self._patience.head
                    self._reading.deadline = self._bound()
                else:
                    self._settled = trio.Event()
            case Closed():
                await self._end()
            case _:
                pass

    async def _send_bytes(self, data: bytes) -> None:
        """Send all of it; if that cannot be, the answer is torn and the connection closed."""
        async with self._send_lock:
            rest = memoryview(data)
            try:
                while rest and not self._torn:
                    with trio.move_on_after(self._patience.stalled) as patience:
                        rest = rest[await self._stream.socket.send(rest) :]
                    if patience.cancelled_caught:
                        log.info("client_does_not_read", unsent=len(rest))
                        break
            except (OSError, trio.ClosedResourceError):
                pass  # the client is gone
            finally:
                if rest:
                    self._torn = True
                    self._stream.socket.close()
        if rest:
            await self._protocol.handle(Closed())

    async def _end(self) -> None:
        """Close our direction; the client gets a moment to take the last answer and close its own."""
        if self._ended:
            return  # both the reader and the request may come to it, in the same moment too
        self._busy, self._ended = False, True
        self._settled.set()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._stream.send_eof()
        self._reading.deadline = trio.current_time() + self._patience.linger
        await self._protocol.handle(Closed())
