"""How many calls the engines of this machine hold: they speak a sentence, hear it, and are timed."""

from __future__ import annotations

import numpy as np
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import SttSettings, TtsSettings
from invorto.speech.ports import Heard, Partial, Samples, Stt, Tts

RATE = 16_000
SENTENCE = "Your appointment is booked for Tuesday at half past three, is there anything else that I can do?"
SPEAKING = 0.4
"""Of a call's time that each side speaks."""
GUESSING = 2.5
"""What hearing costs with the partial words, against the final ones alone."""
BUSY = 0.6
"""Of its time that an engine may be busy, before callers wait for each other noticeably."""
RUNS = 2
"""Times of which the quickest counts: the others were disturbed."""


async def measure(stt: Stt | None, tts: Tts | None) -> int | None:
    """Give the number of calls that *stt* and *tts* hold, at least 1; None where they do not work."""
    try:
        spoken, speaking = await _speak(tts) if tts is not None else (_noise(), 0.0)
        hearing = await _hear(stt, spoken) if stt is not None else 0.0
    except ProviderFailed:
        return None
    seconds = len(spoken) / RATE
    load = SPEAKING * max(speaking, hearing * GUESSING) / seconds
    return max(int(BUSY / load), 1) if load else None


async def _speak(tts: Tts) -> tuple[Samples, float]:
    """Speak the sentence: the audio, and the seconds it took."""
    times: list[float] = []
    pieces: list[Samples] = [_noise()[:0]]
    for _ in range(RUNS):
        began = trio.current_time()
        async with tts.say(SENTENCE, TtsSettings(), RATE) as speech:
            pieces = [piece.samples async for piece in speech]
        times.append(trio.current_time() - began)
    if not pieces:
        raise ProviderFailed(tts.name, "tts", "no audio")
    return np.concatenate(pieces), min(times)


async def _hear(stt: Stt, spoken: Samples) -> float:
    """Hear the sentence: the seconds from its end to its words."""
    times: list[float] = []
    for _ in range(RUNS):
        heard = trio.Event()

        def hear(what: Heard, heard: trio.Event = heard) -> None:
            if not isinstance(what, Partial):
                heard.set()

        async with stt.listen(SttSettings(), RATE, hear) as ear:
            ear.speech_began(trio.current_time())
            ear.push(spoken)
            began = trio.current_time()
            ear.speech_paused(began)
            await heard.wait()
            times.append(trio.current_time() - began)
    return min(times)


def _noise() -> Samples:
    return np.random.default_rng(0).normal(0, 1000, 4 * RATE).astype(np.int16)
