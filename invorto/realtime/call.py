"""A call is a nursery: what it opens it closes, and when `run_call` returns nothing of it is alive."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import attrs
import structlog
import trio

from invorto.errors import InvortoError, StoreUnavailable, first_of
from invorto.model.agent import AgentConfig
from invorto.model.call import Call, Direction, EndReason
from invorto.model.event_ids import EventClock
from invorto.model.pii import redactor_of
from invorto.model.record import FinishedCall
from invorto.observability.metrics import Metrics
from invorto.realtime.analyst import Analyst
from invorto.realtime.beep import BeepDetector
from invorto.realtime.capacity import Capacity
from invorto.realtime.closing import begun
from invorto.realtime.conversation import Conversation
from invorto.realtime.costs import Meter
from invorto.realtime.deadlines import Deadlines
from invorto.realtime.ears import Ears
from invorto.realtime.emotion import EmotionWindows
from invorto.realtime.finish import finished
from invorto.realtime.live import LiveCalls
from invorto.realtime.livecall import LiveCall
from invorto.realtime.onsets import Onsets
from invorto.realtime.recording import Recorder, Recording
from invorto.realtime.teller import FactSink, Teller, TimelineSink
from invorto.realtime.tools import Toolbox
from invorto.realtime.voicemail import Screen
from invorto.realtime.voices import Voices
from invorto.tools.equipment import Equipping

log = structlog.get_logger(__name__)


class Ledger(FactSink, Protocol):
    """Where what a call leaves is kept."""

    async def finish(self, finished: FinishedCall) -> None:
        """Keep it; returns when it is safe."""
        ...


class Book(Protocol):
    """Where it is written that a call goes on."""

    async def begin(self, call: Call, agent: AgentConfig, started_at: datetime, *, epoch: int, new: bool) -> Call:
        """Write that the call is active, creating its row where there is none; gives it as it is kept now."""
        ...


@attrs.frozen(kw_only=True)
class House:
    """What the calls of a process share."""

    live: LiveCalls
    capacity: Capacity
    book: Book
    ledger: Ledger
    timeline: TimelineSink
    recorder: Recorder | None
    voices: Callable[[AgentConfig], Awaitable[Voices]]
    """Chooses a call's engines, and opens them where nobody has yet."""
    wall: Callable[[], float]
    """Unix time, seconds."""
    measures: Metrics
    prewarm: Callable[[AgentConfig, Voices, int], Awaitable[None]] | None = None
    """Prepares engines and a call's first words while its client has not begun yet."""
    equipping: Equipping | None = None
    """Finds the tools that agents name, and runs those that are elsewhere."""
    speculate: bool = False
    """Whether thinking begins at the first pause, before it is known to be the last."""
    usd_inr: float
    emotion: Mapping[str, Any]
    """Settings of the emotion windows."""
    longest: float
    """Seconds of the longest call."""
    analyst: Analyst | None = None
    """Has models look at calls that are over."""
    address: str = ""
    """The public origin, which links in webhooks begin with; without one they begin with the path."""
    deadlines: Deadlines = attrs.field(factory=Deadlines)


@attrs.frozen(kw_only=True)
class Ticket:
    """A call that was let in."""

    call: Call
    """Its row, or what its row is to be."""
    rate: int
    lead: float
    new: bool = False
    """Whether it has no row yet."""
    adopting: bool = False
    """Whether its slot may be reserved on another node already."""
    holder: str
    """Whose call it is: a fingerprint of the credential."""
    resolve: Callable[[Mapping[str, str], str | None], AgentConfig]
    """Makes the agent's configuration of the variables and locale that a client brings."""


