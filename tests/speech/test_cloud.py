"""Engines in the cloud when something goes wrong: it is always that engine's failure, soon, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import trio
import trio.testing

from invorto.config import load
from invorto.errors import ProviderFailed, UsageError
from invorto.model.agent import AgentConfig, LlmSettings, SttSettings, TtsSettings
from invorto.outgoing.addresses import AddressRules, parse_networks
from invorto.speech.llm.openai import OpenAiLlm
from invorto.speech.llm.openai import open_llm as open_openai_llm
from invorto.speech.opening import Opening
from invorto.speech.plugins import find
from invorto.speech.ports import (
    Delta,
    EngineFailed,
    Final,
    Heard,
    Message,
    Partial,
    Prompt,
    Samples,
    Speech,
    Thought,
    ToolCall,
    Usage,
    Word,
)
from tests.vendors.deepgram import FakeDeepgram, open_deepgram
from tests.vendors.elevenlabs import open_elevenlabs
from tests.vendors.faults import FAULTS, KEY, Fault
from tests.vendors.openai import FakeOpenAi, open_openai

RATE = 8000
TEXT = "Your appointment is on Tuesday at nine."
VOICES = ["deepgram", "elevenlabs"]
MEANINGS: dict[Fault, str] = {
    "refused": r"refuses the key \(401\)",
    "busy": r"wants fewer requests \(429\)",
    "broken": r"trouble of its own \(503\)",
    "garbage": "what came is",
    "cut": "broke off|was lost|not HTTP|was closed",
}


def opening(url: str, vendor: str, **more: str) -> Opening:
    name = vendor.upper()
    return Opening(config=load({f"{name}_API_KEY": KEY, f"{name}_BASE_URL": url, **more}))


@asynccontextmanager
async def mind(**more: Any) -> AsyncGenerator[tuple[FakeOpenAi, OpenAiLlm]]:
    async with open_openai(**more) as fake, find("llm", "openai")(opening(fake.url, "openai")) as llm:
        yield fake, llm


@asynccontextmanager
async def voice(vendor: str, fault: Fault = "none", **more: Any) -> AsyncGenerator[tuple[Any, Any]]:
    stand_in = open_deepgram if vendor == "deepgram" else open_elevenlabs
    async with stand_in(fault=fault, **more) as fake, find("tts", vendor)(opening(fake.url, vendor)) as tts:
        yield fake, tts


def prompt(*history: Message, **settings: Any) -> Prompt:
    agent = AgentConfig(prompt="Be brief.")
    tools = [{"name": "book", "description": "Book.", "inputSchema": {"properties": {"day": {"type": "string"}}}}]
    said = history or (Message(role="user", text="When do you open?"),)
    return Prompt(agent=agent, settings=LlmSettings(**settings), history=said, tools=tools)


async def thoughts(llm: OpenAiLlm, asked: Prompt) -> list[Thought]:
    async with llm.answer(asked) as stream:
        return [thought async for thought in stream]


async def spoken(tts: Any, text: str = TEXT, rate: int = RATE, **settings: Any) -> list[Speech]:
    async with tts.say(text, TtsSettings(**settings), rate) as stream:
        return [piece async for piece in stream]


def hum(seconds: float) -> Samples:
    return np.full(round(seconds * RATE), 1000, np.int16)


# -- thinking -------------------------------------------------------------------------------------


async def test_what_a_mind_is_told_and_tells() -> None:
    """Text comes as it is thought, tools whole, tokens at the end; the history is written as the API has it."""
    async with mind(tools=[("book", '{"day": "Tuesday"}'), ("end_call", "")]) as (fake, llm):
        got = await thoughts(llm, prompt())
        assert "".join(thought.text for thought in got if isinstance(thought, Delta)).strip() == fake.words
        assert [thought for thought in got if isinstance(thought, ToolCall)] == [
            ToolCall("call_0", "book", {"day": "Tuesday"}),
            ToolCall("call_1", "end_call", {}),
        ]
        assert got[-1] == Usage(20, 8)
        calls = tuple(thought for thought in got if isinstance(thought, ToolCall))
        results = [Message(role="tool", text="{}", tool_call_id=call.id) for call in calls]
        history = (Message(role="user", text="Book."), Message(role="assistant", tool_calls=calls), *results)
        await thoughts(llm, prompt(*history, temperature=0.1, max_tokens=9))
    first, second = fake.asked
    assert first["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "When do you open?"},
    ]
    assert first["tools"][0]["function"]["parameters"] == {
        "type": "object", "properties": {"day": {"type": "string"}},
    }  # fmt: skip
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert (second["model"], second["temperature"], second["max_tokens"]) == ("gpt-4o-mini", 0.1, 9)


async def test_models_that_reason_are_asked_in_their_own_words() -> None:
    """They refuse a temperature, and call the bound on tokens by another name."""
    async with mind() as (fake, llm):
        await thoughts(llm, prompt(model="gpt-5-mini"))
    (body,) = fake.asked
    assert "temperature" not in body
    assert "max_tokens" not in body
    assert body["max_completion_tokens"] == 250


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_failure_of_a_mind(fault: Fault) -> None:
    """Refused, busy, broken, garbage and cut are failures that say so; a stall is the caller's to end, cleanly."""
    async with mind(fault=fault) as (_, llm):
        if "stall" in fault:
            with trio.move_on_after(0.2) as patience:
                await thoughts(llm, prompt())
            assert patience.cancelled_caught
        else:
            with pytest.raises(ProviderFailed, match=MEANINGS[fault]) as failed:
                await thoughts(llm, prompt())
            assert (failed.value.provider, failed.value.stage) == ("openai", "llm")
            assert failed.value.retry_after == (7 if fault in {"refused", "busy", "broken"} else None)
            assert KEY not in str(failed.value)


