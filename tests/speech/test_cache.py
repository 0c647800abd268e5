"""The cache of speech: the same sentence is not made twice, half a sentence is never kept."""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager

import attrs
import numpy as np
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import ProviderFailed
from invorto.model.agent import TtsSettings
from invorto.speech.cache import CachedTts, Said, SpeechCache, weight
from invorto.speech.ports import Speech, Word

PIECES = 4
SETTINGS = TtsSettings(voice="joe")


@attrs.define
class Mouth:
    """An engine that counts what it is asked, and can be made to fail at a piece."""

    name: str = "mouth"
    version: str = "1"
    asked: list[str] = attrs.field(factory=list)
    open: int = 0
    fails_at: int | None = None
    size: int = 100
    pace: float = 0.1

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int):
        self.asked.append(text)
        self.open += 1
        try:
            async with aclosing(self._speak()) as speech:
                yield speech
        finally:
            self.open -= 1

    async def _speak(self):
        whole = np.arange(PIECES * self.size, dtype=np.int16)
        for number in range(PIECES):
            await trio.sleep(self.pace)
            if number == self.fails_at:
                raise ProviderFailed(self.name, "tts", "lost its voice")
            yield Speech(whole[number * self.size : (number + 1) * self.size], (Word(f"w{number}", 0, 1),))


async def hear(
    tts: CachedTts, text: str = "Hello.", settings: TtsSettings = SETTINGS, rate: int = 8000
) -> list[Speech]:
    async with tts.say(text, settings, rate) as speech:
        return [piece async for piece in speech]


async def test_the_second_time_comes_from_memory(autojump_clock):
    """The same sentence sounds the same, words included, at once, and the engine is not asked again."""
    mouth, cache = Mouth(), SpeechCache(10**6)
    tts = CachedTts(mouth, cache)
    first = await hear(tts)
    began = trio.current_time()
    again = await hear(CachedTts(mouth, cache), "Hello. ")
    assert trio.current_time() == began
    assert mouth.asked == ["Hello."]
    assert [piece.samples.tolist() for piece in again] == [piece.samples.tolist() for piece in first]
    assert [piece.words for piece in again] == [piece.words for piece in first]
    assert (cache.hits, cache.misses) == (1, 1)
    assert (tts.name, tts.version) == ("mouth", "1")


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Hello!"}, {"rate": 16_000}, {"settings": TtsSettings(voice="jo")},
        {"settings": TtsSettings(voice="joe", rate=1.1)}, {"settings": TtsSettings(voice="joe", model="m")},
    ],
    ids=["text", "rate", "voice", "speed", "model"],
)  # fmt: skip
async def test_what_sounds_different_is_kept_apart(autojump_clock, other):
    """Text, rate, voice, speed and model each make another sentence."""
    mouth = Mouth()
    tts = CachedTts(mouth, SpeechCache(10**6))
    await hear(tts)
    await hear(tts, **other)
    assert len(mouth.asked) == 2


async def test_engines_and_their_versions_are_kept_apart(autojump_clock):
    """A new version of an engine speaks for itself, and so does another engine under the same store."""
    cache = SpeechCache(10**6)
    mouths = [Mouth(), Mouth(version="2"), Mouth(name="other")]
    for mouth in mouths:
        await hear(CachedTts(mouth, cache))
    assert [len(mouth.asked) for mouth in mouths] == [1, 1, 1]


async def test_how_an_agent_came_by_a_voice_does_not_matter(autojump_clock):
    """The order of fall-backs in the settings is not part of a sentence."""
    mouth = Mouth()
    tts = CachedTts(mouth, SpeechCache(10**6))
    await hear(tts, settings=TtsSettings(provider="mouth", voice="joe"))
    await hear(tts, settings=TtsSettings(provider=("mouth", "other"), voice="joe"))
    assert len(mouth.asked) == 1


@pytest.mark.parametrize("moment", [0.05, 0.15, 0.35, 0.39])
async def test_an_interrupted_sentence_is_not_kept(autojump_clock, moment):
    """Cancelled at any piece nothing is kept, the engine is let go, and the next time is whole."""
    mouth, cache = Mouth(), SpeechCache(10**6)
    tts = CachedTts(mouth, cache)
    with trio.move_on_after(moment) as scope:
        await hear(tts)
    assert scope.cancelled_caught
    assert (mouth.open, cache.size) == (0, 0)
    assert len(await hear(tts)) == PIECES
    assert len(mouth.asked) == 2


