"""What simulated callers say: seconds cut from recorded speech that the detector hears as one utterance."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from invorto.audio import g711
from invorto.audio.resample import resample
from invorto.audio.wav import read_wav
from invorto.speech.gate import Gate
from invorto.speech.ports import Samples, SpeechBegan, SpeechPaused
from invorto.speech.vad.silero import Silero
from ops.bench.frames import BINARY, frame

RATE = 8000
FRAME = 160
"""Samples: 20 ms."""
LENGTH = 1.0
"""Seconds of speech in a turn."""
_WINDOW, _CONTEXT = 256, 32
_BEFORE = RATE // 2
_HOP = 800
_ALIGNMENTS = (0, 64, 128, 192)
"""Where in a window of the detector a cut may begin: each cut is judged at all of them."""
_QUIET = 6
"""Amplitude of the noise between utterances: a line is never quite silent."""
AUDIO = Path(__file__).parents[2] / "tests" / "data" / "audio"


@attrs.frozen
class Cut:
    """A second of speech, ready to send."""

    name: str
    frames: tuple[bytes, ...]
    tails: tuple[float, ...]
    """Seconds from its end to the end of speech as the detector hears it, where nothing else is late."""


def quiet(seed: int = 1) -> tuple[bytes, ...]:
    """Make a second of nobody speaking."""
    return encoded(noise(RATE, seed))


def noise(length: int, seed: int) -> Samples:
    """Make faint noise."""
    return np.random.default_rng(seed).integers(-_QUIET, _QUIET + 1, length).astype(np.int16)


def encoded(samples: Samples) -> tuple[bytes, ...]:
    """Make masked binary frames of 20 ms of µ-law."""
    return tuple(frame(BINARY, g711.encode_ulaw(samples[at : at + FRAME])) for at in range(0, len(samples), FRAME))


def cuts(most: int = 8) -> tuple[Cut, ...]:
    """Find the seconds of the recordings that begin and end in speech and have no pause within, however they fall."""
    size, found = round(LENGTH * RATE), list[tuple[str, Samples, tuple[float, ...]]]()
    for path in sorted(AUDIO.glob("*.wav")):
        samples, came = read_wav(path)
        samples = resample(samples, came, RATE)
        starts = range(0, len(samples) - size, _HOP)
        candidates = np.stack([samples[start : start + size] for start in starts])
        tails = [_judge(candidates, alignment) for alignment in _ALIGNMENTS]
        last = -size
        for place, start in enumerate(starts):
            each = [tail[place] for tail in tails]
            if start >= last + size // 2 and all(tail is not None for tail in each):
                last = start
                known = tuple(tail for tail in each if tail is not None)
                found.append((f"{path.stem}@{start / RATE:.2f}", candidates[place], known))
    if not found:
        raise SystemExit(f"no second of the recordings in {AUDIO} is heard as one utterance")
    found.sort(key=lambda cut: max(map(abs, cut[2])))
    return tuple(Cut(name, encoded(samples), tails) for name, samples, tails in found[:most])


def _judge(candidates: NDArray[np.int16], alignment: int) -> list[float | None]:
    """Let the detector hear each candidate between two silences; gives its tail, None where it is not one utterance."""
    model, count, size = Silero(), *candidates.shape
    before = _BEFORE + alignment
    total = -(-(before + size + RATE // 2) // _WINDOW) * _WINDOW
    heard = np.tile(noise(total, 2), (count, 1))
    # What a caller sends has been through µ-law.
    heard[:, before : before + size] = g711.decode_ulaw(g711.encode_ulaw(candidates.ravel())).reshape(count, size)
    states = np.zeros((2, count, 128), np.float32)
    gates = [Gate() for _ in range(count)]
    events: list[list[SpeechBegan | SpeechPaused]] = [[] for _ in range(count)]
    padded = np.pad(heard, ((0, 0), (_CONTEXT, 0)))
    for at in range(0, total, _WINDOW):
        probabilities, states = model.judge(RATE, padded[:, at : at + _WINDOW + _CONTEXT], states)
        for place, gate in enumerate(gates):
            if verdict := gate.step(float(probabilities[place]), at / RATE, (at + _WINDOW) / RATE):
                events[place].append(verdict)
    return [_tail(told, before / RATE, (before + size) / RATE) for told in events]


def _tail(told: list[SpeechBegan | SpeechPaused], begins: float, ends: float) -> float | None:
    match told:
        case [SpeechBegan(began), SpeechPaused(paused)] if began <= begins + 0.1 and abs(paused - ends) <= 0.04:
            return paused - ends
        case _:
            return None
