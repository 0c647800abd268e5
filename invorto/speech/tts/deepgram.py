"""The `deepgram` voice: Aura's sockets, kept open between sentences and shared by all calls."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import override

import attrs
import numpy as np
import trio

from invorto.config import Cloud
from invorto.errors import ProviderFailed
from invorto.model.agent import TtsSettings
from invorto.speech.opening import Opening
from invorto.speech.ports import Speech, Tts
from invorto.speech.vendor import Vendor, needed
from invorto.speech.websocket import Socket, open_socket

AURA = Vendor("deepgram", "tts")
VOICE = "aura-2-thalia-en"
RATES = frozenset({8000, 16_000, 24_000, 32_000, 48_000})
"""At which it speaks linear16."""
SLOWEST, FASTEST = 0.7, 1.5
"""How far it changes its pace."""
LONGEST = 2000
"""Characters that it takes at once."""
IDLE = 30.0
"""Seconds that a socket waits for its next sentence."""
MOST_IDLE = 20
"""Sockets that wait."""
FLUSHES, WINDOW = 18, 60.0
"""Sentences that one socket may be given within so many seconds: it refuses the twenty-first."""

type Key = tuple[str, int, float]
"""Voice, rate, pace: a socket speaks with one of each."""


@attrs.define(eq=False)
class _Line:
    """A socket that is kept by a task of its own."""

    key: Key
    socket: Socket
    done: trio.Event = attrs.field(factory=trio.Event)
    """Set to have it closed."""
    since: float = 0.0
    """When it was put away."""
    flushed: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=FLUSHES))
    """When it was given its last sentences."""

    def fit(self, now: float) -> bool:
        """Tell whether it can take a sentence now."""
        spent = len(self.flushed) == FLUSHES and now - self.flushed[0] < WINDOW
        return self.socket.open and not spent


class _Spoken:
    """A sentence as it comes."""

    def __init__(self, socket: Socket) -> None:
        self.over = False
        """Whether all of it has come: then the socket is free for another."""
        self._socket = socket
        self._odd = b""

    def __aiter__(self) -> _Spoken:
        return self

    async def __anext__(self) -> Speech:
        while not self.over:
            message = await self._socket.hear()
            if isinstance(message, bytes):
                pcm = self._odd + message
                whole = len(pcm) // 2 * 2
                self._odd = pcm[whole:]
                if whole:
                    return Speech(np.frombuffer(pcm[:whole], "<i2").astype(np.int16, copy=False))
                continue
            match message.get("type"):
                case "Flushed":
                    self.over = True
                case "Error" | "Warning":
                    raise AURA.failed(str(message.get("description") or message.get("err_msg"))[:200])
                case _:
                    pass  # metadata
        raise StopAsyncIteration


class DeepgramTts(Tts):
    """Speaks by Aura."""

    name = "deepgram"

    def __init__(self, cloud: Cloud, key: str, nursery: trio.Nursery, voice: str | None, model: str | None) -> None:
        self._voice = _full(voice, model) or VOICE
        self.version = self._voice
        self._nursery, self._base, self._key = nursery, cloud.deepgram_base_url, key
        self._idle: list[_Line] = []

    @override
    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Stream one sentence; where it is left early, its socket is given up."""
        if rate not in RATES:
            raise AURA.failed(f"it does not speak at {rate} Hz")
        line = await self._take(self._of(settings, rate))
        try:
            line.flushed.append(trio.current_time())
            for at in range(0, len(text), LONGEST):
                await line.socket.tell(type="Speak", text=text[at : at + LONGEST])
            await line.socket.tell(type="Flush")
            spoken = _Spoken(line.socket)
            yield spoken
            if spoken.over:
                self._put_away(line)
                return
            line.done.set()
        except BaseException:
            line.done.set()
            raise

    async def warm(self, settings: TtsSettings, rate: int) -> None:
        """Connect beforehand: the first sentence of a call need not wait for that."""
        key = self._of(settings, rate)
        if rate in RATES and not any(line.key == key and line.fit(trio.current_time()) for line in self._idle):
            self._put_away(await self._connect(key))

    def _of(self, settings: TtsSettings, rate: int) -> Key:
        return _full(settings.voice, settings.model) or self._voice, rate, min(max(settings.rate, SLOWEST), FASTEST)

    async def _take(self, key: Key) -> _Line:
        now = trio.current_time()
        for line in reversed(self._idle):
            if line.key == key and line.fit(now):
                self._idle.remove(line)
                return line
        return await self._connect(key)

    async def _connect(self, key: Key) -> _Line:
        return await self._nursery.start(self._keep, key)

    def _put_away(self, line: _Line) -> None:
        """Keep a socket for the next sentence, and let go of the one that has waited longest if there are too many."""
        line.since = trio.current_time()
        self._idle.append(line)
        if len(self._idle) > MOST_IDLE:
            self._idle.pop(0).done.set()

    async def _keep(self, key: Key, *, task_status: trio.TaskStatus[_Line] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a socket open for as long as it is of use; what goes wrong later, its sentence is told."""
        voice, rate, pace = key
        query = {"model": voice, "encoding": "linear16", "sample_rate": rate, "container": "none"}
        query |= {"speed": pace} if pace != 1.0 else {}
        line: _Line | None = None
        try:
            async with open_socket(
                AURA, f"{self._base}/v1/speak", query, {"Authorization": f"Token {self._key}"}
            ) as socket:
                line = _Line(key, socket)
                task_status.started(line)
                while not line.done.is_set():
                    with trio.move_on_after(IDLE / 2):
                        await line.done.wait()
                    if line in self._idle and trio.current_time() - line.since >= IDLE:
                        break
        except ProviderFailed:
            if line is None:
                raise
        finally:
            with suppress(ValueError):
                self._idle.remove(line)  # pyright: ignore[reportArgumentType]


def _full(voice: str | None, model: str | None) -> str | None:
    """Give the name of a voice as Aura has it: ``aura-2-thalia-en`` of ``thalia``, too."""
    if voice is None:
        return model if model is not None and model.count("-") > 1 else None
    return voice if voice.startswith("aura") else f"{model or 'aura-2'}-{voice}-en"


@asynccontextmanager
async def open_tts(opening: Opening) -> AsyncIterator[DeepgramTts]:
    """Open the voice; `UsageError` without a key."""
    cloud = opening.config.cloud
    key = needed(cloud.deepgram_api_key, "DEEPGRAM_API_KEY")
    async with trio.open_nursery() as nursery:
        yield DeepgramTts(cloud, key, nursery, *opening.first_voice("deepgram"))
        nursery.cancel_scope.cancel()