async def test_nobody_there() -> None:
    """A server that is not there is a failure at once."""
    async with find("llm", "openai")(opening("http://127.0.0.1:1/v1", "openai")) as llm:
        with pytest.raises(ProviderFailed, match="no connection"):
            await thoughts(llm, prompt())


async def test_our_key_stays_with_our_server() -> None:
    """A tenant's own server is asked without our key, and only where its address may be reached."""
    async with open_openai() as ours, open_openai() as theirs:
        async with find("llm", "openai")(opening(ours.url, "openai")) as llm:
            with pytest.raises(ProviderFailed, match="https"):
                await thoughts(llm, prompt(base_url=theirs.url))
            await thoughts(llm, prompt(base_url=f"{ours.url}/"))
        rules = AddressRules(allow_http=True, ports=None, subnets=parse_networks(["127.0.0.0/8"]))
        async with open_openai_llm(opening(ours.url, "openai"), rules) as llm:
            with pytest.raises(ProviderFailed, match="401"):
                await thoughts(llm, prompt(base_url=theirs.url))
    assert theirs.keys == [None]
    assert ours.keys == [f"Bearer {KEY}"]


async def test_answers_share_a_connection() -> None:
    """A connection that was warmed serves turn after turn."""
    async with mind() as (fake, llm):
        await llm.warm()
        client = llm._ours
        kept = [id(connection) for idle in client._idle.values() for connection, _ in idle]
        for _ in range(3):
            await thoughts(llm, prompt())
        assert [id(connection) for idle in client._idle.values() for connection, _ in idle] == kept
        assert len(kept) == 1
        assert len(fake.asked) == 3


@pytest.mark.parametrize(
    ("kind", "name", "variable"),
    [
        ("stt", "deepgram", "DEEPGRAM_API_KEY"),
        ("tts", "deepgram", "DEEPGRAM_API_KEY"),
        ("tts", "elevenlabs", "ELEVENLABS_API_KEY"),
        ("llm", "openai", "OPENAI_API_KEY"),
    ],
)
async def test_a_key_that_is_missing_is_named(kind: Any, name: str, variable: str) -> None:
    """Who configures an engine without its key is told which variable to set."""
    with pytest.raises(UsageError, match=variable):
        async with find(kind, name)(Opening(config=load({f"{kind.upper()}_PROVIDER": name}))):
            pass