async def run_call(  # noqa: ASYNC128 - it is passed on to whoever knows
    ticket: Ticket, house: House, *, task_status: trio.TaskStatus[LiveCall] = trio.TASK_STATUS_IGNORED
) -> None:
    """
    Hold one call from its first row to its last.

    Reports `started` with the live call once its line may be attached. Before that, every error is the starter's
    (`LimitReached`, `StoreUnavailable` …). After it none leaves here but cancellation: a failing call ends as
    ``failed`` and hurts no other.
    """
    agent = ticket.resolve(ticket.call.variables, None)
    voices = await house.voices(agent)
    async with house.capacity.slot(ticket.call, local_engines=voices.local, adopting=ticket.adopting) as slot:
        wall, now = house.wall(), trio.current_time()
        started_at = datetime.fromtimestamp(wall, UTC)
        call = await _begin(ticket, house, agent, started_at, slot.epoch)
        teller = Teller(
            call.id, call.tenant_id, house.timeline, house.ledger, EventClock(wall, now), trio.current_time,
            redactor_of(agent),
        )  # fmt: skip
        with structlog.contextvars.bound_contextvars(call_id=call.id, tenant_id=call.tenant_id):
            life = _Life(ticket, house, call, agent, voices, teller, now, started_at)
            failure = None
            try:
                await life.live(task_status)
            except* Exception as group:  # noqa: BLE001 - one of the three edges where errors are contained: a call
                failure = first_of(group)
            finally:
                with trio.move_on_after(house.deadlines.finish, shield=True):
                    with _going_on("finish"):
                        await life.finish(failure)
                    with _going_on("lines"):
                        await life.let_go()
            if failure is not None:
                if life.live_call is None:
                    raise failure
                log.error("call_failed", exc_info=failure)


async def _begin(ticket: Ticket, house: House, agent: AgentConfig, started_at: datetime, epoch: int) -> Call:
    with trio.move_on_after(house.deadlines.begin, shield=True):
        return await house.book.begin(ticket.call, agent, started_at, epoch=epoch, new=ticket.new)
    raise StoreUnavailable("the call's row could not be written in time")


@contextmanager
def _going_on(what: str) -> Generator[None]:
    """Log an error of one part of a call's end: it must not keep the others from being done, nor reach another call."""
    try:
        yield
    except Exception as error:
        expected = isinstance(error, InvortoError)
        log.error("call_end_failed", part=what, error=str(error), exc_info=None if expected else error)


