"""The line to a client on the voice socket; long, since all that may be wrong with a message is one list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Self

import attrs
import numpy as np
import trio

from invorto.audio import g711
from invorto.config import Limits
from invorto.errors import NotSupported
from invorto.realtime.closed import LOST, Closed
from invorto.realtime.handshake import Handshake
from invorto.realtime.knock import Admission
from invorto.realtime.limits import MessageWindow, TokenBucket
from invorto.realtime.line import Hear, HungUp, Inbound
from invorto.realtime.protocol import (
    Audio,
    BadMessage,
    ClientMessage,
    ErrorMessage,
    Mark,
    Ping,
    Pong,
    ServerMessage,
    Start,
    TtsChunk,
    TtsMark,
    decode,
    encode,
    kind,
)
from invorto.speech.ports import Samples

_PCM = np.dtype("<i2")
LONGEST_FRAME = 0.2
"""Seconds of audio in one frame or message."""
AUDIO_RATE = 2.0
"""Seconds of audio taken a second."""
SHORTEST_FRAME = 0.0025
"""Seconds that a frame counts for at least: what shorter ones cost is their number, not their sound."""
AUDIO_BURST = 5.0
"""Seconds of audio taken at once: what a phone sends when its network comes back."""
LEAD = 0.2
"""Seconds of audio sent ahead of what plays."""
_MARKS = 256
"""Marks whose echo is awaited: one a sentence, so more than any turn has; the oldest are forgotten."""
_RENEWED = 1.0
"""Seconds between two looks at how long a client may be silent, while it is not."""
_COMPLAINTS = (5.0, 50.0)
"""Errors answered a second, and at once: a flood of bad frames must not become a flood of answers."""


class Socket(Protocol):
    """What a line needs of a voice socket."""

    async def receive(self) -> str | bytes:
        """Wait for a message; raises `Closed`."""
        ...

    def send_text(self, text: str) -> None:
        """Send a text message; never waits."""
        ...

    def send_audio(self, audio: bytes) -> None:
        """Send a binary message; never waits."""
        ...

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close, bounded in time, harmless twice."""
        ...


@attrs.frozen(kw_only=True)
class Patience:
    """How long a silent client is kept; seconds."""

    before_start: float = 120.0
    silent: float = 300.0
    """After it has begun; before that, the shorter of the two."""


