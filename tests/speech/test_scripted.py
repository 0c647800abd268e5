"""The scripted engines: what tests and benches rely on, to the millisecond."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.config import load
from invorto.errors import Invalid, ProviderFailed, UsageError
from invorto.model.agent import AgentConfig, SttSettings, TtsSettings
from invorto.speech.plugins import Engines, Kind, open_engines
from invorto.speech.ports import (
    Delta,
    EngineFailed,
    Final,
    Heard,
    Message,
    Partial,
    Prompt,
    Remember,
    Speech,
    Thought,
    ToolCall,
)
from invorto.speech.scripted import Script, ScriptedLlm, ScriptedTts, read_script
from invorto.speech.vad.level import LOUD

NAMES: dict[Kind, tuple[str, ...]] = {
    "stt": ("scripted",),
    "llm": ("scripted",),
    "tts": ("scripted",),
    "vad": ("scripted",),
}


@asynccontextmanager
async def scripted(script: str) -> AsyncIterator[Engines]:
    async with open_engines(NAMES, load({"SCRIPTED_ENGINE": script})) as engines:
        yield engines


async def answer(llm: ScriptedLlm, history: list[Message]) -> list[tuple[float, Thought]]:
    agent = AgentConfig()
    began = trio.current_time()
    async with llm.answer(Prompt(agent=agent, settings=agent.llm, history=history)) as thoughts:
        return [(round(trio.current_time() - began, 6), thought) async for thought in thoughts]


def said(thoughts: list[tuple[float, Thought]]) -> str:
    return "".join(thought.text for _, thought in thoughts if isinstance(thought, Delta))


async def test_the_ear_hears_what_the_script_says(autojump_clock: MockClock) -> None:
    """Half the words 200 ms into speech, all of them `sttMs` after the pause; the list begins again."""
    async with scripted('{"sttMs": 80, "heard": ["one two three", "four"]}') as engines:
        heard: list[tuple[float, Heard]] = []
        began = trio.current_time()

        def hear(what: Heard) -> None:
            heard.append((round(trio.current_time() - began, 6), what))

        async with engines.stt("scripted").listen(SttSettings(), 8000, hear) as ear:
            for _ in range(3):
                ear.speech_began(trio.current_time())
                await trio.sleep(1)
                ear.speech_paused(trio.current_time())
                await trio.sleep(1)
    assert [(at, type(what).__name__, what.text) for at, what in heard if not isinstance(what, EngineFailed)] == [
        (0.2, "Partial", "one two"), (1.08, "Final", "one two three"),
        (2.2, "Partial", "four"), (3.08, "Final", "four"),
        (4.2, "Partial", "one two"), (5.08, "Final", "one two three"),
    ]  # fmt: skip


async def test_a_short_utterance_has_partial_words_too(autojump_clock: MockClock) -> None:
    """Speech that ends before the partial words were due gives them together with the final ones."""
    heard: list[Heard] = []
    async with scripted('{"heard": ["yes"]}') as engines:
        async with engines.stt("scripted").listen(SttSettings(), 8000, heard.append) as ear:
            ear.speech_began(trio.current_time())
            await trio.sleep(0.1)
            ear.speech_paused(trio.current_time())
            assert heard == [], "nothing is heard from within the call"
            await trio.sleep(0.5)
    assert [type(what) for what in heard] == [Partial, Final]


async def test_a_closed_ear_is_silent(autojump_clock: MockClock) -> None:
    """What is still owed when a call ends is never heard."""
    heard: list[Heard] = []
    async with scripted('{"sttMs": 100}') as engines:
        async with engines.stt("scripted").listen(SttSettings(), 8000, heard.append) as ear:
            ear.speech_began(trio.current_time())
            ear.speech_paused(trio.current_time())
        await trio.sleep(10)
    assert heard == []


async def test_one_task_serves_all_ears(autojump_clock: MockClock) -> None:
    """A call's ear takes no task."""
    async with scripted("{}") as engines:
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with engines.stt("scripted").listen(SttSettings(), 8000, lambda _: None) as ear:
            ear.speech_began(trio.current_time())
            assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_replies_in_turn(autojump_clock: MockClock) -> None:
    """`llmMs` to the first word; the reply after the one that the history remembers, whatever was thrown away."""
    llm = ScriptedLlm(Script.parse({"llmMs": 50, "replies": ["first answer", {"say": "bye now", "then": "end_call"}]}))
    first = await answer(llm, [Message(role="user", text="x")])
    assert [at for at, _ in first] == [0.05] * len(first)
    assert said(first) == "first answer" == said(await answer(llm, [Message(role="user", text="x")]))
    state = next(thought.state for _, thought in first if isinstance(thought, Remember))
    second = await answer(llm, [Message(role="assistant", text="first", state=state), Message(role="user", text="y")])
    assert said(second) == "bye now"
    assert [thought.name for _, thought in second if isinstance(thought, ToolCall)] == ["end_call"]