@attrs.define
class _Life:
    """A call from its row to its record."""

    ticket: Ticket
    house: House
    call: Call
    agent: AgentConfig
    voices: Voices
    teller: Teller
    began: float
    started_at: datetime
    reason: EndReason | None = None
    recording: Recording | None = None
    live_call: LiveCall | None = None

    async def live(self, status: trio.TaskStatus[LiveCall]) -> None:
        """Open what the call needs, and hold the conversation."""
        agent, house, voices, teller = self.agent, self.house, self.voices, self.teller
        async with AsyncExitStack() as stack:
            self.recording = await self._record(stack)
            conversation = Conversation(
                call_id=self.call.id, agent=agent, rate=self.ticket.rate, lead=self.ticket.lead, llm=voices.llm,
                tts=voices.tts, teller=teller, toolbox=self._toolbox(), recording=self.recording,
                deadlines=house.deadlines, measures=house.measures, speculate=house.speculate,
                used=Meter(note=teller.note),
            )  # fmt: skip
            conversation.turns.ends_at = self.began + min(agent.max_duration or house.longest, house.longest)
            ears = await self._open_ears(stack, conversation)
            live = LiveCall(
                call=self.call, holder=self.ticket.holder, rate=self.ticket.rate, conversation=conversation, ears=ears,
                resolve=self.ticket.resolve, voices=house.voices,
            )  # fmt: skip
            stack.enter_context(house.live.registered(live))
            facts = {"agentId": self.call.agent_id, "direction": str(self.call.direction), "rate": self.ticket.rate}
            teller.note("call.started", facts)
            for type_, data in begun(self.call, self.started_at):
                teller.fact(type_, data)
            self.live_call = live
            status.started(live)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(conversation.toolbox.equip, agent)
                if house.prewarm is not None:
                    nursery.start_soon(house.prewarm, agent, voices, self.ticket.rate)
                self.reason = await live.talk()
                nursery.cancel_scope.cancel()

    async def finish(self, failure: BaseException | None) -> None:
        """Write down what the call leaves."""
        now, live = trio.current_time(), self.live_call
        # Cut off from outside: by the end of the house, or since it was not set up in time.
        cut = EndReason.DRAINED if self.house.live.draining else EndReason.ERROR
        reason = EndReason.ERROR if failure is not None else self.reason or cut
        if live is not None:
            with _going_on("mouth"):
                live.conversation.last_words(now)
            with _going_on("farewell"):
                live.over(reason)
        record = partial(
            finished, self.call, self.agent, reason, teller=self.teller,
            started_at=self.started_at, duration=now - self.began, usd_inr=self.house.usd_inr, rate=self.ticket.rate,
            address=self.house.address,
            analysed=self.house.analyst is not None and self.house.analyst.wanted(self.agent),
        )  # fmt: skip
        done = None
        with _going_on("record"):
            done = record(conversation=live.conversation if live else None, recording=self.recording)
        # Better no transcript than a call that never ends.
        done = done or record(conversation=None, recording=None)
        with _going_on("ledger"):  # neither stored nor on disk: the ledger still holds it
            await self.house.ledger.finish(done)
            if done.order is not None and self.house.analyst is not None:
                self.house.analyst.stir()
        self.house.measures.call_ended(done)
        await self.house.timeline.expire(self.call.id)

    def _toolbox(self) -> Toolbox:
        return Toolbox(self.teller, self.call.id, self.call.tenant_id, self.house.equipping)

    async def let_go(self) -> None:
        """Close what lines are left."""
        if self.live_call is not None:
            await self.live_call.close(self.house.deadlines.goodbye)

    async def _record(self, stack: AsyncExitStack) -> Recording | None:
        wanted = self.agent.recording.enabled if self.call.recording is None else self.call.recording
        if self.house.recorder is None:
            return None
        recording = await stack.enter_async_context(
            self.house.recorder.record(
                f"{self.call.tenant_id}/{self.call.id}.wav", rate=self.ticket.rate, stereo=self.agent.recording.stereo,
                began=self.began,
            )
        )  # fmt: skip
        if not wanted:
            recording.stand_by()
        elif self.agent.consent is not None:
            recording.pause(self.began)
        else:
            self.teller.note("recording.start", {})
        return recording

    def _spoke(self, began: float, ended: float) -> None:
        """Keep when the caller spoke, words or not: what a replay is made of."""
        self.teller.note("caller.spoke", {"began": round(began - self.began, 3), "ended": round(ended - self.began, 3)})

    async def _open_ears(self, stack: AsyncExitStack, conversation: Conversation) -> Ears:
        rate, voices = self.ticket.rate, self.voices
        post, beeps = conversation.post, None
        if self.agent.voicemail.detect and self.call.direction is not Direction.INBOUND:
            screen = Screen(
                settings=self.agent.voicemail, pass_on=post, note=self.teller.note, clock=trio.current_time,
                began=self.began,
            )  # fmt: skip
            post, beeps = screen.post, BeepDetector(rate, screen.beep)
        ear = await stack.enter_async_context(voices.stt.listen(self.agent.stt, rate, post))
        turn = voices.turn.attach(rate, conversation.post) if voices.turn is not None else None
        if turn is not None:
            stack.callback(turn.close)
        onsets = Onsets(ear, post, conversation.mouth.echo, self.house.measures.echo_withheld, turn, self._spoke)
        conversation.used.listened = getattr(ear, "used", {})
        detector = voices.vad.attach(rate, onsets.notify)
        stack.callback(detector.close)
        detector.expect(self.agent.interruption.barge_in_ms)
        emotion = None
        if self.agent.emotion.windows:
            settings = self.house.emotion
            states = self.agent.emotion.states or settings.get("states", False)
            emotion = EmotionWindows(rate, conversation.mood.told(self.teller.tell), **{**settings, "states": states})
            self.teller.watch.window = settings["window_ms"] / 1000
        return Ears(detector, ear, onsets, self.recording, emotion, turn, beeps)
