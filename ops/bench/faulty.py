"""Engines that misbehave: each of them hangs, raises or stalls at some point of each call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, override

import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import SttSettings, TtsSettings
from invorto.speech.ports import EngineFailed, Heard, Speech, Stt, SttStream
from invorto.speech.scripted import Reply, Script, ScriptedLlm, ScriptedTts

GOOD = "scripted"
SAY = "Of course I can do that for you"


class _FailingEar(SttStream):
    """Is gone when the first utterance is over."""

    def __init__(self, hear: Callable[[Heard], None]) -> None:
        self._hear = hear

    @override
    def push(self, samples: object) -> None:
        pass

    @override
    def speech_began(self, at: float) -> None:
        pass

    @override
    def speech_paused(self, at: float) -> None:
        self._hear(EngineFailed("raises", "stt", "told to fail"))


class _DeafEar(_FailingEar):
    """Never says what it heard."""

    @override
    def speech_paused(self, at: float) -> None:
        pass


class FaultyStt(Stt):
    """Opens ears of one of the two kinds."""

    version = "1"

    def __init__(self, name: str) -> None:
        self.name = name

    @override
    @asynccontextmanager
    async def listen(self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]) -> AsyncIterator[SttStream]:
        """Open one."""
        yield _FailingEar(hear) if self.name == "raises" else _DeafEar(hear)


class FaultyTts(ScriptedTts):
    """Raises, or goes silent for ever, in the middle of a sentence; or raises what no engine may."""

    def __init__(self, name: str) -> None:
        super().__init__(Script())
        self.name = name

    @override
    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Begin a sentence well."""
        async with super().say(text, settings, rate) as speech:
            yield self._begin(speech)

    def _begin(self, speech: AsyncIterator[Speech]) -> AsyncIterator[Speech]:
        return _Broken(speech, self.name)


class _Broken:
    def __init__(self, speech: AsyncIterator[Speech], name: str) -> None:
        self._speech, self._name, self._begun = speech, name, False

    def __aiter__(self) -> _Broken:
        return self

    async def __anext__(self) -> Speech:
        if not self._begun:
            self._begun = True
            return await self._speech.__anext__()
        await trio.lowlevel.checkpoint()
        if self._name == "raises":
            raise ProviderFailed("raises", "tts", "told to fail")
        if self._name == "breaks":
            raise RuntimeError("told to break")
        await trio.sleep_forever()
        raise AssertionError("unreachable")


def engines() -> dict[tuple[str, str], Any]:
    """Make all of them, by kind and name."""
    broken = (Reply(say=SAY, fail="told to fail"), Reply(say=SAY))
    return {
        ("stt", "raises"): FaultyStt("raises"),
        ("stt", "hangs"): FaultyStt("hangs"),
        ("llm", "raises"): ScriptedLlm(Script(llm_ms=50, replies=broken)),
        ("llm", "stalls"): ScriptedLlm(Script(llm_ms=50, replies=(Reply(say="Well,", stall=True),))),
        ("llm", "hangs"): ScriptedLlm(Script(replies=(Reply(stall=True),))),
        ("tts", "raises"): FaultyTts("raises"),
        ("tts", "stalls"): FaultyTts("stalls"),
        ("tts", "breaks"): FaultyTts("breaks"),
    }


AGENTS: dict[str, dict[str, str]] = {
    "good": {},
    "deaf": {"stt": "hangs"},
    "stt-raises": {"stt": "raises"},
    "llm-raises": {"llm": "raises"},
    "llm-stalls": {"llm": "stalls"},
    "llm-hangs": {"llm": "hangs"},
    "tts-raises": {"tts": "raises"},
    "tts-stalls": {"tts": "stalls"},
    "tts-breaks": {"tts": "breaks"},
}
"""Agents by name, and which of their engines misbehaves."""


def document(name: str) -> dict[str, Any]:
    """Write down the agent of a name."""
    kinds: dict[str, dict[str, Any]] = {
        kind: {"provider": AGENTS[name].get(kind, GOOD)} for kind in ("stt", "llm", "tts")
    }
    kinds["tts"]["rate"] = 1.05  # seven words are two seconds
    # A question whether somebody is there would count as an answer.
    return {"greeting": None, "silence": {"nudgeAfter": 600, "hangUpAfter": 3600}, **kinds}
