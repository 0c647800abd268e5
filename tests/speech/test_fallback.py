"""Engines that stand in for each other, in virtual time: within the same turn, and nothing is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from invorto.breaker import Breaker
from invorto.errors import ProviderFailed
from invorto.model.agent import AgentConfig, LlmSettings, SttSettings, TtsSettings
from invorto.speech.fallback import FallbackLlm, FallbackTts, rest_of
from invorto.speech.hearing import FallbackEar, FallbackStt, Kept
from invorto.speech.ports import (
    Delta,
    EngineFailed,
    Final,
    Heard,
    Message,
    Partial,
    Prompt,
    Speech,
    Thought,
    ToolCall,
    Usage,
    Word,
)

RATE = 8000
SECOND = np.ones(RATE, np.int16)


@attrs.define
class Faulty:
    """An engine that does *does*: waits (a number), fails (a text), or gives what it is."""

    name: str
    does: list[Any]
    version: str = "1"
    asked: list[Any] = attrs.field(factory=list)
    settings: list[Any] = attrs.field(factory=list)
    open: int = 0

    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        self.asked.append(prompt)
        async with self._stream() as stream:
            yield stream

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        self.asked.append(text)
        self.settings.append(settings)
        async with self._stream() as stream:
            yield stream

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[Any]:
        self.open += 1
        try:
            yield _Doing(self.name, iter(self.does))
        finally:
            self.open -= 1


class _Doing:
    def __init__(self, name: str, does: Any) -> None:
        self._name, self._does = name, does

    def __aiter__(self) -> _Doing:
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        for what in self._does:
            if isinstance(what, float):
                await trio.sleep(what)
            elif isinstance(what, str):
                raise ProviderFailed(self._name, "llm", what)
            else:
                return what
        raise StopAsyncIteration


@pytest.fixture
def breakers() -> Callable[[str], Breaker]:
    return defaultdict[str, Breaker](Breaker).__getitem__


def prompt(**settings: Any) -> Prompt:
    return Prompt(
        agent=AgentConfig(), settings=LlmSettings(**settings), history=(Message(role="user", text="Hi."),)
    )  # fmt: skip


async def thoughts(llm: FallbackLlm, asked: Prompt | None = None) -> list[Thought]:
    async with llm.answer(asked or prompt()) as stream:
        return [thought async for thought in stream]


async def spoken(tts: FallbackTts, text: str = "One two three four.", **settings: Any) -> list[Speech]:
    async with tts.say(text, TtsSettings(**settings), RATE) as stream:
        return [piece async for piece in stream]


# -- thinking -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("does", "took"), [(["down"], 0), ([99.0], 2), ([1.0, "down"], 1)])
async def test_who_fails_or_is_late_is_replaced(does: list[Any], took: float, breakers: Any, autojump_clock) -> None:
    """A failure at once, a failure later, and nothing for 2 s: the next one answers, and says whose tokens they are."""
    bad, good = Faulty("bad", does), Faulty("good", [Delta("Yes."), Usage(1, 2)])
    began = trio.current_time()
    assert await thoughts(FallbackLlm([bad, good], breakers)) == [Delta("Yes."), Usage(1, 2, "good")]
    assert trio.current_time() - began == pytest.approx(took)
    assert bad.open == good.open == 0


async def test_who_takes_over_goes_on(breakers: Any, autojump_clock) -> None:
    """What was said already is in the next one's history, and is not said again."""
    bad, good = Faulty("bad", [Delta("We open "), "cut"]), Faulty("good", [Delta("at nine.")])
    assert await thoughts(FallbackLlm([bad, good], breakers)) == [Delta("We open "), Delta("at nine.")]
    (asked,) = good.asked
    assert [(message.role, message.text) for message in asked.history[1:2]] == [("assistant", "We open ")]
    assert asked.history[-1].role == "system"


async def test_a_tool_that_was_wanted_stays_wanted(breakers: Any, autojump_clock) -> None:
    """When everybody fails after a tool was called, the tool is what counts."""
    bad = Faulty("bad", [ToolCall("1", "book", {}), "cut"])
    assert await thoughts(FallbackLlm([bad], breakers)) == [ToolCall("1", "book", {})]


async def test_when_nobody_is_left_the_last_failure_counts(breakers: Any, autojump_clock) -> None:
    """The error is the last engine's, and a single one."""
    with pytest.raises(ProviderFailed, match=r"worse .*: gone"):
        await thoughts(FallbackLlm([Faulty("bad", ["down"]), Faulty("worse", ["gone"])], breakers))