async def test_a_listener_who_leaves_early_keeps_nothing(autojump_clock):
    """Leaving the block in the middle is an interruption as well."""
    mouth, cache = Mouth(), SpeechCache(10**6)
    async with CachedTts(mouth, cache).say("Hello.", SETTINGS, 8000) as speech:
        await anext(speech)
    assert cache.size == 0


@pytest.mark.parametrize("piece", range(PIECES))
async def test_a_failed_sentence_is_not_kept(autojump_clock, piece):
    """An engine that fails in the middle leaves nothing, not even when its iterator is asked again."""
    mouth, cache = Mouth(fails_at=piece), SpeechCache(10**6)
    async with CachedTts(mouth, cache).say("Hello.", SETTINGS, 8000) as speech:
        for _ in range(piece):
            await anext(speech)
        with pytest.raises(ProviderFailed):
            await anext(speech)
        with pytest.raises(StopAsyncIteration):
            await anext(speech)
    assert cache.size == 0


async def test_calls_cannot_change_what_others_hear(autojump_clock):
    """What is kept is a copy, and read-only."""
    tts = CachedTts(Mouth(), SpeechCache(10**6))
    first = await hear(tts)
    first[0].samples[:] = 0
    again = await hear(tts)
    assert again[0].samples.any()
    with pytest.raises(ValueError, match="read-only"):
        again[0].samples[:] = 0
    assert again[0].samples.base is None


async def test_prepared_once_for_all_who_wait(autojump_clock):
    """A hundred calls that begin together make the greeting once, and each hears all of it."""
    mouth, cache = Mouth(), SpeechCache(10**6)
    tts, heard = CachedTts(mouth, cache), []

    async def call() -> None:
        await tts.prepare("Hello.", SETTINGS, 8000)
        heard.append(await hear(tts))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(call)
            nursery.start_soon(tts.prepare, "Hello.", SETTINGS, 8000)
    await tts.prepare("Hello.", SETTINGS, 8000)
    assert mouth.asked == ["Hello."]
    assert {len(pieces) for pieces in heard} == {PIECES}
    assert cache.making == {}


async def test_who_waits_for_what_fails_speaks_itself(autojump_clock):
    """A preparation that fails or is cancelled holds nobody up and leaves nothing."""
    mouth, cache = Mouth(fails_at=2), SpeechCache(10**6)
    tts, pieces = CachedTts(mouth, cache), []

    async def prepare() -> None:
        with pytest.raises(ProviderFailed):
            await tts.prepare("Hello.", SETTINGS, 8000)
        mouth.fails_at = None

    async def listen() -> None:
        await trio.sleep(0.05)
        pieces.extend(await hear(tts))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(prepare)
        nursery.start_soon(listen)
    assert len(pieces) == PIECES
    with trio.move_on_after(0.1):
        await tts.prepare("Goodbye.", SETTINGS, 8000)
    assert cache.making == {}
    assert mouth.open == 0
    assert len(await hear(tts, "Goodbye.")) == PIECES


async def test_the_least_recently_used_goes_first(autojump_clock):
    """When the store is full, what nobody asked for longest makes room; what is used stays."""
    mouth = Mouth(pace=0)
    one = sum(map(weight, await hear(CachedTts(mouth, SpeechCache(0)))))
    cache = SpeechCache(one * 10)
    tts = CachedTts(mouth, cache)
    for number in range(10):
        await hear(tts, f"Sentence {number}.")
    await hear(tts, "Sentence 0.")
    await hear(tts, "Sentence 10.")
    mouth.asked.clear()
    await hear(tts, "Sentence 0.")
    assert mouth.asked == []
    await hear(tts, "Sentence 1.")
    assert mouth.asked == ["Sentence 1."]
    assert cache.size <= cache.limit


async def test_nothing_is_kept_where_there_is_no_room(autojump_clock):
    """With a limit of 0, and for speech that would fill the store alone, everything is made anew and passed through."""
    for mouth, limit in ((Mouth(), 0), (Mouth(size=1000), 20_000)):
        cache = SpeechCache(limit)
        tts = CachedTts(mouth, cache)
        assert len(await hear(tts)) == len(await hear(tts)) == PIECES
        assert len(mouth.asked) == 2
        assert cache.size == 0


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2000)), max_size=80), st.integers(0, 50_000))
def test_the_bound_holds(sentences, limit):
    """Whatever is kept in whatever order, the store never holds more than its limit, and knows how much it holds."""
    cache = SpeechCache(limit)
    for name, size in sentences:
        cache.keep(Said("e", "1", None, None, 1.0, str(name), 8000), (Speech(np.zeros(size, np.int16)),))
        assert cache.size <= limit
        assert cache.size == sum(weight(piece) for pieces in cache._kept.values() for piece in pieces)
