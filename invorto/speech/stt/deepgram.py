"""The `deepgram` ear: one socket a call; the detector's pauses ask for what is final."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, override

import trio

from invorto.config import Cloud
from invorto.errors import ProviderFailed
from invorto.model.agent import SttSettings
from invorto.speech.opening import Opening
from invorto.speech.ports import EngineFailed, Heard, Samples, Stt, SttStream
from invorto.speech.stt.results import Results
from invorto.speech.vendor import Vendor, needed
from invorto.speech.websocket import Socket, open_socket

DEEPGRAM = Vendor("deepgram", "stt")
WIDTH = 2
"""Bytes of a sample."""
BATCH = 0.08
"""Seconds of audio in one message: fewer wake-ups than a message a frame, and a pause sends what there is at once."""
LOOK_BACK = 2.0
"""Seconds kept outside speech while nothing can be sent; of speech itself, as much as a connection may take."""
LONGEST = 30.0
"""Seconds kept in speech while nothing can be sent."""
FINAL = 1.5
"""Seconds after a pause in which the final words come; then those that are there count."""
SILENT = 10.0
"""Seconds of audio without a word from the far end, after which it is gone."""
ALIVE = 4.0
"""Seconds without audio after which we say that we are there: it hangs up after ten."""
KEYWORDS = 100
"""Terms that it takes."""


class DeepgramEar(SttStream):
    """One caller's ear; `run` is its only task."""

    def __init__(self, rate: int, hear: Callable[[Heard], None]) -> None:
        self.dropped = 0
        """Samples that were dropped while nothing could be sent."""
        self._rate, self._hear = rate, hear
        self._audio = bytearray()
        self._asks: deque[int] = deque()
        """How many bytes of the audio belong before each pause that is still to be told."""
        self._results = Results()
        self._due: deque[float] = deque()
        """When each pause that was told must have been answered."""
        self._speaking = self._closed = False
        self._stir = trio.Event()
        self._unheard = 0.0

    @override
    def push(self, samples: Samples) -> None:
        if self._closed:
            return
        self._audio += samples.astype("<i2", copy=False).tobytes()
        if len(self._audio) >= self._bytes(BATCH):
            self._stir.set()
            self._keep(LONGEST if self._speaking else LOOK_BACK)

    @override
    def speech_began(self, at: float) -> None:
        self._speaking = True

    @override
    def speech_paused(self, at: float) -> None:
        if self._closed:
            return
        self._speaking = False
        self._asks.append(len(self._audio))
        self._stir.set()

    def close(self) -> None:
        """Forget the caller."""
        self._closed = True
        self._audio.clear()

    async def run(self, url: str, query: dict[str, Any], headers: dict[str, str]) -> None:
        """Stream until cancelled; a failure is heard, once."""
        try:
            async with open_socket(DEEPGRAM, url, query, headers) as socket, trio.open_nursery() as nursery:
                nursery.start_soon(self._send, socket)
                nursery.start_soon(self._receive, socket)
        except* ProviderFailed as group:
            error = next(_leaves(group))
            if not self._closed:
                self.close()
                self._hear(EngineFailed(error.provider, "stt", str(error)))

    def _bytes(self, seconds: float) -> int:
        return round(seconds * self._rate) * WIDTH

    def _keep(self, seconds: float) -> None:
        """Drop the oldest of what is more than so many seconds."""
        surplus = len(self._audio) - self._bytes(seconds)
        if surplus > 0:
            del self._audio[:surplus]
            self.dropped += surplus // WIDTH
            self._asks = deque(max(ask - surplus, 0) for ask in self._asks)

    async def _send(self, socket: Socket) -> None:
        while True:
            wait = min(ALIVE, max(self._due[0] - trio.current_time(), 0.0) if self._due else ALIVE)
            with trio.move_on_after(wait) as idle:
                await self._stir.wait()
            self._settle()
            if idle.cancelled_caught:
                if wait >= ALIVE:
                    await socket.tell(type="KeepAlive")
                continue
            self._stir = trio.Event()
            await self._send_all(socket)

    async def _send_all(self, socket: Socket) -> None:
        """Send what there is, and each pause at its place."""
        while self._audio or self._asks:
            size = self._asks.popleft() if self._asks else -1
            audio = bytes(self._audio[:size] if size >= 0 else self._audio)
            del self._audio[: len(audio)]
            self._asks = deque(ask - len(audio) for ask in self._asks)
            if size >= 0:
                self._results.owed += 1
                self._due.append(trio.current_time() + FINAL)
            if audio:
                self._unheard += len(audio) / WIDTH / self._rate
                if self._unheard > SILENT:
                    raise DEEPGRAM.failed(f"nothing came for {SILENT:g} s of audio")
                await socket.send(audio)
            if size >= 0:
                await socket.tell(type="Finalize")

    def _settle(self) -> None:
        """Answer pauses that it does not answer in time: it says nothing where it heard nothing."""
        while self._due and self._due[0] <= trio.current_time():
            self._due.popleft()
            self._hear(self._results.settle())

    async def _receive(self, socket: Socket) -> None:
        while True:
            message = await socket.hear()
            self._unheard = 0.0
            if isinstance(message, bytes):
                raise DEEPGRAM.failed("it sent audio")
            match message.get("type"):
                case "Results":
                    self._results_came(message)
                case "Error":
                    raise DEEPGRAM.failed(str(message.get("description") or message.get("message"))[:200])
                case _:
                    pass  # metadata, and what later versions may tell

    def _results_came(self, message: dict[str, Any]) -> None:
        try:
            heard = self._results.take(message)
        except ValueError as error:
            raise DEEPGRAM.failed(str(error)) from None
        while len(self._due) > self._results.owed:
            self._due.popleft()
        for each in heard:
            if not self._closed:
                self._hear(each)


