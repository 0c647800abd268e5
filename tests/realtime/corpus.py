"""The corpus of conversations in `tests/data/turns`: who speaks when, and who must have the floor at each instant.

A file is a JSON object of cases by name. A case::

    {"promise": "one sentence",
     "agent":  {...},                      the agent's configuration; no greeting unless it names one
     "says":   [[at, seconds, "words"]],   what the caller says; "" is a sound without a word
     "does":   [[at, "text"|"pause"|"resume"|"end"|"hint", value]],
     "reply":  seconds that each answer of the agent takes to say (3.0),
     "asks":   whether its answers end in a question,
     "for":    seconds it lasts (8.0),
     "floor":  [[from, "CALLER"], ...]}    from when on who has it, after OPEN (or AGENT, with a greeting) at 0

Both players use the same delays: speech is known after four frames of 20 ms, a pause after five, half of the words
0.2 s after the speech is known, all of them 0.1 s after the pause is; the agent's first audio comes 0.08 s after it
has taken the floor, 0.03 s where it need not think: greetings, nudges, goodbyes.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from invorto.convert import structure
from invorto.model.agent import AgentConfig
from invorto.realtime import turns as t
from invorto.speech.ports import Final, GoesOn, Partial, SpeechBegan, SpeechPaused

FOLDER = Path(__file__).parents[1] / "data" / "turns"
BEGAN, PAUSED, HALF, STT, THINK, SPEAK = 0.08, 0.1, 0.2, 0.1, 0.05, 0.03
"""Seconds: see above."""

SHORTEST = 0.064
"""Seconds from which on a sound is speech."""

type Floors = list[tuple[float, str]]


@attrs.frozen(kw_only=True)
class Case:
    """One conversation."""

    name: str
    promise: str
    agent: Mapping[str, Any]
    says: list[tuple[float, float, str]]
    does: list[tuple[float, str, Any]]
    reply: float
    asks: bool
    seconds: float
    floor: Floors


def load() -> list[Case]:
    """Read the corpus."""
    return [
        Case(
            name=f"{path.stem}: {name}",
            promise=case["promise"],
            agent=case.get("agent", {}),
            says=[(at, seconds, words) for at, seconds, words in case.get("says", [])],
            does=[(at, what, value) for at, what, value in case.get("does", [])],
            reply=case.get("reply", 3.0),
            asks=case.get("asks", False),
            seconds=case.get("for", 8.0),
            floor=[(at, floor) for at, floor in case["floor"]],
        )
        for path in sorted(FOLDER.glob("*.json"))
        for name, case in json.loads(path.read_text("utf-8")).items()
    ]


@attrs.define
class Bench:
    """A turn taker alone, with an agent that speaks for as long as the case says."""

    case: Case
    turns: t.TurnTaker
    floors: Floors = attrs.field(factory=list)
    acts: list[tuple[float, t.Act]] = attrs.field(factory=list)
    _due: list[tuple[float, int, t.Event]] = attrs.field(factory=list)
    _order: itertools.count[int] = attrs.field(factory=itertools.count)
    _left: float = 0.0
    """Seconds that the agent has still to say."""
    _since: float | None = None

    @classmethod
    def of(cls, case: Case) -> Bench:
        """Set it up."""
        agent = structure({"greeting": None, **case.agent}, AgentConfig)
        bench = cls(case, t.TurnTaker(t.Rules.of(agent)))
        bench.at(0.0, t.Speak() if agent.greeting else t.Listen())
        for at, seconds, words in case.says:
            end = at + seconds
            if seconds < SHORTEST:
                continue
            bench.at(at + BEGAN, SpeechBegan(at))
            said = words.split()
            if said and at + BEGAN + HALF < end + PAUSED:
                bench.at(at + BEGAN + HALF, Partial(" ".join(said[: (len(said) + 1) // 2])))
            bench.at(end + PAUSED, SpeechPaused(end))
            bench.at(end + PAUSED + STT, Final(words))
        for at, what, value in case.does:
            bench.at(at, bench.event(what, value))
        return bench

    @staticmethod
    def event(what: str, value: Any) -> t.Event:
        """Make the event of something that is done."""
        match what:
            case "text":
                return t.Typed(value)
            case "pause" | "resume":
                return t.Held(what == "pause")
            case "hint":
                return GoesOn(value[0], value[1])
            case "machine":
                return t.MachineAnswered()
            case "beep":
                return t.Beeped()
            case _:
                return t.CallerLeft()

    def at(self, when: float, event: t.Event) -> None:
        """Have *event* happen."""
        heapq.heappush(self._due, (when, next(self._order), event))

    def play(self) -> Floors:
        """Let it all happen; gives every change of the floor."""
        now = 0.0
        while now <= self.case.seconds:
            deadline = self.turns.deadline
            when = self._due[0][0] if self._due else math.inf
            now = max(min(when, deadline), now)
            if now > self.case.seconds or math.isinf(now):
                break
            event = heapq.heappop(self._due)[2] if when <= deadline else None
            for act in self.turns.step(event, now):
                self._do(act, now)
            if isinstance(event, t.AudioBegan) and event.turn == self.turns.turn:
                self._plays(now)
            floor = self.turns.floor.name
            if not self.floors or self.floors[-1][1] != floor:
                self.floors.append((round(now, 2), floor))
        return self.floors

    def _do(self, act: t.Act, now: float) -> None:
        self.acts.append((round(now, 2), act))
        match act:
            case t.Reply() | t.Say() | t.Recite() | t.Nudge() | t.Goodbye() | t.LeaveMessage():
                self._left, self._since = self.case.reply, None
                think = THINK if isinstance(act, t.Reply) else 0.0
                self.at(now + think + SPEAK, t.AudioBegan(act.turn))
            case t.Hush():
                self._left -= now - self._since if self._since is not None else 0.0
                self._drop()
            case t.Resume():
                self._plays(now)
            case t.Cancel():
                self._drop()
            case t.HangUp():
                pass

    def _plays(self, now: float) -> None:
        self._since = now
        self.at(now + self._left, t.PlayedOut(self.turns.turn, asked=self.case.asks))

    def _drop(self) -> None:
        self._since = None
        self._due = [one for one in self._due if not isinstance(one[2], t.PlayedOut)]
        heapq.heapify(self._due)