async def test_who_keeps_failing_is_not_asked_any_more(breakers: Any, autojump_clock) -> None:
    """After two failures it is left out for 5 s, then tried once, and comes back when that works."""
    bad, good = Faulty("bad", [99.0]), Faulty("good", [Delta("Yes.")])
    llm = FallbackLlm([bad, good], breakers)
    for _ in range(4):
        await thoughts(llm)
    assert len(bad.asked) == 2
    await trio.sleep(5)
    bad.does = [Delta("Back.")]
    assert await thoughts(llm) == [Delta("Back.")]
    assert await thoughts(llm) == [Delta("Back.")]


async def test_models_belong_to_whom_they_were_meant_for(breakers: Any, autojump_clock) -> None:
    """The agent's model and server are for the first engine that has any; the next one uses its own."""
    local, first, second = Faulty("local", ["down"]), Faulty("openai", ["down"]), Faulty("other", [Delta("Yes.")])
    await thoughts(FallbackLlm([local, first, second], breakers), prompt(model="m", base_url="https://x.example"))
    assert [engine.asked[0].settings.model for engine in (local, first, second)] == [None, "m", None]
    assert second.asked[0].settings.base_url is None


@pytest.mark.parametrize("at", [0.0, 0.5, 1.5, 2.5, 3.5])
async def test_leaving_stops_everybody(at: float, breakers: Any, autojump_clock) -> None:
    """A caller who breaks in ends whoever is thinking, at every instant."""
    bad, good = Faulty("bad", [1.0, Delta("We "), 1.0, "cut"]), Faulty("good", [1.0, Delta("open."), 1.0])
    with trio.move_on_after(at):
        await thoughts(FallbackLlm([bad, good], breakers))
    assert bad.open == good.open == 0


# -- speaking -------------------------------------------------------------------------------------


async def test_a_voice_that_fails_is_replaced_within_the_sentence(breakers: Any, autojump_clock) -> None:
    """The next one says the rest, by the words' times where they are known; its words come after those before."""
    words = (Word("One", 0, 0.5), Word("two", 0.5, 1.0))
    bad = Faulty("bad", [Speech(SECOND, words), "cut"])
    good = Faulty("good", [Speech(SECOND, (Word("three", 0, 0.5), Word("four.", 0.5, 1)))])
    pieces = await spoken(FallbackTts([bad, good], breakers), voice="joe")
    assert good.asked == ["three four."]
    assert (bad.settings[0].voice, good.settings[0].voice) == ("joe", None)
    assert [piece.made_by for piece in pieces] == ["bad", "good"]
    assert [word.began for piece in pieces for word in piece.words] == [0, 0.5, 1.0, 1.5]


async def test_a_late_voice_is_replaced(breakers: Any, autojump_clock) -> None:
    """Nothing for 1.5 s: the next one says the whole sentence, and who was late has half as long the next time."""
    bad, good = Faulty("bad", [99.0]), Faulty("good", [Speech(SECOND)])
    began = trio.current_time()
    await spoken(FallbackTts([bad, good], breakers))
    assert trio.current_time() - began == pytest.approx(1.5)
    assert good.asked == bad.asked
    await spoken(FallbackTts([bad, good], breakers))
    assert trio.current_time() - began == pytest.approx(2.25)


@given(st.lists(st.text("abc,.", min_size=1, max_size=9), min_size=1, max_size=9), st.floats(0, 9))
def test_the_rest_of_a_sentence_is_its_end(pieces: list[str], seconds: float) -> None:
    """However much was said, the rest is the sentence's last words, and never more of it later."""
    text = " ".join(pieces)
    assert text.endswith(rest_of(text, seconds, ()))
    assert len(rest_of(text, seconds + 1, ())) <= len(rest_of(text, seconds, ()))


# -- hearing --------------------------------------------------------------------------------------


@attrs.define
class Listening:
    """An ear that a test speaks for; *fails* at once where it says so."""

    name: str
    version: str = "1"
    fails: str | None = None
    hears: list[Callable[[Heard], None]] = attrs.field(factory=list)
    told: list[Any] = attrs.field(factory=list)
    settings: list[SttSettings] = attrs.field(factory=list)

    @asynccontextmanager
    async def listen(self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]) -> AsyncIterator[Any]:
        self.hears.append(hear)
        self.settings.append(settings)
        if self.fails is not None:
            raise ProviderFailed(self.name, "stt", self.fails)
        yield self

    def push(self, samples: Any) -> None:
        self.told.append(len(samples))

    def speech_began(self, at: float) -> None:
        self.told.append("began")

    def speech_paused(self, at: float) -> None:
        self.told.append("paused")


