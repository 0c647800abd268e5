"""A stage for whole calls in virtual time: a line in memory, scripted engines, and everything written down."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs
import numpy as np
import trio

from invorto.errors import NotSupported
from invorto.model.agent import AgentConfig
from invorto.model.agent_document import resolve
from invorto.model.call import Call, CallStatus, Direction
from invorto.model.record import FinishedCall, OutboxEvent, TimelineEvent, TurnMetrics
from invorto.observability.metrics import Metrics
from invorto.realtime import protocol as p
from invorto.realtime.call import House, Ticket, run_call
from invorto.realtime.capacity import Capacity
from invorto.realtime.deadlines import Deadlines
from invorto.realtime.line import Hear, HungUp, Inbound
from invorto.realtime.live import LiveCalls
from invorto.realtime.livecall import LiveCall
from invorto.realtime.slots import Caps
from invorto.realtime.voices import Voices
from invorto.speech.ports import Llm, Samples, Stt, Tts, TurnModel
from invorto.speech.scripted import Script, ScriptedLlm, ScriptedStt, ScriptedTts, Timetable
from invorto.speech.vad.level import LevelVad
from invorto.storage.fake_leases import FakeLeases, LeaseBook

RATE = 8000
FRAME = 0.02
LOUD = np.full(int(RATE * FRAME), 3000, np.int16)
QUIET = np.zeros(int(RATE * FRAME), np.int16)
WALL = 1_700_000_000.0
DEFAULTS: Mapping[str, Any] = {
    "stt": {"provider": "scripted"}, "llm": {"provider": "scripted"}, "tts": {"provider": "scripted"},
    "emotion": {"windows": False},
}  # fmt: skip


@attrs.define(eq=False)
class MemoryLine:
    """A line to a caller who is a test: speaks in frames of 20 ms, and notes what comes back and when."""

    rate: int = RATE
    lead: float = 0.2
    marks: bool = False
    played: list[tuple[float, int, int]] = attrs.field(factory=list)
    """When audio came, the turn it is of, and its samples."""
    told: list[tuple[float, p.ServerMessage]] = attrs.field(factory=list)
    ids: list[str] = attrs.field(factory=list)
    clears: list[float] = attrs.field(factory=list)
    mark_names: list[str] = attrs.field(factory=list)
    closed: tuple[int, str] | None = None
    _send: trio.MemorySendChannel[Inbound | Samples] = attrs.field(init=False)
    _inbox: trio.MemoryReceiveChannel[Inbound | Samples] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._inbox = trio.open_memory_channel[Inbound | Samples](10_000)

    async def receive(self, hear: Hear) -> Inbound:
        """Wait for what the test sends."""
        while not self.closed:
            inbound = await self._inbox.receive()
            if not isinstance(inbound, np.ndarray):
                return inbound
            hear(inbound, trio.current_time())
        return HungUp(1000)

    def play(self, samples: Samples, *, turn: int) -> None:
        """Note audio."""
        self.played.append((round(trio.current_time(), 4), turn, len(samples)))

    def mark(self, name: str, *, turn: int, text: str) -> None:
        """Note a mark."""
        self.mark_names.append(name)

    def clear(self) -> None:
        """Note a clear."""
        self.clears.append(round(trio.current_time(), 4))

    def tell(self, message: p.ServerMessage, event_id: str) -> None:
        """Note a message."""
        self.told.append((round(trio.current_time(), 4), message))
        self.ids.append(event_id)

    async def transfer(self, to: str, mode: str) -> None:
        """Refuse."""
        raise NotSupported("no")

    async def send_digits(self, digits: str, method: str) -> None:
        """Refuse."""
        raise NotSupported("no")

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close."""
        if self.closed is None:
            self.closed = (code, reason)
            self._send.send_nowait(HungUp(code))
        await trio.lowlevel.checkpoint()

    # -- for tests --------------------------------------------------------------------------------

    def say(self, message: p.ClientMessage) -> None:
        """Send a message."""
        self._send.send_nowait(message)

    def drop(self, code: int | None = None) -> None:
        """Hang up, or be lost."""
        self._send.send_nowait(HungUp(code))

    def hear(self, samples: Samples) -> None:
        """Bring a frame of the caller's."""
        self._send.send_nowait(samples)

    async def speak(self, seconds: float) -> None:
        """Make a speech-like sound, in real time."""
        await self._sound(LOUD, seconds)

    async def wait(self, seconds: float) -> None:
        """Be silent, in real time."""
        await self._sound(QUIET, seconds)

    async def _sound(self, frame: Samples, seconds: float) -> None:
        for _ in range(round(seconds / FRAME)):
            await trio.sleep(FRAME)
            self._send.send_nowait(frame)

    def of[T](self, kind: type[T]) -> list[tuple[float, T]]:
        """List the messages of one kind, and when they came."""
        return [(at, message) for at, message in self.told if isinstance(message, kind)]


