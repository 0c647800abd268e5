"""The engines of a simulated call: an ear that is told the words, and a dialogue that goes by words alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from typing import override

import attrs
import trio

from invorto.model.agent import SttSettings
from invorto.speech.llm.local import Answer, decide, thoughts
from invorto.speech.llm.meaning import WORDS_ALONE
from invorto.speech.ports import Final, Heard, Llm, Partial, Prompt, Samples, Stt, SttStream, Thought
from invorto.speech.scripted import Timetable

FIRST_PARTIAL = 0.3
"""Seconds after speech is known of the first partial words."""
TRANSCRIBED = 0.15
"""Seconds after a pause of its words."""


@attrs.define
class ToldEar(SttStream):
    """Hears what it is told is being said: of speech with pauses in it, as much as has been said by each of them."""

    timetable: Timetable
    hear: Callable[[Heard], None]
    words: list[str] = attrs.field(factory=list[str])
    since: float = 0.0
    lasts: float = 0.0
    closed: bool = False
    _given: int = 0
    _utterance: int = 0

    def told(self, text: str, since: float, lasts: float) -> None:
        """Learn that *text* is said from *since* on for so many seconds."""
        self.words, self.since, self.lasts, self._given = text.split(), since, lasts, 0

    @override
    def push(self, samples: Samples) -> None:
        pass

    @override
    def speech_began(self, at: float) -> None:
        utterance = self._utterance
        self.timetable.after(FIRST_PARTIAL, lambda: self._partial(utterance))

    @override
    def speech_paused(self, at: float) -> None:
        self._utterance += 1
        until = self._said_by(at)
        text, self._given = " ".join(self.words[self._given : until]), until
        self.timetable.after(TRANSCRIBED, lambda: self._tell(Final(text, 0.95 if text else None)))

    def _partial(self, utterance: int) -> None:
        text = " ".join(self.words[self._given : self._said_by(trio.current_time())])
        if text and utterance == self._utterance:
            self._tell(Partial(text, 0.9))

    def _said_by(self, at: float) -> int:
        share = (at - self.since) / self.lasts if self.lasts else 1.0
        return max(self._given, min(len(self.words), round(len(self.words) * share + 0.2)))

    def _tell(self, heard: Heard) -> None:
        if not self.closed:
            self.hear(heard)


class ToldStt(Stt):
    """Gives one ear for one call."""

    name, version = "told", "1"

    def __init__(self, timetable: Timetable) -> None:
        self.timetable = timetable
        self.ear: ToldEar | None = None

    @override
    @asynccontextmanager
    async def listen(self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]) -> AsyncIterator[ToldEar]:
        self.ear = ToldEar(self.timetable, hear)
        try:
            yield self.ear
        finally:
            self.ear.closed = True


class WordsLlm(Llm):
    """The local dialogue engine without its model of meaning: the same each time, at once, on any machine."""

    name, version, analyses = "local", "words alone", False

    def __init__(self, today: date) -> None:
        self._today = today

    @override
    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        async def think() -> list[Thought]:
            return thoughts(await decide(prompt, self._today, WORDS_ALONE), prompt)

        yield Answer(think)
