"""Sentences that were spoken before are spoken from memory: greetings and set phrases start at once.

One store for the process, shared by all voices and calls, least recently used out first. Only whole sentences enter it:
one that was interrupted, or whose engine failed, leaves nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from invorto.model.agent import TtsSettings
from invorto.speech.ports import Speech, Tts

_OVERHEAD: Final = 512
"""Bytes that a piece takes besides its samples: its key, objects and words, roughly."""
_LARGEST: Final = 8
"""One sentence may take an eighth of the store, lest a long one throws out all the greetings."""


@attrs.frozen
class Said:
    """What a sentence depends on: engine and version, voice, model, speed, text, and the call's rate."""

    engine: str
    version: str
    voice: str | None
    model: str | None
    speed: float
    text: str
    rate: int


class SpeechCache:
    """At most *limit* bytes of spoken sentences; 0 keeps nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes it holds."""
        self.hits = self.misses = 0
        self._kept: OrderedDict[Said, tuple[Speech, ...]] = OrderedDict()
        self.making: dict[Said, trio.Event] = {}
        """What is being prepared beforehand."""

    @property
    def largest(self) -> int:
        """Bytes that one sentence may take."""
        return self.limit // _LARGEST

    def find(self, said: Said) -> tuple[Speech, ...] | None:
        """Give a sentence's audio, and count whether it was there."""
        pieces = self._kept.get(said)
        if pieces is None:
            self.misses += 1
            return None
        self.hits += 1
        self._kept.move_to_end(said)
        return pieces

    def holds(self, said: Said) -> bool:
        """Tell whether a sentence is there, without counting."""
        return said in self._kept

    def keep(self, said: Said, pieces: tuple[Speech, ...]) -> None:
        """Take in a whole sentence, and let go of what was not used for longest."""
        size = sum(map(weight, pieces))
        if size > self.largest:
            return
        if (old := self._kept.pop(said, None)) is not None:
            self.size -= sum(map(weight, old))
        self._kept[said] = pieces
        self.size += size
        while self.size > self.limit:
            _, dropped = self._kept.popitem(last=False)
            self.size -= sum(map(weight, dropped))


def weight(piece: Speech) -> int:
    """Give about how many bytes a piece takes."""
    return piece.samples.nbytes + _OVERHEAD + 100 * len(piece.words)


class CachedTts:
    """A voice (`Tts`) that remembers, in *cache*, what it has said."""

    def __init__(self, tts: Tts, cache: SpeechCache) -> None:
        self._tts, self._cache = tts, cache
        self.name, self.version = tts.name, tts.version
        self.warm = getattr(tts, "warm", None)
        """Connects beforehand, where the voice does."""

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Stream one sentence at *rate* Hz, from memory where it was said before; as `Tts.say` otherwise."""
        said = self._said(text, settings, rate)
        if (being_made := self._cache.making.get(said)) is not None:
            await being_made.wait()
        if (pieces := self._cache.find(said)) is not None:
            yield _Remembered(pieces)
            return
        async with self._tts.say(text, settings, rate) as speech:
            yield _Remembering(speech, said, self._cache)

    async def prepare(self, text: str, settings: TtsSettings, rate: int) -> None:
        """
        Say *text* into the cache, unless it is there or on its way; who wants to hear it meanwhile waits for it.

        `ProviderFailed` as from `say`; then, and when cancelled, nothing is kept.
        """
        said = self._said(text, settings, rate)
        if self._cache.holds(said):
            return
        if (being_made := self._cache.making.get(said)) is not None:
            await being_made.wait()
            return
        done = self._cache.making[said] = trio.Event()
        try:
            async with self._tts.say(text, settings, rate) as speech:
                async for _ in _Remembering(speech, said, self._cache):
                    pass
        finally:
            del self._cache.making[said]
            done.set()

    def _said(self, text: str, settings: TtsSettings, rate: int) -> Said:
        return Said(self.name, self.version, settings.voice, settings.model, settings.rate, text.strip(), rate)


class _Remembered:
    """Gives what is in memory."""

    def __init__(self, pieces: tuple[Speech, ...]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> _Remembered:
        return self

    async def __anext__(self) -> Speech:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


class _Remembering:
    """Passes on what an engine says, and keeps it once it is whole."""

    def __init__(self, speech: AsyncIterator[Speech], said: Said, cache: SpeechCache) -> None:
        self._speech, self._said, self._cache = speech, said, cache
        self._pieces: list[Speech] | None = []
        self._size = 0

    def __aiter__(self) -> _Remembering:
        return self

    async def __anext__(self) -> Speech:
        try:
            piece = await anext(self._speech)
        except StopAsyncIteration:
            if self._pieces:
                self._cache.keep(self._said, tuple(self._pieces))
            self._pieces = None
            raise
        except BaseException:
            self._pieces = None  # half a sentence, whatever its iterator may say when it is asked again
            raise
        if self._pieces is not None:
            self._size += weight(piece)
            if self._size > self._cache.largest:
                self._pieces = None
            else:
                self._pieces.append(_own(piece))
        return piece


def _own(piece: Speech) -> Speech:
    """Copy a piece's samples, which may be a view of something larger; read-only, since many calls share them."""
    samples = piece.samples.copy()
    samples.setflags(write=False)
    return Speech(samples, piece.words, made_by="")
