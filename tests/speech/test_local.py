"""The engines of this machine, real, on recorded and on spoken speech; few starts, since each takes a second."""

from __future__ import annotations

import itertools
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import jiwer
import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.audio import g711
from invorto.config import load
from invorto.model.agent import AgentConfig, Faq, Flow, Intent, Slot, SttSettings, TtsSettings
from invorto.speech import worker
from invorto.speech.llm.local import LocalLlm
from invorto.speech.plugins import Engines, Kind, open_engines
from invorto.speech.ports import (
    Delta,
    Final,
    Heard,
    Message,
    Partial,
    Prompt,
    Remember,
    Samples,
    Speech,
    SpeechBegan,
    SpeechPaused,
    SttStream,
    ToolCall,
)  # fmt: skip
from invorto.speech.stt.local import LocalStt
from invorto.speech.tts.local import LocalTts
from tests.speech.sound import NAMES, TRANSCRIPTS, cough, frames, noise, recorded, silence

RATE = 8000


@asynccontextmanager
async def local(*kinds: Kind, told: str = "9") -> AsyncIterator[Engines]:
    async with open_engines(dict.fromkeys(kinds, ("local",)), load({"LOCAL_ENGINE_CALLS": told})) as engines:
        with trio.fail_after(60):
            await engines.wait_ready()
        assert all(one.ready and one.version[-1].isdigit() for one in engines.health())
        yield engines


def plain(text: str) -> str:
    numbers = {"3:30": "three thirty", "mr": "mister"}
    words: list[str] = re.findall(r"[\w':]+", text.lower())
    return " ".join(numbers.get(word) or word for word in words)


def errors(texts: dict[str, str]) -> float:
    return jiwer.wer([TRANSCRIPTS[name] for name in texts], [plain(text) for text in texts.values()])


class Listener:
    """Somebody whose audio is heard at once; cut by hand."""

    def __init__(self, ear: SttStream, heard: list[Heard]) -> None:
        self.ear, self.heard = ear, heard

    async def say(self, samples: Samples) -> str:
        before = sum(isinstance(what, Final) for what in self.heard)
        self.ear.speech_began(trio.current_time())
        for piece in frames(samples, RATE):
            self.ear.push(piece)
        self.ear.speech_paused(trio.current_time())
        with trio.fail_after(30):
            while sum(isinstance(what, Final) for what in self.heard) == before:
                await trio.sleep(0.01)
        final = self.heard[-1]
        assert isinstance(final, Final)
        return final.text


@asynccontextmanager
async def listening(engines: Engines) -> AsyncIterator[Listener]:
    heard: list[Heard] = []
    async with engines.stt("local").listen(SttSettings(), RATE, heard.append) as ear:
        yield Listener(ear, heard)


async def speak(engines: Engines, text: str, rate: int = RATE, pace: float = 1.0) -> list[Speech]:
    async with engines.tts("local").say(text, TtsSettings(rate=pace), rate) as speech:
        return [piece async for piece in speech]


def joined(pieces: list[Speech]) -> Samples:
    return np.concatenate([piece.samples for piece in pieces])


async def call(engines: Engines, name: str, rate: int, texts: dict[str, str]) -> int:
    """Read a sentence to the detector and the ear in real time; give how many times partial words came."""
    samples = np.concatenate((silence(rate, 0.5), recorded(name, rate), silence(rate, 0.5)))
    if rate == 8000:
        samples = g711.decode_ulaw(g711.encode_ulaw(samples))
    heard: list[Heard] = []
    pauses = 0
    async with engines.stt("local").listen(SttSettings(), rate, heard.append) as ear:

        def notify(verdict: SpeechBegan | SpeechPaused) -> None:
            nonlocal pauses
            if isinstance(verdict, SpeechBegan):
                ear.speech_began(verdict.at)
            else:
                pauses += 1
                ear.speech_paused(verdict.at)

        stream = engines.vad.attach(rate, notify)
        due = trio.current_time()
        for piece in frames(samples, rate):
            due += len(piece) / rate
            await trio.sleep_until(due)
            stream.push(piece, trio.current_time())
            ear.push(piece)
        with trio.fail_after(200):
            while sum(isinstance(what, Final) for what in heard) < pauses:
                await trio.sleep(0.1)
        stream.close()
    assert pauses >= 1
    texts[name] = " ".join(what.text for what in heard if isinstance(what, Final))
    return sum(isinstance(what, Partial) for what in heard)