@asynccontextmanager
async def listening(*ears: Listening, breakers: Any) -> AsyncIterator[tuple[FallbackEar, list[Heard]]]:
    heard: list[Heard] = []
    async with FallbackStt(list(ears), breakers).listen(SttSettings(model="m"), RATE, heard.append) as ear:
        yield ear, heard


async def test_what_was_said_is_told_to_who_takes_over(breakers: Any, autojump_clock) -> None:
    """An ear that is cut in mid-sentence is replaced: audio and pauses since the last final words are told again."""
    first, second = Listening("first"), Listening("second")
    async with listening(first, second, breakers=breakers) as (ear, heard):
        await trio.sleep(1)
        ear.speech_began(0)
        ear.push(SECOND)
        ear.speech_paused(0)
        first.hears[0](Final("Hello."))
        ear.speech_began(0)
        ear.push(SECOND[:100])
        first.hears[0](Partial("I want"))
        first.hears[0](EngineFailed("first", "stt", "cut"))
        ear.push(SECOND[:200])
        await trio.sleep(0.1)
        ear.speech_paused(0)
        assert second.told == ["began", 100, 200, "paused"]
        second.hears[0](Final("I want tea."))
        first.hears[0](Final("late"))
        await trio.sleep(0.1)
    assert heard == [Final("Hello."), Partial("I want"), Final("I want tea.")]
    assert (first.settings[0].model, second.settings[0].model) == ("m", None)
    assert set(ear.used) == {"first", "second"}


async def test_an_ear_that_owes_final_words_is_replaced(breakers: Any, autojump_clock) -> None:
    """A pause without final words for 2.5 s: another engine hears the utterance."""
    first, second = Listening("first"), Listening("second")
    async with listening(first, second, breakers=breakers) as (ear, _):
        await trio.sleep(1)
        ear.speech_began(0)
        ear.push(SECOND)
        ear.speech_paused(0)
        await trio.sleep(2.4)
        assert second.told == []
        await trio.sleep(0.2)
        assert second.told == ["began", RATE, "paused"]


async def test_a_lone_ear_is_opened_once_more(breakers: Any, autojump_clock) -> None:
    """A socket that was lost comes back; one that does not is the end, told once."""
    only = Listening("only")
    async with listening(only, breakers=breakers) as (ear, heard):
        await trio.sleep(1)
        ear.speech_began(0)
        ear.push(SECOND)
        only.hears[0](EngineFailed("only", "stt", "cut"))
        await trio.sleep(0.1)
        assert only.told == ["began", RATE, "began", RATE]
        only.fails = "refused"
        only.hears[1](EngineFailed("only", "stt", "cut"))
        await trio.sleep(10)
    assert heard == [EngineFailed("only", "stt", "only (stt): cut")]


async def test_everybody_is_tried_before_giving_up(breakers: Any, autojump_clock) -> None:
    """Each engine is opened, the first once more, and then the call hears that none is left."""
    first, second = Listening("first", fails="no"), Listening("second", fails="no")
    async with listening(first, second, breakers=breakers) as (_, heard):
        await trio.sleep(1)
    assert (len(first.hears), len(second.hears)) == (2, 1) or (len(first.hears), len(second.hears)) == (1, 2)
    assert [type(what) for what in heard] == [EngineFailed]


@given(st.lists(st.sampled_from(["push", "began", "paused", "settle"]), max_size=60))
def test_what_is_kept_is_bounded_and_whole(moves: list[str]) -> None:
    """Audio since the last settled pause is kept, 30 s of it at most in speech and 2 s outside."""
    kept = Kept(RATE)
    for move in moves:
        match move:
            case "push":
                kept.push(SECOND)
            case "began":
                kept.began(0)
            case "paused":
                kept.paused(0)
            case _:
                kept.settle()
        audio = sum(len(told) for told in kept.told if not isinstance(told, tuple))
        assert audio == kept._samples
        assert audio <= 31 * RATE
        pauses = [told for told in kept.told if isinstance(told, tuple) and told[0] == "paused"]
        assert len(pauses) == kept._open
