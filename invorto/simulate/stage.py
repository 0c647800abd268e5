"""The stage of a simulated call: a house in memory, a line in memory, and all that is told and left."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, override

import attrs
import msgspec
import numpy as np
import trio

from invorto.errors import NotSupported
from invorto.model.agent import AgentConfig
from invorto.model.agent_document import Document, resolve
from invorto.model.call import Call, CallStatus, Direction
from invorto.model.record import FinishedCall, OutboxEvent, TimelineEvent
from invorto.observability.metrics import Metrics
from invorto.realtime import protocol as p
from invorto.realtime.call import Book, House, Ledger, Ticket, run_call
from invorto.realtime.capacity import Capacity
from invorto.realtime.line import Hear, HungUp, Inbound, Line
from invorto.realtime.live import LiveCalls
from invorto.realtime.livecall import LiveCall
from invorto.realtime.slots import Caps
from invorto.realtime.teller import TimelineSink
from invorto.realtime.voices import Voices
from invorto.simulate.engines import ToldStt
from invorto.speech.ports import Llm, Samples
from invorto.speech.scripted import Script, ScriptedTts, Timetable
from invorto.speech.vad.level import LevelVad
from invorto.storage.fake_leases import FakeLeases, LeaseBook

RATE = 8000
FRAME, SLOW_FRAME = 0.02, 0.1
"""Seconds of a frame; the second where nothing happens."""
LOUD = np.full(int(RATE * FRAME), 3000, np.int16)
QUIET = np.zeros(int(RATE * FRAME), np.int16)
SLOW = np.zeros(int(RATE * SLOW_FRAME), np.int16)
VOICE_MS = 120
"""Milliseconds that a sentence takes to sound."""
ENGINES: Document = {"stt": {"provider": "told"}, "tts": {"provider": "scripted"}}


@attrs.define(eq=False)
class MemoryLine(Line):
    """A line to a simulated caller, who answers tools."""

    tools: Mapping[str, Any]
    rate: int = RATE
    lead: float = 0.2
    marks: bool = False
    heard_at: float | None = None
    """When audio last came."""
    turn_heard: int = -1
    turn_began: float = 0.0
    """The turn whose audio came last, and when its first did."""
    said: list[p.TtsDone] = attrs.field(factory=list[p.TtsDone])
    closed: tuple[int, str] | None = None
    _answered: dict[str, int] = attrs.field(factory=dict[str, int])
    _send: trio.MemorySendChannel[Inbound | Samples] = attrs.field(init=False)
    _inbox: trio.MemoryReceiveChannel[Inbound | Samples] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._inbox = trio.open_memory_channel[Inbound | Samples](10_000)

    @override
    async def receive(self, hear: Hear) -> Inbound:
        """Wait for what the caller does."""
        while not self.closed:
            inbound = await self._inbox.receive()
            if not isinstance(inbound, np.ndarray):
                return inbound
            hear(inbound, trio.current_time())
        return HungUp(1000)

    @override
    def play(self, samples: Samples, *, turn: int) -> None:
        """Note when it was."""
        self.heard_at = trio.current_time()
        if turn != self.turn_heard:
            self.turn_heard, self.turn_began = turn, self.heard_at

    @override
    def mark(self, name: str, *, turn: int, text: str) -> None:
        """Need none."""

    @override
    def clear(self) -> None:
        """Have played nothing."""

    @override
    def tell(self, message: p.ServerMessage, event_id: str) -> None:
        """Answer tools, and note what was said."""
        match message:
            case p.ToolCallMessage(name):
                self.do(self._result(event_id, name))
            case p.TtsDone():
                self.said.append(message)
            case _:
                pass

    def _result(self, call: str, name: str) -> p.ToolResult:
        number = self._answered[name] = self._answered.get(name, -1) + 1
        answer = self.tools.get(name, {"ok": True})
        if isinstance(answer, list):
            answer = answer[min(number, len(answer) - 1)] if answer else None
        if isinstance(answer, dict) and set(answer) == {"error"}:
            return p.ToolResult(id=call, error=str(answer["error"]))
        return p.ToolResult(id=call, result=msgspec.to_builtins(answer))

    @override
    async def transfer(self, to: str, mode: str) -> None:
        """Take it for done."""
        await trio.lowlevel.checkpoint()

    @override
    async def send_digits(self, digits: str, method: str) -> None:
        """Refuse."""
        raise NotSupported("a simulated caller has no keys")

    @override
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close."""
        if self.closed is None:
            self.closed = (code, reason)
            self.do(HungUp(code))
        await trio.lowlevel.checkpoint()

    def do(self, what: Inbound | Samples) -> None:
        """Bring a message, a frame, or the end."""
        self._send.send_nowait(what)


