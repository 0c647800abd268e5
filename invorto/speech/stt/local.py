"""The ear of this machine: Moonshine in a process of its own, on utterances that the detector has cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, override

import attrs
import structlog
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import SttSettings
from invorto.speech.opening import Opening, require
from invorto.speech.ports import EngineFailed, Final, Heard, Partial, Samples, Stt, SttStream
from invorto.speech.worker import Job, Worker, open_worker

log = structlog.get_logger(__name__)

LOOK_BACK = 2.0
"""Seconds kept outside speech: what a detector that is behind may still ask for."""
PRE_ROLL = 0.3
"""Seconds before the onset that belong to the utterance: soft beginnings are heard late."""
FIRST_PARTIAL = 0.3
"""Seconds after the onset of the first partial words: soon enough to tell a barge-in from a cough."""
PARTIAL = 0.5
"""Seconds between partial words at the least; a longer utterance takes the model longer, and has fewer."""
LONGEST = 30.0
"""Seconds of one utterance: what goes on longer is cut, and its parts are heard one by one."""
WIDTH = 2
"""Bytes of a sample."""


@attrs.define
class _Utterance:
    """Speech that was cut and whose words are owed."""

    pcm: bytes
    again: bool = False
    """Whether the process that had it died, and this is its second chance."""


class LocalEar(SttStream):
    """One caller's ear; it takes no task."""

    def __init__(self, worker: Worker, rate: int, hear: Callable[[Heard], None]) -> None:
        self.dropped = 0
        """Samples that were dropped outside speech."""
        self._worker, self._rate, self._hear = worker, rate, hear
        self._audio = bytearray()
        self._speaking = False
        self._partial: int | None = None
        self._partial_asked = 0.0
        self._next_partial = 0
        self._orders: set[int] = set()
        self._closed = False

    @override
    def push(self, samples: Samples) -> None:
        if self._closed:
            return
        self._audio += samples.astype("<i2", copy=False).tobytes()
        if not self._speaking:
            self._keep(LOOK_BACK)
        elif len(self._audio) >= self._bytes(LONGEST):
            self._cut()
        elif len(self._audio) >= self._next_partial and self._partial is None:
            self._guess()

    @override
    def speech_began(self, at: float) -> None:
        if self._closed or self._speaking:
            return
        self._speaking = True
        since = trio.current_time() - at
        self._keep(since + PRE_ROLL)
        self._next_partial = len(self._audio) + self._bytes(FIRST_PARTIAL) - self._bytes(since)

    @override
    def speech_paused(self, at: float) -> None:
        if self._closed:
            return
        if not self._speaking:
            self._audio.clear()
        self._speaking = False
        self._cut()

    def close(self) -> None:
        """Forget the caller, and what was ordered for them."""
        self._closed = True
        for number in self._orders:
            self._worker.drop(number)
        self._audio.clear()

    def _bytes(self, seconds: float) -> int:
        return max(round(seconds * self._rate), 0) * WIDTH

    def _keep(self, seconds: float) -> None:
        """Drop the oldest of what is more than so many seconds."""
        surplus = len(self._audio) - self._bytes(seconds)
        if surplus > 0:
            del self._audio[:surplus]
            self.dropped += surplus // WIDTH

    # -- partial words ----------------------------------------------------------------------------

    def _guess(self) -> None:
        """Ask for the words so far; at most one such question is on its way."""
        self._next_partial = len(self._audio) + self._bytes(max(PARTIAL, 0.15 * len(self._audio) / WIDTH / self._rate))
        self._partial_asked = trio.current_time()
        try:
            self._partial = self._order(bytes(self._audio), self._guessed, urgent=1)
        except ProviderFailed:
            log.debug("partial_skipped")  # too much is waiting: the final words matter more

    def _guessed(self, body: Any, last: bool) -> None:  # noqa: FBT001  # the shape of a callback
        if last:
            self._orders.discard(self._partial or 0)
            self._partial = None
            took = trio.current_time() - self._partial_asked  # a machine that is slow is spared for the final words
            self._next_partial = max(self._next_partial, len(self._audio) + self._bytes(2 * took))
        elif body["text"]:
            self._hear(Partial(body["text"]))

    # -- final words ------------------------------------------------------------------------------

    def _cut(self) -> None:
        """Give what was said until now to the model; guesses about it are of no more use."""
        if self._partial is not None:
            self._orders.discard(self._partial)
            self._worker.drop(self._partial)
            self._partial = None
        utterance = _Utterance(bytes(self._audio))
        self._audio.clear()
        self._next_partial = self._bytes(PARTIAL)
        self._transcribe(utterance)

    def _transcribe(self, utterance: _Utterance) -> None:
        text = ""
        number = 0

        def told(body: Any, last: bool) -> None:  # noqa: FBT001  # the shape of a callback
            nonlocal text
            if isinstance(body, ProviderFailed):
                self._orders.discard(number)
                self._failed(utterance, body)
            elif last:
                self._orders.discard(number)
                self._hear(Final(text))
            else:
                text = body["text"]

        try:
            number = self._order(utterance.pcm, told, urgent=0)
        except ProviderFailed as error:
            utterance.again = True
            self._failed(utterance, error)

    def _failed(self, utterance: _Utterance, error: ProviderFailed) -> None:
        """Try once more in the next process, then give up for this call."""
        if self._closed:
            return
        if not utterance.again:
            utterance.again = True
            self._transcribe(utterance)
            return
        self.close()
        self._hear(EngineFailed(error.provider, "stt", str(error)))

    def _order(self, pcm: bytes, told: Callable[[Any, bool], None], urgent: int) -> int:
        number = self._worker.submit("transcribe", {"pcm": pcm, "rate": self._rate}, told, urgent)
        self._orders.add(number)
        return number


class LocalStt(Stt):
    """Moonshine, one process for all calls."""

    name = "local"

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # known once it is loaded
        """Say which model, once it is loaded."""
        return (self.worker.about or {}).get("version", "moonshine")

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self.worker.ready

    async def wait_ready(self) -> None:
        """Wait until the model is loaded, or has failed to."""
        await self.worker.wait_ready()

    @override
    @asynccontextmanager
    async def listen(self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]) -> AsyncIterator[LocalEar]:
        ear = LocalEar(self.worker, rate, hear)
        try:
            yield ear
        finally:
            ear.close()


@asynccontextmanager
async def open_stt(opening: Opening) -> AsyncIterator[LocalStt]:
    """Start Moonshine's process; it loads in the background."""
    require("moonshine_voice", "the local ear")
    job = Job("invorto.speech.stt.moonshine:Moonshine", "local", "stt")
    async with open_worker(job, opening.progress) as worker:
        yield LocalStt(worker)