@attrs.define
class Books:
    """Ledger, timeline and book in memory."""

    finished: list[FinishedCall] = attrs.field(factory=list)
    facts: list[OutboxEvent] = attrs.field(factory=list)
    events: list[TimelineEvent] = attrs.field(factory=list)
    begun: list[Call] = attrs.field(factory=list)
    failing: Exception | None = None
    """Raised by `begin`."""
    full: Exception | None = None
    """Raised by `finish`."""

    async def begin(self, call: Call, agent: AgentConfig, started_at: datetime, *, epoch: int, new: bool) -> Call:
        """Write down that a call is active."""
        await trio.lowlevel.checkpoint()
        if self.failing is not None:
            raise self.failing
        self.begun.append(attrs.evolve(call, status=CallStatus.ACTIVE, started_at=started_at, epoch=epoch))
        return self.begun[-1]

    async def finish(self, finished: FinishedCall) -> None:
        """Write down what a call left."""
        await trio.lowlevel.checkpoint()
        if self.full is not None:
            raise self.full
        self.finished.append(finished)

    def note(self, call_id: str, tenant_id: str, event: OutboxEvent) -> None:
        """Write down a fact."""
        self.facts.append(event)

    def append(self, call_id: str, event: TimelineEvent) -> None:
        """Write down an event."""
        self.events.append(event)

    async def expire(self, call_id: str) -> None:
        """Nothing."""
        await trio.lowlevel.checkpoint()

    def kinds(self) -> list[str]:
        """Name what is on the timeline."""
        return [event.kind for event in self.events]


@attrs.frozen(kw_only=True)
class Stage:
    """One call, its line, and all that is written down."""

    line: MemoryLine
    call: LiveCall
    books: Books
    house: House
    began: float
    over: trio.Event
    scope: trio.CancelScope

    @property
    def now(self) -> float:
        """Seconds since the stage was set."""
        return round(trio.current_time() - self.began, 4)

    @property
    def metrics(self) -> list[TurnMetrics]:
        """How quick each turn was."""
        return self.call.conversation.mouth.metrics

    @property
    def record(self) -> FinishedCall:
        """What the call left."""
        (record,) = self.books.finished
        return record

    def transcript(self) -> list[tuple[str, str]]:
        """Give who said what."""
        return [(u.role, u.text) for u in self.record.transcript]


@asynccontextmanager
async def open_house(
    script: Mapping[str, Any] | Script | None = None,
    *,
    stt: Callable[[Timetable, Script], Stt] | None = None,
    llm: Llm | None = None,
    tts: Tts | None = None,
    turn: TurnModel | None = None,
    voices: Voices | None = None,
    limit: int = 10,
    deadlines: Deadlines | None = None,
    recorder: Any = None,
    speculate: bool = False,
    equipping: Any = None,
) -> AsyncGenerator[tuple[House, Books]]:
    """Open what calls share, all of it in memory."""
    told = script if isinstance(script, Script) else Script.parse(dict(script or {}))
    timetable, books = Timetable(), Books()
    voices = voices or Voices(
        vad=LevelVad(),
        stt=stt(timetable, told) if stt else ScriptedStt(told, timetable),
        llm=llm or ScriptedLlm(told),
        tts=tts or ScriptedTts(told),
        turn=turn,
    )

    async def choose(_: AgentConfig) -> Voices:
        await trio.lowlevel.checkpoint()
        return voices

    began, live = trio.current_time(), LiveCalls(limit)
    leases = FakeLeases(LeaseBook(opens=0), "n_1", 30)
    capacity = Capacity(leases=leases, live=live, caps=Caps(), wall=lambda: WALL + trio.current_time() - began)
    house = House(
        live=live, capacity=capacity, book=books, ledger=books, timeline=books, recorder=recorder, voices=choose,
        wall=lambda: WALL + trio.current_time() - began, measures=Metrics(), usd_inr=87.0, longest=1800.0,
        emotion={"window_ms": 250, "threshold_db": -50.0, "min_hold": 2}, deadlines=deadlines or Deadlines(),
        speculate=speculate, equipping=equipping,
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(capacity.run)
        nursery.start_soon(timetable.run)  # noqa: ASYNC113 - it takes what was asked before it ran
        yield house, books
        nursery.cancel_scope.cancel()


def ticket(document: Mapping[str, Any] | None = None, call_id: str = "c_1", holder: str = "h") -> Ticket:
    """Make the ticket of a call to an agent with *document*."""
    call = Call(
        id=call_id, tenant_id="t_1", agent_id="a_1", agent_version=1, direction=Direction.WEB,
        status=CallStatus.CREATED, epoch=0, created_at=datetime.fromtimestamp(WALL, UTC),
    )  # fmt: skip

    def make(variables: Mapping[str, str], locale: str | None) -> AgentConfig:
        return resolve({**(document or {}), **({"locale": locale} if locale else {})}, DEFAULTS, variables)

    return Ticket(call=call, new=True, rate=RATE, lead=0.2, holder=holder, resolve=make)


@asynccontextmanager
async def open_stage(
    document: Mapping[str, Any] | None = None,
    script: Mapping[str, Any] | Script | None = None,
    *,
    start: p.ClientMessage | None = None,
    line: MemoryLine | None = None,
    **more: Any,
) -> AsyncGenerator[Stage]:
    """Open a call whose client has just said ``start``; at the end the call is over, one way or another."""
    async with open_house(script, **more) as (house, books), trio.open_nursery() as nursery:
        line, over = line or MemoryLine(), trio.Event()
        scope = trio.CancelScope()

        async def live(*, task_status: trio.TaskStatus[LiveCall]) -> None:  # noqa: ASYNC128 - passed on
            with scope:
                await run_call(ticket(document), house, task_status=task_status)
            over.set()

        began = trio.current_time()
        call = await nursery.start(live)
        nursery.start_soon(partial(call.serve, line))  # noqa: ASYNC113 - the line keeps what is sent
        line.say(start or p.Start())
        yield Stage(line=line, call=call, books=books, house=house, began=began, over=over, scope=scope)
        if not over.is_set():
            line.drop()
            await over.wait()