async def test_replies_with_tools_and_faults(autojump_clock: MockClock) -> None:
    """A reply can be a tool, a failure in the middle, or nothing for ever."""
    tool = ScriptedLlm(Script.parse({"replies": [{"tool": {"name": "book", "args": {"day": 1}}}]}))
    (call,) = [thought for _, thought in await answer(tool, []) if isinstance(thought, ToolCall)]
    assert (call.name, call.args) == ("book", {"day": 1})
    with pytest.raises(ProviderFailed, match="no credit"):
        await answer(ScriptedLlm(Script.parse({"replies": [{"say": "Well", "fail": "no credit"}]})), [])
    with pytest.raises(trio.TooSlowError), trio.fail_after(1000):
        await answer(ScriptedLlm(Script.parse({"replies": [{"stall": True}]})), [])


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
async def test_the_voice_hums(autojump_clock: MockClock, rate: int) -> None:
    """First audio after `ttsMs`, 0.3 s a word, made `rate` times as fast as it plays, below what counts as speech."""
    tts = ScriptedTts(Script.parse({"ttsMs": 30, "rate": 5}))
    began, pieces, times = trio.current_time(), list[Speech](), list[float]()
    async with tts.say("one two three four", TtsSettings(), rate) as speech:
        async for piece in speech:
            pieces.append(piece)
            times.append(round(trio.current_time() - began, 6))
    samples = np.concatenate([piece.samples for piece in pieces])
    assert len(samples) == rate * 1.2
    assert times == [round(0.03 + 0.02 * number, 6) for number in range(12)]
    assert 50 < np.abs(samples).mean() < LOUD / 2
    words = [word for piece in pieces for word in piece.words]
    assert [(word.text, round(word.began, 6)) for word in words] == [
        ("one", 0.0), ("two", 0.3), ("three", 0.6), ("four", 0.9),
    ]  # fmt: skip


async def test_a_faster_voice_is_shorter(autojump_clock: MockClock) -> None:
    """An agent's `tts.rate` shortens its words; rate 0 of the script gives all at once, and no words no audio."""
    tts = ScriptedTts(Script())
    async with tts.say("one two", TtsSettings(rate=2.0), 8000) as speech:
        assert [len(piece.samples) async for piece in speech] == [2400]
    async with tts.say("  ", TtsSettings(), 8000) as speech:
        assert [piece async for piece in speech] == []


def test_a_wrong_script_is_one_sentence() -> None:
    """A setting that is wrong says where."""
    with pytest.raises(UsageError, match=r"SCRIPTED_ENGINE is wrong: .*sttms"):
        read_script('{"sttms": 1}')
    with pytest.raises(UsageError, match="SCRIPTED_ENGINE is wrong"):
        read_script("{")
    with pytest.raises(Invalid, match="expected an object"):
        Script.parse([])
