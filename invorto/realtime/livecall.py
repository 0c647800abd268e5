"""A call while it lives, as its lines and the rest of the house see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import attrs
import structlog
import trio

from invorto.errors import Conflict, Forbidden, Invalid, InvortoError, NotSupported, UsageError, first_of
from invorto.model.agent import AgentConfig
from invorto.model.agent_document import change_live
from invorto.model.call import Call, EndReason
from invorto.realtime import protocol as p
from invorto.realtime import turns as t
from invorto.realtime.conversation import Conversation
from invorto.realtime.ears import Ears
from invorto.realtime.line import HungUp, Line
from invorto.realtime.targets import hand_over
from invorto.realtime.voices import Voices
from invorto.speech.ports import Samples

log = structlog.get_logger(__name__)


@attrs.define(kw_only=True)
class LiveCall:
    """One live call: lines attach to it, anybody may ask it to leave."""

    call: Call
    holder: str
    rate: int
    conversation: Conversation
    ears: Ears
    resolve: Callable[[Mapping[str, str], str | None], AgentConfig]
    voices: Callable[[AgentConfig], Awaitable[Voices]]
    _begun: trio.Event = attrs.field(factory=trio.Event, init=False)
    _early: EndReason | None = attrs.field(default=None, init=False)
    _line: Line | None = attrs.field(default=None, init=False)
    _over: bool = attrs.field(default=False, init=False)

    @property
    def id(self) -> str:
        """The call's id."""
        return self.call.id

    @property
    def listeners(self) -> int:
        """How many lines only listen."""
        return len(self.conversation.teller.lines) - (self._line is not None)

    def next_id(self) -> str:
        """Give an event its id."""
        return self.conversation.teller.ids.next(trio.current_time())

    # -- for the call's own task ------------------------------------------------------------------

    async def talk(self) -> EndReason:
        """Wait for the client to begin, and hold the conversation; gives why it ended."""
        with trio.move_on_at(self.conversation.turns.ends_at):
            await self._begun.wait()
        if not self._begun.is_set():
            return EndReason.TIMEOUT
        if self._early is not None:
            return self._early
        self.conversation.teller.note("agent.started", {"agentId": self.call.agent_id})
        return await self.conversation.hold()

    def over(self, reason: EndReason) -> None:
        """Tell the clients that the call has ended."""
        if not self._over:
            self._over = True
            self.conversation.teller.tell(p.Ended(reason=str(reason)), keep=False)
            self.conversation.teller.note("call.ended", {"reason": str(reason)})

    async def close(self, patience: float) -> None:
        """Close what lines are left, and see them detached; bounded by *patience* seconds."""
        with trio.move_on_after(patience):
            async with trio.open_nursery() as nursery:
                for line in list(self.conversation.teller.lines):
                    nursery.start_soon(line.close)
        self.conversation.teller.lines.clear()

    # -- for anybody ------------------------------------------------------------------------------

    def leave(self, reason: EndReason, *, goodbye: bool = True) -> None:
        """Have the agent say goodbye, or not, and hang up."""
        if not self._begun.is_set():
            self._early = reason
            self._begun.set()
        self.conversation.post(t.Leave(reason, goodbye))

    @property
    def begun(self) -> bool:
        """Whether the conversation has begun."""
        return self._begun.is_set() and self._early is None

    async def transfer(self, to: str, mode: p.TransferMode, line: Line | None = None) -> None:
        """Hand the caller over; `Forbidden` for what is not the agent's target, `NotSupported`."""
        far_end = line or self._far_end
        await hand_over(to, mode, self.conversation.agent, far_end, self.conversation.teller.tell)

    async def send_digits(self, digits: str, method: str, line: Line | None = None) -> None:
        """Send digits to the far end; `NotSupported`."""
        await (line or self._far_end).send_digits(digits, method)
        self.note("dtmf.send", {"digits": digits, "method": method})

    async def hold(self, *, on: bool, music: bool = False) -> None:
        """Pause the conversation, with music or in silence, or go on with it; harmless twice. `Conflict`."""
        if on:
            self._pause(trio.current_time())
        else:
            self._go_on()
        await self.conversation.set_hold(on=on, music=music)

    def control_recording(self, action: Literal["start", "stop", "pause", "resume"]) -> None:
        """Record, or do not; harmless twice. `NotSupported` without a place for recordings, `Conflict`."""
        recording, asking = self.conversation.recording, self.conversation.asking
        if recording is None:
            raise NotSupported("nothing is recorded here")
        now = trio.current_time()
        if action in {"start", "resume"}:
            if self.conversation.agent.consent is not None and not (asking and asking.granted):
                raise Conflict("the caller has not agreed to it")
            recording.resume(now)
        elif not recording.idle:
            recording.pause(now)
        self.note(f"recording.{action}", {})

    @property
    def _far_end(self) -> Line:
        if self._line is None:
            raise Conflict("nobody is connected to the call", "call_not_live")
        return self._line

    def fail(self, error: BaseException) -> None:
        """End the call for an error of one of its lines."""
        log.error("line_failed", call_id=self.id, exc_info=error)
        self.leave(EndReason.ERROR, goodbye=False)

    # -- for a line -------------------------------------------------------------------------------

    async def serve(self, line: Line, *, listening: bool = False) -> None:
        """
        Feed the call from *line* until either is over; runs in the line's own task.

        A second talking line takes over: the old one closes 4001 ``replaced``. A *listening* one is not heard.
        """
        lines = self.conversation.teller.lines
        old = None
        if listening:
            lines.append(line)
        else:
            old, self._line = self._line, line
            lines.insert(0, line)
            if old is not None:
                lines.remove(old)
        try:
            async with trio.open_nursery() as nursery:
                if old is not None:  # one whose network is gone takes its time, in which the new one is heard
                    nursery.start_soon(old.close, 4001, "replaced")
                await self._read(line, listening=listening)
        except* Exception as group:
            if listening or self._line is not line:
                raise
            self.fail(first_of(group))
        finally:
            if line in lines:
                lines.remove(line)
            if self._line is line:
                self._line = None
                self._hung_up()

    async def _read(self, line: Line, *, listening: bool) -> None:
        hear = _ignore if listening else self._hear
        while True:
            inbound = await line.receive(hear)
            if isinstance(inbound, HungUp) or self._over:
                return
            try:
                if not listening:
                    await self._take(inbound, line)
                elif not isinstance(inbound, p.Start):
                    raise Forbidden(f"this socket only listens: it may not send `{p.kind(inbound)}`")
            except InvortoError as error:
                line.tell(p.ErrorMessage(code=_code(error), message=str(error), fatal=False), self.next_id())

    def _hear(self, samples: Samples, at: float) -> None:
        if self._over:
            return
        if not self._begun.is_set():
            self._begin(None)
        self.ears.hear(samples, at)

    def _pause(self, now: float) -> None:
        if not self.ears.deaf:
            self.ears.pause(now)
            self.note("call.paused", {})

    def _go_on(self) -> None:
        if self.ears.deaf:
            self.ears.resume()
            self.note("call.resumed", {})

    def _hung_up(self) -> None:
        if not self._begun.is_set():
            self._early = EndReason.HANGUP
            self._begun.set()
        self.conversation.post(t.CallerLeft(EndReason.HANGUP))

    def _begin(self, start: p.Start | None) -> None:
        if self._begun.is_set():
            return
        if start is not None and (start.variables or start.locale):
            self.conversation.change(self.resolve(start.variables or {}, start.locale))
        self._begun.set()

    async def _take(self, message: p.ClientMessage, line: Line) -> None:
        now, post = trio.current_time(), self.conversation.post
        self.conversation.measures.ws_event(p.kind(message))
        match message:
            case p.Start():
                self._begin(message)
            case p.Text(text):
                self._begin(None)
                post(t.Typed(text))
            case p.ToolResult():
                if not self.conversation.toolbox.answered(message):
                    raise Invalid(f"no tool call {message.id!r} awaits an answer - at `$.id`")
            case p.Mark(name):
                self.conversation.mouth.played(name)
            case p.Pause():
                self._pause(now)
                post(t.Held(on=True))
            case p.Resume():
                self._go_on()
                post(t.Held(on=False))
            case p.ConfigChange(config):
                await self._change(config)
                self.ears.vad.expect(self.conversation.agent.interruption.barge_in_ms)
                self.note("config.updated", {"fields": sorted(config)})
            case p.DtmfSend(digits, method):
                await self.send_digits(digits, method or "rfc2833", line)
            case p.Transfer(to, mode):
                await self.transfer(to, mode or "blind", line)
            case p.End():
                self._hung_up()
            case _:
                pass

    async def _change(self, config: Mapping[str, Any]) -> None:
        """Go on with another configuration, and with other engines where it names them."""
        agent = change_live(self.conversation.agent, config)
        voices = await self.voices(agent)
        self.conversation.change(agent)
        self.conversation.llm, self.conversation.tts = voices.llm, voices.tts
        if "tools" in config:
            await self.conversation.toolbox.equip(agent)

    def note(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Keep something on the call's timeline."""
        self.conversation.teller.note(kind, payload)


def _ignore(samples: Samples, at: float) -> None:
    """Hear nothing: this line only listens."""


def _code(error: InvortoError) -> str:
    match error:
        case Invalid() | UsageError():
            return "bad_message"
        case Forbidden():
            return "forbidden"
        case NotSupported():
            return "not_supported"
        case _:
            return "internal_error"