async def test_recorded_speech_is_understood(mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sentences of a reader, as the detector cuts them, in a browser and on the phone: six calls at once."""
    mock_clock.rate = 2
    monkeypatch.setattr(worker, "SILENT", 100)  # in the clock's seconds
    browser: dict[str, str] = {}
    phone: dict[str, str] = {}
    partials = 0

    async def count(engines: Engines, name: str, rate: int, texts: dict[str, str]) -> None:
        nonlocal partials
        partials += await call(engines, name, rate, texts)

    async with local("stt") as engines, trio.open_nursery() as nursery:
        await nursery.start(engines.vad.run)
        async with trio.open_nursery() as calls:
            for name in NAMES:
                calls.start_soon(count, engines, name, 16_000, browser)
                calls.start_soon(count, engines, name, 8000, phone)
        nursery.cancel_scope.cancel()
    print(browser, phone, partials)
    assert errors(browser) <= 0.25
    assert errors(phone) <= 0.25
    assert partials >= 1


async def test_what_is_spoken_is_understood() -> None:
    """Our voice is understood by our ear, noise is not; killed, both come back; their capacity is measured."""
    sentence = "I would like to book an appointment for Tuesday, my name is Anna."
    async with local("stt", "tts", told="") as engines, listening(engines) as caller:
        with trio.fail_after(60):
            while engines.capacity is None:
                await trio.sleep(0.05)
        assert 1 <= engines.capacity <= 200
        pieces = await speak(engines, sentence)
        assert jiwer.wer(plain(sentence), plain(await caller.say(joined(pieces)))) <= 0.25
        for sound in (noise(RATE, 1, 300), noise(RATE, 0.7, 3000, seed=1), cough(RATE), silence(RATE, 1)):
            assert await caller.say(sound) == ""
        assert caller.heard.count(Final("")) == 4

        words = [word for piece in pieces for word in piece.words]
        assert [word.text for word in words] == sentence.split()
        assert all(a.ended <= b.began + 0.2 and a.began < a.ended for a, b in itertools.pairwise(words))
        seconds = len(joined(pieces)) / RATE
        assert 0 <= words[0].began < 0.1
        assert seconds - 0.5 < words[-1].ended <= seconds
        assert max(len(piece.samples) for piece in pieces) <= RATE * 0.2

        stt, tts = engines.stt("local"), engines.tts("local")
        assert isinstance(stt, LocalStt)
        assert isinstance(tts, LocalTts)
        for one in (stt.worker, tts.worker):
            assert one.pid is not None
            os.kill(one.pid, signal.SIGKILL)
        assert plain(await caller.say(joined(pieces))).startswith("i would like"), "nothing that was heard is lost"
        with trio.fail_after(30):
            assert joined(await speak(engines, "Hello.")).size
        assert (stt.worker.starts, tts.worker.starts) == (2, 2)


async def test_the_voice() -> None:
    """At every rate and pace a sentence lasts as long as it should; leaving it stops it."""
    async with local("tts") as engines:
        lengths = {
            rate: len(joined(await speak(engines, "Hello, how can I help?", rate))) / rate
            for rate in (8000, 16_000, 24_000, 48_000)
        }
        assert max(lengths.values()) < 1.35 * min(lengths.values()), "the voice varies a little by itself"
        assert 0.8 < lengths[8000] < 2.5
        quick, slow = [len(joined(await speak(engines, "Hello, how can I help?", pace=pace))) for pace in (2.0, 0.5)]
        assert 2 < slow / quick < 6
        for text in ("", "...", "  ", "—"):
            assert await speak(engines, text) == []
        long = joined(await speak(engines, "one two three four five six seven eight nine ten " * 7))
        assert len(long) > RATE * 15
        assert np.abs(long.astype(np.int32)).max() > 8000
        tts = engines.tts("local")
        for wait in (0.0, 0.02, 0.05):
            with trio.move_on_after(wait):
                async with tts.say(
                    "This is a rather long sentence, which nobody is going to hear.", TtsSettings(), RATE
                ) as speech:
                    async for _ in speech:
                        pass
        async with tts.say("This is a rather long sentence.", TtsSettings(), RATE) as speech:
            await anext(speech)
        assert isinstance(tts, LocalTts)
        assert tts.worker.pending == 0
        assert joined(await speak(engines, "Hello.")).size


SCRIPTED, SILENT = SttSettings(provider="scripted"), TtsSettings(provider="scripted")
FLOW = Flow(
    intents=(
        Intent(
            name="book", examples=("I want to book an appointment", "I need to see the doctor"), slots=("day",),
            reply="Booked for {day}, number {result.id}.", then="book",
        ),
        Intent(name="cancel", examples=("please cancel my booking",), reply="It is cancelled."),
    ),
    slots=(Slot(name="day", type="date", ask="Which day?"),),
    faq=(Faq(q="What are your opening hours?", a="From nine to six."), Faq(q="Do you take insurance?", a="Yes, all.")),
)  # fmt: skip


async def test_the_dialogue_understands_what_is_meant() -> None:
    """What is said in other words is understood, nonsense is not; a tool is called and its result told."""
    agent = AgentConfig(flow=FLOW)
    tools = [{"name": "book"}, {"name": "end_call"}]
    history: list[Message] = []

    async def answer(engines: Engines) -> tuple[str, ToolCall | None]:
        said, call, state = "", None, None
        prompt = Prompt(agent=agent, settings=agent.llm, history=tuple(history), tools=tools)
        async with engines.llm("local").answer(prompt) as thoughts:
            async for thought in thoughts:
                match thought:
                    case Delta(text):
                        said += text
                    case ToolCall():
                        call = thought
                    case Remember(state):
                        pass
                    case _:
                        assert thought.completion == len(said.split())
        history.append(Message(role="assistant", text=said, state=state, tool_calls=(call,) if call else ()))
        return said, call

    async with local("llm") as engines:
        await engines.need(AgentConfig(flow=FLOW, stt=SCRIPTED, tts=SILENT))
        mind = engines.llm("local")
        assert isinstance(mind, LocalLlm)
        with trio.fail_after(60):
            while mind.worker.pending:
                await trio.sleep(0.05)

        async def say(heard: str) -> str:
            history.append(Message(role="user", text=heard))
            return (await answer(engines))[0]

        for heard, expected in (
            ("When are you open on weekends?", "From nine to six."),
            ("Can I pay with my insurance?", "Yes, all."),
            ("I have to cancel my visit.", "It is cancelled."),
            ("Blue elephants dance sideways.", "Sorry, I did not understand that. Could you say it in other words?"),
            ("Could I come in and see someone?", "Which day?"),
        ):
            assert await say(heard) == expected, heard
        history.append(Message(role="user", text="On the third of March."))
        said, call = await answer(engines)
        assert said == ""
        assert call is not None
        assert (call.name, call.args["day"][4:]) == ("book", "-03-03")
        history.append(Message(role="tool", text='{"id": 42}', tool_call_id=call.id))
        said, call = await answer(engines)
        assert re.fullmatch(r"Booked for \w+, 3 March, number 42\.", said)
        history.append(Message(role="user", text="Okay, bye bye."))
        said, call = await answer(engines)
        assert (said, call and call.name) == ("Goodbye.", "end_call")
