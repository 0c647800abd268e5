"""A voice socket on a Trio stream: sending never waits, receiving is all there is to wait for.

`open_socket` is the one way to get one; inside it runs one task, the *keeper*, which sends what the kernel did not take
at once, pings, and ends a peer that is silent or does not read. In good times it wakes up every `Patience.ping`
seconds, and a frame costs the reader one wake-up and nobody else any.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import structlog
import trio

from invorto.errors import PeerError
from invorto.realtime.closed import LOST, Closed
from invorto.realtime.framing import MESSAGE_LIMIT, Close, Event, Framing, Ping
from invorto.realtime.readers import Readers
from invorto.realtime.wire import CHUNK, Gone, Wire, wire_of

log = structlog.get_logger(__name__)

_IN_A_ROW = 64
# Frames handed out without a checkpoint: a peer that sends thousands at once waits for the other calls in between.


@attrs.frozen(kw_only=True)
class Patience:
    """How much is borne of one peer; seconds, and bytes."""

    message: int = MESSAGE_LIMIT
    """Bytes of the longest message taken."""
    backlog: int = 524_288
    """Bytes kept for a peer that does not read: four seconds of the densest audio (48 kHz, base64), or a replay of 500
    events; and 200 such peers are still only 100 MB."""
    stalled: float = 10
    """Without a byte taken by a peer that has a backlog. A hand-over between networks is over sooner."""
    ping: float = 15
    """Between our pings."""
    silent: float = 45
    """Without a byte from a peer that is asked every `ping`."""
    farewell: float = 2
    """From our close to the end, with or without the peer's."""


