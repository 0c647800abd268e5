"""What the conversation may rely on, of whichever engine: the scripted ones, those of this machine and of vendors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import trio

from invorto.config import load
from invorto.model.agent import AgentConfig, SttSettings, TtsSettings
from invorto.speech.plugins import Engines, Kind, open_engines
from invorto.speech.ports import Delta, Final, Heard, Message, Prompt, Remember, SpeechBegan, SpeechPaused, Usage
from tests.speech.sound import frames, recorded, silence
from tests.vendors.settings import stand_in

RATE = 8000
NAMES = ["scripted", "local"]
EARS = [*NAMES, "deepgram"]
MINDS = [*NAMES, "openai"]
VOICES = [*NAMES, "deepgram", "elevenlabs"]


@asynccontextmanager
async def opened(kind: Kind, name: str) -> AsyncIterator[Engines]:
    names: dict[Kind, tuple[str, ...]] = {"vad": ("scripted",), kind: (name,)}
    told = {"LOCAL_ENGINE_CALLS": "9", "SCRIPTED_ENGINE": '{"sttMs": 20, "llmMs": 20, "ttsMs": 20, "rate": 50}'}
    async with stand_in(name) as more, open_engines(names, load({**told, **more})) as engines:
        with trio.fail_after(60):
            await engines.wait_ready()
        yield engines


@pytest.mark.parametrize("name", EARS)
async def test_an_ear(name: str) -> None:
    """Every pause gets one `Final`, of each call its own, never from within a call, and nothing after the block."""
    async with opened("stt", name) as engines:
        stt = engines.stt(name)
        assert stt.name == name
        heard: dict[int, list[Heard]] = {0: [], 1: []}

        async def call(number: int) -> None:
            async with stt.listen(SttSettings(), RATE, heard[number].append) as ear:
                for _ in range(2):
                    ear.speech_began(trio.current_time())
                    for piece in frames(recorded("libri_0880", RATE)[: 9600 * (1 - number)], RATE):
                        ear.push(piece)
                    before = list(heard[number])
                    ear.speech_paused(trio.current_time())
                    assert heard[number] == before
                with trio.fail_after(30):
                    while sum(isinstance(what, Final) for what in heard[number]) < 2:
                        await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, 0)
            nursery.start_soon(call, 1)
        for what in heard.values():
            assert sum(isinstance(one, Final) for one in what) == 2
        late: list[Heard] = []
        async with stt.listen(SttSettings(), RATE, late.append) as ear:
            ear.speech_began(trio.current_time())
            ear.push(silence(RATE, 1))
            ear.speech_paused(trio.current_time())
        await trio.sleep(0.2)
        assert late == []


@pytest.mark.parametrize("name", MINDS)
async def test_a_mind(name: str) -> None:
    """An answer is words, what it took, and of our own engines what to remember; leaving one midway is no harm."""
    agent = AgentConfig()
    prompt = Prompt(agent=agent, settings=agent.llm, history=(Message(role="user", text="Hello."),))
    async with opened("llm", name) as engines:
        llm = engines.llm(name)
        answers: list[str] = []

        async def ask() -> None:
            async with llm.answer(prompt) as stream:
                thoughts = [thought async for thought in stream]
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            answers.append("".join(thought.text for thought in thoughts if isinstance(thought, Delta)))
            assert [type(thought) for thought in thoughts].count(Remember) == (name in NAMES)
            assert [type(thought) for thought in thoughts].count(Usage) == 1

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
        assert len(set(answers)) == 1
        assert answers[0]
        for wait in (0.0, 0.001, 0.01, 0.05):
            with trio.move_on_after(wait):
                await ask()
        async with llm.answer(prompt) as stream:
            await anext(stream)
        async with llm.answer(prompt):
            pass
        await ask()


@pytest.mark.parametrize("name", VOICES)
async def test_a_voice(name: str) -> None:
    """Audio is at the call's rate; words, if known, are in order and within it; nothing mixes; leaving is no harm."""
    async with opened("tts", name) as engines:
        tts = engines.tts(name)
        lengths: dict[int, float] = {}

        async def say(rate: int, text: str = "One two three four.") -> None:
            async with tts.say(text, TtsSettings(), rate) as stream:
                pieces = [piece async for piece in stream]
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
            assert all(piece.samples.dtype == np.int16 and piece.samples.ndim == 1 for piece in pieces)
            lengths[rate] = sum(len(piece.samples) for piece in pieces) / rate
            words = [word for piece in pieces for word in piece.words]
            assert " ".join(word.text for word in words) == ("" if name == "deepgram" else text)
            assert [word.began for word in words] == sorted(word.began for word in words)
            assert all(0 <= word.began <= word.ended <= lengths[rate] + 0.01 for word in words)
            done = 0.0
            for piece in pieces:
                done += len(piece.samples) / rate
                assert all(word.began < done for word in piece.words), "a word is given with the audio it begins in"

        async with trio.open_nursery() as nursery:
            for rate in (8000, 16_000, 24_000):
                nursery.start_soon(say, rate)
        assert max(lengths.values()) < 1.4 * min(lengths.values())
        for wait in (0.0, 0.001, 0.01, 0.05):
            with trio.move_on_after(wait):
                await say(RATE)
        async with tts.say("One two three four.", TtsSettings(), RATE) as stream:
            await anext(stream)
        async with tts.say("One.", TtsSettings(), RATE):
            pass
        await say(RATE)


@pytest.mark.parametrize("name", NAMES)
async def test_a_detector(name: str) -> None:
    """A sentence begins once and pauses once, in Trio time; a closed stream is silent."""
    async with open_engines({"vad": (name,)}, load({})) as engines, trio.open_nursery() as nursery:
        await nursery.start(engines.vad.run)
        verdicts: list[SpeechBegan | SpeechPaused] = []
        stream = engines.vad.attach(RATE, verdicts.append)
        stream.expect(64)
        began = trio.current_time()
        at = began
        # 1.2 s of a sentence without a pause, then silence
        for piece in frames(np.concatenate((recorded("libri_0880", RATE)[4000:13_600], silence(RATE, 0.6))), RATE):
            at += 0.02
            stream.push(piece, at)
            await trio.sleep(0.013 if name == "local" else 0)  # a window in two frames, and its batch
        first, *_, last = verdicts
        assert isinstance(first, SpeechBegan)
        assert isinstance(last, SpeechPaused)
        assert began <= first.at < began + 0.5
        assert began + 0.7 < last.at < began + 1.4
        count = len(verdicts)
        stream.close()
        stream.close()
        for piece in frames(recorded("libri_0880", RATE)[4000:13_600], RATE):
            stream.push(piece, at := at + 0.02)
        await trio.sleep(0.05)
        assert len(verdicts) == count
        nursery.cancel_scope.cancel()
