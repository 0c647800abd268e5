"""A detector that goes by loudness: exact and at once, for conversations in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NoReturn

import numpy as np
import trio

from invorto.speech.gate import Gate
from invorto.speech.opening import Opening
from invorto.speech.ports import Samples, SpeechBegan, SpeechPaused

LOUD = 500
"""Mean magnitude, of 32767, from which a frame counts as speech: the scripted voice is below."""


class LevelStream:
    """One caller; the verdict on a frame is given while it is pushed."""

    def __init__(self, rate: int, notify: Callable[[SpeechBegan | SpeechPaused], None]) -> None:
        self.probability = 0.0
        self.gate = Gate()
        self._rate, self._notify = rate, notify

    @property
    def speaking(self) -> bool:
        """Whether speech has begun and not paused."""
        return self.gate.speaking

    def push(self, samples: Samples, at: float) -> None:
        """Take in audio whose end was heard at *at*."""
        if len(samples):
            self.probability = float(np.abs(samples.astype(np.int32)).mean() >= LOUD)
            verdict = self.gate.step(self.probability, at - len(samples) / self._rate, at)
            if verdict is not None:
                self._notify(verdict)

    def expect(self, barge_in_ms: float) -> None:
        """Speech counts as begun after this many milliseconds of it."""
        self.gate.barge_in = barge_in_ms / 1000

    def close(self) -> None:
        """Forget the caller."""
        self._notify = _ignore


def _ignore(_: SpeechBegan | SpeechPaused) -> None:
    pass


class LevelVad:
    """The detector of tests; it has nothing to run."""

    name = "scripted"
    version = "1"

    def attach(self, rate: int, notify: Callable[[SpeechBegan | SpeechPaused], None]) -> LevelStream:
        """Listen to a caller at any rate."""
        return LevelStream(rate, notify)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Do nothing, for ever."""
        task_status.started()
        await trio.sleep_forever()
        raise AssertionError("unreachable")


@asynccontextmanager
async def open_vad(_: Opening) -> AsyncIterator[LevelVad]:
    """Make a detector."""
    yield LevelVad()
