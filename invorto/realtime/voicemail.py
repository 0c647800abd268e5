"""Whether a machine has answered: by its first words, by how long it talks without a pause, by its tone; pure.

Somebody who answers says a word or two and waits. A machine reads out a sentence, says what machines say, and beeps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from invorto.model.agent import Voicemail
from invorto.model.call import EndReason
from invorto.realtime import turns as t
from invorto.speech.ports import EngineFailed, Final, Partial, SpeechBegan, SpeechPaused

type By = Literal["words", "long", "beep", "carrier"]

LISTENED = 30.0
"""Seconds from the first sound in which a machine gives itself away."""
BREATH = 0.8
"""Seconds of a pause that a machine makes within its greeting, and a person who waits for an answer does not."""
LONG = 7.0
"""Seconds of speech without more than a breath: nobody answers the telephone like that."""
EXCHANGES = 2
"""Times that the caller was answered and spoke again: machines take no notice of answers, people do."""

_MACHINES = re.compile(
    r"""
    voice\s?mail | answering\s(?:machine|service) | mail\s?box
    | (?:after|at|wait\sfor|hear)\s(?:the|a)\s(?:tone|beep|signal)
    | (?<!can\si\s)(?<!could\si\s)(?<!may\si\s)(?<!to\s)
      leave\s(?:(?:me|us|your|a|the|any|brief|short|detailed|name|number|and|phone)\s){1,6}(?:message|number)
    | record\s(?:your|a)\smessage
    | (?:can't|cannot|can\snot|unable\sto)\s(?:come\sto|take|answer|get\sto)\s
      (?:the|your|this|my)\s(?:phone|calls?|telephone)
    | (?:\bis|\bam|\bare|'m|'re|'s)\s(?:currently\s|presently\s)?(?:not\savailable|unavailable)\s
      (?:to\s(?:take|answer)|right|at)
    | (?:number|person|subscriber|customer|party)\syou\s(?:have\s|are\s|were\s|'ve\s)?
      (?:dial+ed|dial+ing|call+ed|call+ing|trying|reached)
    | (?:you\shave|you've)\sreached\s(?!me\b)
    | sandesh\s(?:chhod|chod|record) | beep\ske\sbaad | tone\ske\sbaad
    | (?:not\sreachable|switched\soff|out\sof\s(?:coverage|reach))
    | संदेश\sछोड़ | बीप\sके\sबाद | संपर्क\sकरना\sचाहते\sहैं | उपलब्ध\sनहीं
    """,
    re.IGNORECASE | re.VERBOSE,
)


def sounds_recorded(text: str) -> bool:
    """Tell whether *text* is what machines say when they answer."""
    return _MACHINES.search(" ".join(text.replace("’", "'").split())) is not None


@attrs.define
class Screening:
    """One call's beginning: tell `step` what is heard; it answers once, when a machine has given itself away."""

    over: bool = attrs.field(default=False, init=False)
    """Whether it is known, or no longer asked."""
    _first: float | None = attrs.field(default=None, init=False)
    _since: float | None = attrs.field(default=None, init=False)
    _paused: float | None = attrs.field(default=None, init=False)
    _words: list[str] = attrs.field(factory=list, init=False)
    _turns: int = attrs.field(default=0, init=False)

    def step(self, event: object, now: float) -> By | None:
        """Take in a detector's verdict, words, or a tone."""
        if self.over:
            return None
        by = self._judge(event, now)
        late = self._first is not None and now - self._first > LISTENED
        self.over = by is not None or late or self._turns > EXCHANGES
        return by

    def _judge(self, event: object, now: float) -> By | None:
        match event:
            case SpeechBegan(at):
                self._first = at if self._first is None else self._first
                if self._since is None or (self._paused is not None and at - self._paused > BREATH):
                    self._since, self._turns = at, self._turns + 1
                self._paused = None
            case SpeechPaused(at):
                self._paused = at
                if self._since is not None and self._turns == 1 and at - self._since >= LONG:
                    return "long"
            case Partial(text):
                if sounds_recorded(" ".join([*self._words, text])):
                    return "words"
                if self._since is not None and self._paused is None and self._turns == 1 and now - self._since >= LONG:
                    return "long"
            case Final(text) if text.strip():
                self._words.append(text.strip())
                if sounds_recorded(" ".join(self._words)):
                    return "words"
            case t.Beeped():
                return "beep"
            case _:
                pass
        return None


@attrs.define(kw_only=True)
class Screen:
    """Stands before a conversation: passes on all that is heard, and acts when a machine has answered."""

    settings: Voicemail
    pass_on: Callable[[t.Event | EngineFailed | None], None]
    note: Callable[[str, Mapping[str, Any]], None]
    """Keeps an event on the timeline."""
    clock: Callable[[], float]
    began: float
    screening: Screening = attrs.field(factory=Screening)

    def post(self, event: t.Event | EngineFailed | None) -> None:
        """Pass *event* on, then what follows from it."""
        self.pass_on(event)
        by = self.screening.step(event, self.clock())
        if by is not None:
            self.machine(by)

    def beep(self) -> None:
        """Learn that a tone is over."""
        self.post(t.Beeped())

    def machine(self, by: By) -> None:
        """Do what the agent is to do with a machine, known *by* what."""
        self.screening.over = True
        action = self.settings.action
        self.note("voicemail", {"by": by, "action": action, "ts": round(self.clock() - self.began, 3)})
        if action == "hangup":
            self.pass_on(t.Leave(EndReason.VOICEMAIL, goodbye=False))
        elif action == "message":
            self.pass_on(t.MachineAnswered())
            if by == "beep":
                self.pass_on(t.Beeped())