class VoiceSocket:
    """One WebSocket, after its handshake. One task receives; anyone sends."""

    def __init__(self, wire: Wire, patience: Patience, *, opening: bytes = b"", residue: bytes = b"") -> None:
        self._wire = wire
        self._patience = patience
        self._framing = Framing(limit=patience.message)
        self._backlog = bytearray()
        self._stirred = trio.Event()  # a backlog has begun
        self._emptied = trio.Event()  # and is over
        self._watch = trio.CancelScope()  # of the keeper; cancelled when the peer is given up
        self._end: Closed | None = None  # why there is nothing more to receive
        self._over = trio.Event()  # set with it
        self._mute = False  # nothing more is sent: a close was, or the peer is gone
        self._closing = False
        self._reading = False
        self._in_a_row = 0
        self.heard_at = trio.current_time()
        """When the last bytes came, on Trio's clock."""
        self._framing.receive_data(residue)
        if opening:
            self._send(opening)

    async def receive(self) -> str | bytes:
        """Wait for a message. Raises `Closed`, again each time, when the peer closed, was lost, or broke the protocol.

        Pings are answered inside. Messages that came together are given without a checkpoint, but for every 64th.
        """
        while True:  # noqa: ASYNC913 - every 64th message is one, and waiting for bytes is
            if self._in_a_row >= _IN_A_ROW:
                self._in_a_row = 0
                await trio.lowlevel.checkpoint()  # before anything is taken, which being cancelled here would lose
            try:
                event = self._framing.next_event()
            except PeerError as error:
                self.leave(error.close_code, error.reason)
                self._finish(Closed(error.close_code, error.reason))
                raise self._ended() from None
            if event is None:
                self._in_a_row = 0
                await self._fill()
                continue
            self._in_a_row += 1
            if not isinstance(event, (str, bytes)):
                self._control(event)
            elif not self._closing:
                return event

    def send_audio(self, audio: bytes) -> None:
        """Send a binary message; into the void when the socket is over."""
        self._send(self._framing.binary(audio))

    def send_text(self, text: str) -> None:
        """Send a text message; into the void when the socket is over."""
        self._send(self._framing.text(text))

    @property
    def backlog(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return len(self._backlog)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close: what was sent before goes out first, then the close, and the peer has `Patience.farewell` to answer.

        Always ends, at once if cancelled. What the peer still sends is dropped. Harmless twice: the first code counts.
        """
        if self._closing:
            with trio.move_on_after(self._patience.farewell):
                await self._over.wait()
            return
        self._closing = True
        try:
            self.leave(code, reason)
            with trio.move_on_after(self._patience.farewell):
                await self._farewell()
        finally:
            self._finish(Closed(code, reason))
            with trio.move_on_after(1, shield=True):
                await self._wire.cut()

    async def _farewell(self) -> None:
        """See that what was sent arrives, and take what comes, until the peer has closed too."""
        if self._backlog:
            await self._emptied.wait()
        if self._reading:
            await self._over.wait()
        while self._end is None:
            try:
                await self.receive()
            except Closed:
                break
        if not self._framing.closed:
            # A connection that is closed while bytes are on their way in is reset, and the peer may never see why.
            try:
                await self._wire.end()
                while await self._wire.read():
                    pass
            except Gone:
                pass

    async def _fill(self) -> None:
        """Wait for bytes and give them to the framing."""
        if self._end is None and self._reading:
            if not self._closing:
                raise trio.BusyResourceError("another task is receiving on this socket")
            await self._over.wait()
        if self._end is not None:
            raise self._ended()
        self._reading = True
        try:
            data = await self._wire.read()
        except Gone:
            data = b""
        finally:
            self._reading = False
        if not data:
            self._finish(Closed(LOST, "lost"))
            raise self._ended()
        self.heard_at = trio.current_time()
        self._framing.receive_data(data)

    def _control(self, event: Event) -> None:
        if isinstance(event, Ping):
            self._send(self._framing.pong(event.payload))
        elif isinstance(event, Close):
            self.leave(event.code)
            self._finish(Closed(event.code, event.reason))

    def _send(self, frame: bytes) -> None:
        if self._mute:
            return
        if not self._backlog:
            try:
                sent = self._wire.write(frame)
            except Gone:
                # The reader learns it too, after what the peer may have said last.
                self._mute = True
                return
            if sent == len(frame):
                return
            frame = frame[sent:]
            self._emptied = trio.Event()
            self._stirred.set()
        self._backlog += frame
        if len(self._backlog) > self._patience.backlog:
            self._give_up("too slow")

    def leave(self, code: int, reason: str = "") -> None:
        """Say that we close, and no more: for one who may not wait. The connection is closed with the socket's task."""
        if not self._framing.close_sent:
            self._send(self._framing.close(code, reason))
            self._mute = True

    def _finish(self, end: Closed) -> None:
        if self._end is None:
            self._end = end
            self._over.set()

    def _ended(self) -> Closed:
        """Make the exception anew: one that is raised again and again would gather tracebacks."""
        end = self._end or Closed(LOST)
        return Closed(end.code, end.reason)

    def _give_up(self, why: str) -> None:
        log.info("peer_given_up", why=why, backlog=len(self._backlog))
        self._mute = True
        self._backlog.clear()
        self._emptied.set()
        self._finish(Closed(LOST, why))
        self._watch.cancel()

    async def keep(self) -> None:
        """Look after the connection until cancelled: the backlog, pings, silence. `open_socket` runs it."""
        try:
            with self._watch:
                await self._look_after()
        finally:
            self.leave(1001)  # for one whose task is still on its way out when it is cancelled, as we are
            with trio.move_on_after(1, shield=True):
                await self._wire.cut()

    async def _look_after(self) -> None:
        excused_at = trio.current_time()
        ping_at = excused_at + self._patience.ping
        while True:
            silent_at = max(self.heard_at, excused_at) + self._patience.silent
            with trio.move_on_at(min(ping_at, silent_at)):
                await self._stirred.wait()
            if self._stirred.is_set():
                await self._drain()
            now = trio.current_time()
            if not self._reading:
                excused_at = now  # what the peer says is waiting for us
            elif now >= max(self.heard_at, excused_at) + self._patience.silent:
                self._give_up("silent")
            if now >= ping_at:
                ping_at = now + self._patience.ping
                self._send(self._framing.ping())

    async def _drain(self) -> None:
        """Send the backlog; a peer that takes nothing for `Patience.stalled` seconds is given up."""
        self._stirred = trio.Event()
        try:
            while self._backlog:
                with trio.move_on_after(self._patience.stalled) as waited:
                    sent = await self._wire.drain(bytes(self._backlog[:CHUNK]))
                    del self._backlog[:sent]
                if waited.cancelled_caught:
                    self._give_up("does not read")
        except Gone:
            self._mute = True
            self._backlog.clear()
        self._emptied.set()


@asynccontextmanager
async def open_socket(
    stream: trio.abc.Stream,
    *,
    opening: bytes = b"",
    residue: bytes = b"",
    patience: Patience | None = None,
    readers: Readers | None = None,
) -> AsyncGenerator[VoiceSocket]:
    """Speak WebSocket on *stream*, and close it at the end: 1000, or 1011 if the body raises, 1001 if it is cancelled.

    *opening* is sent before all (the answer to the handshake), *residue* was read after the peer's half of it.
    It waits for bytes together with the other sockets of *readers*.
    """
    socket = VoiceSocket(wire_of(stream, readers), patience or Patience(), opening=opening, residue=residue)
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(socket.keep)
            try:
                yield socket
            except Exception as error:  # noqa: BLE001 (raised again outside the nursery, which would wrap it in a group)
                failure = error
            except BaseException:
                socket.leave(1001)
                raise
            with trio.CancelScope(shield=failure is not None):  # aclose ends by itself
                await socket.aclose(1000 if failure is None else 1011)
            nursery.cancel_scope.cancel()
    finally:
        if failure is not None:
            raise failure  # also instead of a cancel