# -- speaking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("vendor", VOICES)
async def test_every_failure_of_a_voice(vendor: str, fault: Fault) -> None:
    """Refused, busy, broken, garbage and cut are failures that say so; a stall is the caller's to end, cleanly."""
    async with voice(vendor, fault) as (_, tts):
        if "stall" in fault:
            with trio.move_on_after(0.2) as patience:
                await spoken(tts)
            assert patience.cancelled_caught
        else:
            meaning = "is not JSON" if (vendor, fault) == ("deepgram", "garbage") else MEANINGS[fault]
            with pytest.raises(ProviderFailed, match=meaning) as failed:
                await spoken(tts)
            assert (failed.value.provider, failed.value.stage) == (vendor, "tts")
            assert KEY not in str(failed.value)


async def test_a_socket_speaks_sentence_after_sentence() -> None:
    """Sockets are warmed, kept and shared; one that was left in a sentence is given up; each pace has its own."""
    async with voice("deepgram") as (fake, tts):
        await tts.warm(TtsSettings(), RATE)
        for _ in range(3):
            assert sum(len(piece.samples) for piece in await spoken(tts)) == round(len(TEXT) * 0.05 * RATE)
        assert len(fake.speaking) == 1
        async with tts.say(TEXT, TtsSettings(), RATE) as stream:
            await anext(stream)
        await spoken(tts)
        assert len(fake.speaking) == 2
        await spoken(tts, rate=24_000)
        await spoken(tts, voice="luna")
    paces = [(query["model"][0], query["sample_rate"][0]) for query in fake.speaking]
    assert paces[2:] == [("aura-2-thalia-en", "24000"), ("aura-2-luna-en", "8000")]


async def test_a_socket_that_has_said_much_rests() -> None:
    """A socket takes so many sentences a minute: the next one has another."""
    async with voice("deepgram") as (fake, tts):
        for _ in range(19):
            await spoken(tts, "Hi.")
    assert len(fake.speaking) == 2


@pytest.mark.parametrize("relative", [False, True])
async def test_words_have_their_times(relative: bool) -> None:
    """Whether times count from the sentence or from each piece, words come in order and where they are spoken."""
    async with voice("elevenlabs", relative=relative) as (fake, tts):
        words = [word for piece in await spoken(tts) for word in piece.words]
    assert [word.text for word in words] == TEXT.split()
    assert words[0] == Word("Your", 0.0, 0.2)
    assert words[-1].began == pytest.approx(TEXT.index("nine") * 0.05)
    assert fake.asked[0][1]["model_id"] == "eleven_flash_v2_5"


async def test_the_pace_of_a_voice_is_kept_within_what_it_does() -> None:
    """A pace beyond the vendor's is the nearest it has, not an error."""
    async with voice("elevenlabs") as (fake, tts):
        async with tts.say("Hi.", TtsSettings(rate=2.0), RATE) as stream:
            assert [piece async for piece in stream]
    assert fake.asked[0][1]["voice_settings"] == {"speed": 1.2}
    async with voice("deepgram") as (fake, tts):
        async with tts.say("Hi.", TtsSettings(rate=0.5), RATE) as stream:
            assert [piece async for piece in stream]
    assert fake.speaking[0]["speed"] == ["0.7"]


# -- hearing --------------------------------------------------------------------------------------


@asynccontextmanager
async def ear(fake: FakeDeepgram, heard: list[Heard], **settings: Any) -> AsyncGenerator[Any]:
    async with find("stt", "deepgram")(opening(fake.url, "deepgram")) as stt:
        async with stt.listen(SttSettings(**settings), RATE, heard.append) as opened:
            yield opened


async def until(heard: list[Heard], kind: type[Heard], seconds: float = 5) -> None:
    with trio.fail_after(seconds):
        while not any(isinstance(what, kind) for what in heard):
            await trio.sleep(0.005)


