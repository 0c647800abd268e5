"""Engines that do exactly what they are told, at exact times: for tests and benches."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, lru_cache
from typing import NoReturn, override

import numpy as np
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import SttSettings, TtsSettings
from invorto.speech.opening import Opening
from invorto.speech.ports import (
    Delta,
    Final,
    Heard,
    Llm,
    Partial,
    Prompt,
    Remember,
    Samples,
    Speech,
    Stt,
    SttStream,
    Thought,
    ToolCall,
    Tts,
    Usage,
    Word,
)
from invorto.speech.script import Reply, Script, read_script

SECONDS_PER_WORD = 0.3
CHUNK = 0.1
"""Seconds of audio in one piece of a scripted sentence."""


class Timetable:
    """Things to do at exact times: one task for all calls."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = trio.Event()

    def after(self, delay: float, do: Callable[[], None]) -> None:
        """Do something in *delay* seconds; in the order of asking where two fall together."""
        item = (trio.current_time() + delay, next(self._order), do)
        heapq.heappush(self._due, item)
        if self._due[0] is item:
            self._changed.set()

    async def run(self) -> NoReturn:
        """Do what is due, for ever."""
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._due[0][0] if self._due else float("inf")):
                await self._changed.wait()
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()


class _Ear(SttStream):
    """One caller's ear: counts utterances and takes no notice of what is in them."""

    def __init__(self, script: Script, timetable: Timetable, hear: Callable[[Heard], None]) -> None:
        self.closed = False
        self._script, self._timetable, self._hear = script, timetable, hear
        self._utterance = 0
        self._partial_of = -1

    @override
    def push(self, samples: Samples) -> None:
        pass

    @override
    def speech_began(self, at: float) -> None:
        utterance = self._utterance
        self._timetable.after(self._script.delay(self._script.partial_ms), lambda: self._partial(utterance))

    @override
    def speech_paused(self, at: float) -> None:
        utterance = self._utterance
        self._utterance += 1
        self._timetable.after(self._script.delay(self._script.stt_ms), lambda: self._final(utterance))

    def _text(self, utterance: int) -> str:
        heard = self._script.heard
        return heard[utterance % len(heard)] if heard else ""

    def _partial(self, utterance: int) -> None:
        words = self._text(utterance).split()
        if not self.closed and words and self._utterance == utterance:
            self._partial_of = utterance
            self._hear(Partial(" ".join(words[: (len(words) + 1) // 2]), 0.9))

    def _final(self, utterance: int) -> None:
        text = self._text(utterance)
        if self.closed:
            return
        if text and self._partial_of != utterance:
            self._hear(Partial(text, 0.9))
        spans = [Word(word, n * SECONDS_PER_WORD, (n + 1) * SECONDS_PER_WORD) for n, word in enumerate(text.split())]
        if not self.closed:
            self._hear(Final(text, 0.95 if text else None, tuple(spans)))


class ScriptedStt(Stt):
    """Hears what the script says was said."""

    name = "scripted"
    version = "1"

    def __init__(self, script: Script, timetable: Timetable) -> None:
        self._script, self._timetable = script, timetable

    @override
    @asynccontextmanager
    async def listen(self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]) -> AsyncIterator[_Ear]:
        """Open an ear."""
        ear = _Ear(self._script, self._timetable, hear)
        try:
            yield ear
        finally:
            ear.closed = True


class _Answer:
    """A scripted answer as it comes."""

    def __init__(self, reply: Reply, number: int, delay: float) -> None:
        self._reply, self._delay = reply, delay
        words = reply.say.split()
        self._thoughts: list[Thought] = [Delta(word if n == 0 else f" {word}") for n, word in enumerate(words)]
        if reply.fail is None and not reply.stall:
            if reply.tool is not None:
                self._thoughts.append(ToolCall(f"call_{number}", reply.tool.name, reply.tool.args))
            if reply.then is not None:
                self._thoughts.append(ToolCall(f"then_{number}", reply.then, {}))
            self._thoughts += [Usage(number + 1, len(words)), Remember(number + 1)]
        self._thoughts.reverse()

    def __aiter__(self) -> _Answer:
        return self

    async def __anext__(self) -> Thought:
        delay, self._delay = self._delay, 0.0
        await trio.sleep(delay)
        if self._thoughts:
            return self._thoughts.pop()
        if self._reply.fail is not None:
            raise ProviderFailed("scripted", "llm", self._reply.fail)
        if self._reply.stall:
            await trio.sleep_forever()
        raise StopAsyncIteration


class ScriptedLlm(Llm):
    """Answers with the script's replies in turn; which one is remembered by the call, not here."""

    name = "scripted"
    version = "1"

    def __init__(self, script: Script) -> None:
        self._script = script
        self.analyses = bool(script.analysis)

    @override
    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        """Give the reply after the one that the history remembers."""
        states = (message.state for message in reversed(prompt.history) if message.role == "assistant")
        number = next((state for state in states if isinstance(state, int)), 0)
        replies = self._script.replies or (Reply(),)
        if prompt.schema is not None and self._script.analysis:
            replies, number = self._script.analysis, sum(message.role == "assistant" for message in prompt.history)
        yield _Answer(replies[number % len(replies)], number, self._script.delay(self._script.llm_ms))


class _Tone:
    """A scripted sentence as it is made: a quiet hum, as long as its words take."""

    def __init__(self, text: str, rate: int, script: Script, pace: float) -> None:
        each = SECONDS_PER_WORD / pace
        self._words = [Word(word, n * each, (n + 1) * each) for n, word in enumerate(text.split())]
        length = round(each * len(self._words) * rate)
        self._samples = hum(rate, length)
        self._chunk = round(CHUNK * rate) if script.rate else max(length, 1)
        self._step = CHUNK / script.rate if script.rate else 0.0
        self._rate, self._due = rate, trio.current_time() + script.delay(script.tts_ms)
        self._done = 0

    def __aiter__(self) -> _Tone:
        return self

    async def __anext__(self) -> Speech:
        await trio.sleep_until(self._due)
        if self._done >= len(self._samples):
            raise StopAsyncIteration
        self._due += self._step
        begin, self._done = self._done, self._done + self._chunk
        words = [word for word in self._words if begin <= round(word.began * self._rate) < self._done]
        return Speech(self._samples[begin : self._done], tuple(words))


@lru_cache(32)
def hum(rate: int, length: int) -> Samples:
    """Make a quiet 200 Hz hum, below every detector's threshold, above silence; it is shared and not to be written."""
    samples = np.resize(_period(rate), length)
    samples.flags.writeable = False
    return samples


@cache
def _period(rate: int) -> Samples:
    return (300 * np.sin(np.arange(rate // 200) * (2 * np.pi * 200 / rate))).astype(np.int16)


class ScriptedTts(Tts):
    """Hums every sentence."""

    name = "scripted"
    version = "1"

    def __init__(self, script: Script) -> None:
        self._script = script

    @override
    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Hum one sentence."""
        yield _Tone(text, rate, self._script, settings.rate)


@asynccontextmanager
async def open_stt(opening: Opening) -> AsyncIterator[ScriptedStt]:
    """Open the scripted ear, whose timetable is one task for all calls."""
    timetable = Timetable()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(timetable.run)  # noqa: ASYNC113 - it takes what was asked for before it ran
        yield ScriptedStt(read_script(opening.config.conversation.scripted_engine), timetable)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_llm(opening: Opening) -> AsyncIterator[ScriptedLlm]:
    """Open the scripted mind."""
    yield ScriptedLlm(read_script(opening.config.conversation.scripted_engine))


@asynccontextmanager
async def open_tts(opening: Opening) -> AsyncIterator[ScriptedTts]:
    """Open the scripted voice."""
    yield ScriptedTts(read_script(opening.config.conversation.scripted_engine))