@attrs.define
class Books(Ledger, Book, TimelineSink):
    """What a call leaves, in memory."""

    finished: FinishedCall | None = None
    facts: list[OutboxEvent] = attrs.field(factory=list[OutboxEvent])
    events: list[TimelineEvent] = attrs.field(factory=list[TimelineEvent])

    @override
    async def begin(self, call: Call, agent: AgentConfig, started_at: datetime, *, epoch: int, new: bool) -> Call:
        """Take it as begun."""
        await trio.lowlevel.checkpoint()
        return attrs.evolve(call, status=CallStatus.ACTIVE, started_at=started_at, epoch=epoch)

    @override
    async def finish(self, finished: FinishedCall) -> None:
        """Keep it."""
        await trio.lowlevel.checkpoint()
        self.finished = finished

    @override
    def note(self, call_id: str, tenant_id: str, event: OutboxEvent) -> None:
        """Keep a fact."""
        self.facts.append(event)

    @override
    def append(self, call_id: str, event: TimelineEvent) -> None:
        """Keep an event."""
        self.events.append(event)

    @override
    async def expire(self, call_id: str) -> None:
        """Keep it all."""
        await trio.lowlevel.checkpoint()


@attrs.frozen(kw_only=True)
class Stage:
    """One call while it lasts."""

    line: MemoryLine
    stt: ToldStt
    call: LiveCall
    books: Books
    over: trio.Event
    began: float

    @property
    def now(self) -> float:
        """Seconds of the call."""
        return trio.current_time() - self.began


@asynccontextmanager
async def open_stage(
    document: Document, *, llm: Llm, tools: Mapping[str, Any], variables: Mapping[str, str], wall: float,
    direction: Direction = Direction.WEB,
) -> AsyncGenerator[Stage]:  # fmt: skip
    """Open a call to an agent of *document*; at the end it is over, one way or another. For a virtual clock."""
    timetable, books, began = Timetable(), Books(), trio.current_time()
    stt = ToldStt(timetable)
    voices = Voices(vad=LevelVad(), stt=stt, llm=llm, tts=ScriptedTts(Script(tts_ms=VOICE_MS)))

    async def choose(_: AgentConfig) -> Voices:
        await trio.lowlevel.checkpoint()
        return voices

    def clock() -> float:
        return wall + trio.current_time() - began

    live = LiveCalls(1)
    capacity = Capacity(leases=FakeLeases(LeaseBook(opens=0), "n_1", 30), live=live, caps=Caps(), wall=clock)
    house = House(
        live=live, capacity=capacity, book=books, ledger=books, timeline=books, recorder=None, voices=choose,
        wall=clock, measures=Metrics(), usd_inr=87.0, longest=86_400.0,
        emotion={"window_ms": 250, "threshold_db": -50.0, "min_hold": 2},
    )  # fmt: skip
    call = Call(
        id="simulated", tenant_id="t_simulated", agent_id="a_simulated", agent_version=1, direction=direction,
        status=CallStatus.CREATED, epoch=0, created_at=datetime.fromtimestamp(wall, UTC), variables=dict(variables),
    )  # fmt: skip
    ticket = Ticket(
        call=call, new=True, rate=RATE, lead=0.2, holder="caller",
        resolve=lambda values, _: resolve(document, ENGINES, {**variables, **values}),
    )  # fmt: skip
    line, over = MemoryLine(tools), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(capacity.run)
        nursery.start_soon(timetable.run)  # noqa: ASYNC113 - it takes what was asked before it ran
        async with trio.open_nursery() as calls:

            async def hold(*, task_status: trio.TaskStatus[LiveCall]) -> None:  # noqa: ASYNC128 - passed on
                await run_call(ticket, house, task_status=task_status)
                over.set()

            live_call = await calls.start(hold)
            calls.start_soon(live_call.serve, line)  # noqa: ASYNC113 - the line keeps what is sent
            line.do(p.Start())
            yield Stage(line=line, stt=stt, call=live_call, books=books, over=over, began=trio.current_time())
            if not over.is_set():
                line.do(HungUp(1000))
                await over.wait()
        nursery.cancel_scope.cancel()