async def test_an_utterance_is_heard() -> None:
    """Partial words as they come, then one final with the time of each word; audio of before the socket counts."""
    heard: list[Heard] = []
    async with open_deepgram() as fake, ear(fake, heard, keywords=("Invorto",), language="hi") as stt:
        stt.speech_began(trio.current_time())
        for _ in range(50):
            stt.push(hum(0.02))
        await until(heard, Partial)
        stt.speech_paused(trio.current_time())
        await until(heard, Final)
        assert len(fake.audio) == 2 * RATE
    assert heard[0] == Partial("Hello there.", 0.9) or heard[0] == Partial("Hello", 0.9)
    assert heard[-1] == Final("Hello there.", 0.9, (Word("Hello", 0, 0.3), Word("there.", 0.3, 0.6)))
    assert fake.listening[0]["keyterm"] == ["Invorto"]
    assert (fake.listening[0]["language"], fake.told) == (["hi"], ["Finalize"])


async def test_a_pause_in_which_nothing_was_heard_is_answered_too() -> None:
    """It says nothing where it heard nothing: then our own answer comes in time."""
    heard: list[Heard] = []
    async with open_deepgram(silent=True) as fake, ear(fake, heard) as stt:
        stt.speech_began(trio.current_time())
        stt.push(hum(0.1))
        stt.speech_paused(trio.current_time())
        began = trio.current_time()
        await until(heard, Final)
        assert trio.current_time() - began < 2.5
    assert heard == [Final("")]


@pytest.mark.parametrize("fault", FAULTS)
async def test_every_failure_of_an_ear(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens is heard as the engine's failure, once, within its patience."""
    monkeypatch.setattr("invorto.speech.stt.deepgram.SILENT", 3.0)
    monkeypatch.setattr("invorto.speech.websocket.CONNECT", 0.3)
    heard: list[Heard] = []
    async with open_deepgram(fault=fault) as fake, ear(fake, heard) as stt:
        stt.speech_began(trio.current_time())
        for _ in range(100):
            stt.push(hum(0.05))
            await trio.sleep(0.005)
        await until(heard, EngineFailed)
        stt.push(hum(0.05))
        stt.speech_paused(trio.current_time())
        await trio.sleep(0.05)
    (failed,) = (what for what in heard if isinstance(what, EngineFailed))
    assert (failed.provider, failed.stage) == ("deepgram", "stt")
    assert heard[-1] is failed


async def test_an_ear_that_cannot_send_keeps_what_it_can() -> None:
    """While the socket does not open, two seconds outside speech are kept and the oldest dropped, counted."""
    heard: list[Heard] = []
    async with open_deepgram(fault="stall") as fake, ear(fake, heard) as stt:
        for _ in range(30):
            stt.push(hum(0.1))
        assert len(stt._audio) == 2 * 2 * RATE
        assert stt.dropped == RATE


# -- cancelled anywhere ---------------------------------------------------------------------------


@pytest.mark.parametrize("step", range(1, 90, 1 if os.environ.get("PROVE") else 12))
async def test_cancelled_at_each_step(step: int) -> None:
    """Whatever await a cancellation meets, nothing stays open: the guard of the tests sees to it."""
    async with mind() as (_, llm), voice("deepgram") as (aura, tts), voice("elevenlabs") as (_, eleven):

        async def all_of_it(scope: trio.CancelScope) -> None:
            with scope:
                await thoughts(llm, prompt())
                await spoken(tts, "Hi there.")
                await spoken(eleven, "Hi there.")
                async with ear(aura, []) as stt:
                    stt.push(hum(0.5))
                    stt.speech_paused(trio.current_time())
                    await trio.sleep(0.05)

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(all_of_it, scope)
            for _ in range(step):
                await trio.testing.wait_all_tasks_blocked(0.0005)
            scope.cancel()
        await spoken(tts, "Hi there.")
