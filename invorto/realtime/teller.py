"""Tells what happens in a call, under one id, to everybody who wants to know: clients, timeline, ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs
import msgspec

from invorto.model.event_ids import EventClock
from invorto.model.facts import make_fact
from invorto.model.pii import Redactor
from invorto.model.record import OutboxEvent, TimelineEvent
from invorto.realtime.line import Line
from invorto.realtime.protocol import (
    BargeIn,
    ConfigChange,
    EmotionWindow,
    LlmDelta,
    Pong,
    ServerMessage,
    SttPartial,
    TtsChunk,
    TtsMark,
    kind,
)
from invorto.realtime.watch import Flag, Watch


class TimelineSink(Protocol):
    """Where events go for later readers."""

    def append(self, call_id: str, event: TimelineEvent) -> None:
        """Take in an event; never blocks."""
        ...

    async def expire(self, call_id: str) -> None:
        """Learn that a call is over, and its timeline may go after a while."""
        ...


class FactSink(Protocol):
    """Where facts for webhooks go."""

    def note(self, call_id: str, tenant_id: str, event: OutboxEvent) -> None:
        """Take in a fact; never blocks."""
        ...


PASSING = (TtsChunk, TtsMark, LlmDelta, EmotionWindow, Pong, SttPartial, ConfigChange)
"""What a client is told and nobody keeps: there is too much of it, or its end says it all."""
_KINDS: Mapping[type[ServerMessage], str] = {BargeIn: "bargein.detected"}


@attrs.define
class Teller:
    """The one who gives ids; an event never waits for a store."""

    call_id: str
    tenant_id: str
    timeline: TimelineSink
    facts: FactSink
    ids: EventClock
    now: Callable[[], float]
    """Trio time."""
    redactor: Redactor | None = None
    """Takes personal data out of what is kept and published; clients are told what was said."""
    lines: list[Line] = attrs.field(factory=list)
    """The clients, the talking one first."""
    kept: list[tuple[str, str, bytes]] = attrs.field(factory=list)
    """The timeline so far: id, kind, payload as JSON."""
    watch: Watch = attrs.field(init=False)
    """Sees all that is told."""
    _began: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self.now()
        self.watch = Watch(self._flag)

    def tell(self, message: ServerMessage, *, keep: bool | None = None) -> str:
        """Tell the clients, and keep it on the timeline unless it is passing; gives the event's id."""
        now = self.now()
        event_id = self.ids.next(now)
        for line in self.lines:
            line.tell(message, event_id)
        if keep if keep is not None else not isinstance(message, PASSING):
            payload = msgspec.to_builtins(message)
            payload.pop("t", None)
            self._keep(event_id, _KINDS.get(type(message), kind(message)), payload)
        self.watch.see(message, now - self._began)  # what it makes of it comes after it
        return event_id

    def note(self, name: str, payload: Mapping[str, Any]) -> None:
        """Keep something on the timeline that clients are not told."""
        self._keep(self.ids.next(self.now()), name, payload)

    def fact(self, type_: str, data: Mapping[str, Any]) -> None:
        """Publish a fact to webhooks; *data* as the type's schema says."""
        if self.redactor is not None:
            data = self.redactor.value(data)
        self.facts.note(self.call_id, self.tenant_id, make_fact(type_, data))

    def history(self) -> tuple[TimelineEvent, ...]:
        """Give the timeline so far."""
        return tuple(
            TimelineEvent(id=id_, kind=name, payload=msgspec.json.decode(payload), timestamp=int(id_.partition("-")[0]))
            for id_, name, payload in self.kept
        )

    def _flag(self, flag: Flag, turn: int, at: float, evidence: str) -> None:
        data = {"flags": [flag], "turn": turn, "ts": round(at, 3), "evidence": evidence}
        self.note("qa.flags", data)
        self.fact("qa.flags", data)

    def _keep(self, event_id: str, name: str, payload: Mapping[str, Any]) -> None:
        timestamp = int(event_id.partition("-")[0])
        if self.redactor is not None:
            payload = self.redactor.value(payload)
        self.kept.append((event_id, name, msgspec.json.encode(payload)))
        self.timeline.append(self.call_id, TimelineEvent(id=event_id, kind=name, payload=payload, timestamp=timestamp))