@attrs.define(eq=False, kw_only=True)
class WebLine:
    """A `Line` to a client. What breaks the protocol is answered here with `error`; the socket stays."""

    socket: Socket
    handshake: Handshake
    allow: frozenset[str]
    """Messages that the client's credential lets it send."""
    agents: frozenset[str]
    """What the call's agent may be called in `start`."""
    next_id: Callable[[], str]
    """Gives an event its id, from the clock that names all events of the call."""
    message_limit: int = 100
    """Text messages a minute; 0 is no limit."""
    patience: Patience = Patience()
    lead: float = LEAD
    rate: int = attrs.field(init=False)
    """Samples a second, both ways."""
    marks: bool = attrs.field(default=False, init=False)
    """As the client's `start` says; False until then."""
    begun: bool = attrs.field(default=False, init=False)
    """Whether `start` or audio has come."""
    _started: bool = attrs.field(default=False, init=False)
    _binary: bool = attrs.field(default=False, init=False)
    _seq: int = attrs.field(default=0, init=False)
    _awaited: dict[str, bool] = attrs.field(factory=dict[str, bool], init=False)
    _heard_at: float = attrs.field(factory=trio.current_time, init=False)
    _width: int = attrs.field(init=False)
    _audio: TokenBucket = attrs.field(init=False)
    _messages: MessageWindow = attrs.field(init=False)
    _complaints: TokenBucket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rate = rate = self.handshake.rate
        self._width = 2 if self.handshake.codec == "linear16" else 1
        self._audio = TokenBucket(AUDIO_RATE * rate, AUDIO_BURST * rate, self._heard_at)
        self._messages = MessageWindow(self.message_limit)
        self._complaints = TokenBucket(*_COMPLAINTS, self._heard_at)

    @classmethod
    def of(cls, socket: Socket, admission: Admission, next_id: Callable[[], str], limits: Limits) -> Self:
        """Make the line of somebody who was let in."""
        agent, asked = admission.agent, admission.handshake.agent
        return cls(
            socket=socket,
            handshake=admission.handshake,
            allow=admission.credential.allow,
            agents=frozenset({agent.id, agent.name} | ({asked} if asked else set())),
            next_id=next_id,
            message_limit=limits.message_rate_limit,
            patience=Patience(silent=limits.connection_timeout_ms / 1000),
        )

    @property
    def dropped(self) -> float:
        """Seconds of audio that came too fast and were dropped."""
        return self._audio.refused / self.rate

    # -- what comes in ----------------------------------------------------------------------------

    async def receive(self, hear: Hear) -> Inbound:
        """Wait for a message or the end; audio that comes meanwhile goes to *hear*, it is the frame itself."""
        while True:  # noqa: ASYNC913 - listening is a checkpoint
            try:
                with trio.move_on_at(self._silent_at) as silence:
                    return await self._listen(hear, silence)
            except Closed as closed:
                return HungUp(None if closed.code == LOST else closed.code)
            if trio.current_time() >= self._silent_at:
                await self.close(4000, "connection_timeout")
                return HungUp(4000)

    @property
    def _silent_at(self) -> float:
        """When a client who says nothing more has been silent for too long."""
        patience = self.patience
        return self._heard_at + (patience.silent if self.begun else min(patience.silent, patience.before_start))

    async def _listen(self, hear: Hear, silence: trio.CancelScope) -> ClientMessage:
        """Take in what comes until it is a message: a scope for each frame would cost more than the frame."""
        renewed_at = self._heard_at
        while True:  # noqa: ASYNC913 - a voice socket's `receive` sees to checkpoints
            said = await self.socket.receive()
            self._heard_at = now = trio.current_time()
            if now - renewed_at >= _RENEWED:
                silence.deadline, renewed_at = self._silent_at, now
            inbound = self._hear(said, now) if isinstance(said, bytes) else self._read(said, now)
            if isinstance(inbound, np.ndarray):
                hear(inbound, now)
            elif inbound is not None:
                return inbound

    def _hear(self, frame: bytes, now: float) -> Samples | None:
        """Take in a binary frame."""
        if not self._takes(frame, self._width, now):
            return None
        match self.handshake.codec:
            case "linear16":
                return np.frombuffer(frame, _PCM)
            case "mulaw":
                return g711.decode_ulaw(frame)
            case "alaw":
                return g711.decode_alaw(frame)

    def _takes(self, audio: bytes, width: int, now: float) -> bool:
        """Tell whether *audio*, of samples of *width* bytes, is well-formed, allowed, and not too much."""
        count, over = divmod(len(audio), width)
        if "audio" not in self.allow:
            self._complain("forbidden", "this credential may not send audio", now)
        elif over or not count:
            self._complain("bad_message", "audio must be whole samples, and not empty", now)
        elif count > LONGEST_FRAME * self.rate:
            self._complain("bad_message", f"audio must come in frames of {LONGEST_FRAME * 1000:g} ms at most", now)
        else:
            self.begun = True
            return self._audio.take(max(count, SHORTEST_FRAME * self.rate), now)
        return False

    def _read(self, text: str, now: float) -> Samples | ClientMessage | None:
        """Take in a text message."""
        message, fault = None, None
        try:
            message = decode(text)
        except BadMessage as error:
            fault = error
        if not isinstance(message, Audio | Mark | Pong) and not self._messages.take(now):
            self._complain("rate_limit_exceeded", f"only {self.message_limit} messages a minute are taken", now)
        elif message is None:
            self._complain(fault.code if fault else "bad_message", str(fault), now)
        elif kind(message) not in self.allow:
            self._complain("forbidden", f"this credential may not send `{kind(message)}`", now)
        else:
            return self._take(message, now)
        return None

    def _take(self, message: ClientMessage, now: float) -> Samples | ClientMessage | None:
        match message:
            case Audio(pcm16=audio):
                return np.frombuffer(audio, _PCM) if self._takes(audio, _PCM.itemsize, now) else None
            case Mark(name=name):
                return message if self._awaited.pop(name, False) else None
            case Pong():
                return None
            case Ping(timestamp=timestamp):
                event_id = self.next_id()
                self.tell(Pong(int(event_id.partition("-")[0]) if timestamp is None else timestamp), event_id)
                return None
            case Start():
                return self._start(message, now)
            case _:
                return message

    def _start(self, start: Start, now: float) -> Start | None:
        if start.call_id not in {None, self.handshake.call_id}:
            self._complain("bad_message", "this socket is for another call - at `$.callId`", now)
        elif start.agent_id is not None and start.agent_id not in self.agents:
            self._complain("bad_message", "the call has another agent - at `$.agentId`", now)
        elif self._started:
            self._complain("bad_message", "the conversation has started already", now)
        else:
            self._started = self.begun = True
            self._binary = start.audio_out == "binary"
            self.marks = "marks" in (start.capabilities or ())
            return start
        return None

    def _complain(self, code: str, message: str, now: float) -> None:
        if self._complaints.take(1, now):
            self.tell(ErrorMessage(code, message, fatal=False), self.next_id())

    # -- what goes out ----------------------------------------------------------------------------

    def play(self, samples: Samples, *, turn: int) -> None:
        """Send audio, as the client's `start` asked for it."""
        if self._binary:
            self.socket.send_audio(self._encoded(samples))
            return
        self.tell(TtsChunk(self._seq, samples.astype(_PCM, copy=False).tobytes(), turn), self.next_id())
        self._seq += 1

    def _encoded(self, samples: Samples) -> bytes:
        match self.handshake.codec:
            case "linear16":
                return samples.astype(_PCM, copy=False).tobytes()
            case "mulaw":
                return g711.encode_ulaw(samples)
            case "alaw":
                return g711.encode_alaw(samples)

    def mark(self, name: str, *, turn: int, text: str) -> None:
        """Tell where a sentence is in the audio, where the client asked for marks, and beside binary audio."""
        if self.marks:
            self._awaited[name] = True
            if len(self._awaited) > _MARKS:
                del self._awaited[next(iter(self._awaited))]
        if self.marks or self._binary:
            self.tell(TtsMark(name, turn, text), self.next_id())

    def clear(self) -> None:
        """Forget the marks that were sent; the client drops its audio when it is told `control.bargein`."""
        self._awaited.clear()

    def tell(self, message: ServerMessage, event_id: str) -> None:
        """Send an event."""
        self.socket.send_text(encode(message, event_id))

    async def transfer(self, to: str, mode: str) -> None:  # noqa: ARG002 - the port's
        """Raise `NotSupported`: a browser cannot be handed over."""
        raise NotSupported("a call from a browser or an app cannot be transferred")

    async def send_digits(self, digits: str, method: str) -> None:  # noqa: ARG002 - the port's
        """Raise `NotSupported`: a browser takes no digits."""
        raise NotSupported("a browser or an app takes no digits")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the socket, bounded in time; `Ended` is told before by the one who knows why."""
        await self.socket.aclose(code, reason)