class DeepgramStt(Stt):
    """Hears by Deepgram's streaming socket."""

    name = "deepgram"

    def __init__(self, cloud: Cloud) -> None:
        self.version = cloud.deepgram_model
        self._cloud, self._key = cloud, needed(cloud.deepgram_api_key, "DEEPGRAM_API_KEY")

    @override
    @asynccontextmanager
    async def listen(
        self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]
    ) -> AsyncIterator[DeepgramEar]:
        """Open an ear; it hears from the first frame on, and connects meanwhile."""
        ear = DeepgramEar(rate, hear)
        url, headers = f"{self._cloud.deepgram_base_url}/v1/listen", {"Authorization": f"Token {self._key}"}
        async with trio.open_nursery() as nursery:
            # It keeps what is pushed until it runs.
            nursery.start_soon(ear.run, url, self._query(settings, rate), headers)  # noqa: ASYNC113
            try:
                yield ear
            finally:
                ear.close()
                nursery.cancel_scope.cancel()

    def _query(self, settings: SttSettings, rate: int) -> dict[str, Any]:
        model = settings.model or self._cloud.deepgram_model
        query: dict[str, Any] = {
            "model": model,
            "language": settings.language or self._cloud.deepgram_language,
            "encoding": "linear16",
            "sample_rate": rate,
            "channels": 1,
            "interim_results": "true",
            "smart_format": "true",
            "endpointing": "false",  # the detector tells of pauses
        }
        if settings.keywords:  # the newer models call them by another name
            name = "keyterm" if model.startswith(("nova-3", "flux")) else "keywords"
            query[name] = list(settings.keywords[:KEYWORDS])
        return query


def _leaves(group: BaseExceptionGroup[ProviderFailed]) -> Iterator[ProviderFailed]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@asynccontextmanager
async def open_stt(opening: Opening) -> AsyncIterator[DeepgramStt]:
    """Open the ear; `UsageError` without a key."""
    yield DeepgramStt(opening.config.cloud)
