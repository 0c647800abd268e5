"""Sound for tests: recorded speech, and noises that are none."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np

from invorto.audio.resample import Resampler
from invorto.speech.ports import Samples

AUDIO = Path(__file__).parents[1] / "data" / "audio"
TRANSCRIPTS: dict[str, str] = json.loads((AUDIO / "transcripts.json").read_text("utf-8"))
NAMES = sorted(TRANSCRIPTS)


def recorded(name: str, rate: int = 16_000) -> Samples:
    """Read a recording at a rate."""
    with wave.open(str(AUDIO / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
    return resampled(samples, 16_000, rate)


def resampled(samples: Samples, src: int, dst: int) -> Samples:
    if src == dst:
        return samples
    resampler = Resampler(src, dst)
    return np.concatenate((resampler.push(samples), resampler.flush()))


def silence(rate: int, seconds: float) -> Samples:
    return np.zeros(round(rate * seconds), np.int16)


def noise(rate: int, seconds: float, loudness: float, seed: int = 0) -> Samples:
    """White noise with this standard deviation, of 32767."""
    return np.random.default_rng(seed).normal(0, loudness, round(rate * seconds)).clip(-32767, 32767).astype(np.int16)


def cough(rate: int, seconds: float = 0.15) -> Samples:
    """A burst of noise that dies away, half a second with its silence."""
    burst = noise(rate, seconds, 8000).astype(np.float64) * np.exp(-np.linspace(0, 5, round(rate * seconds)))
    return np.concatenate((silence(rate, 0.2), burst.astype(np.int16), silence(rate, 0.3)))


def frames(samples: Samples, rate: int, seconds: float = 0.02) -> list[Samples]:
    """Cut into the frames that a socket brings."""
    size = round(rate * seconds)
    return [samples[at : at + size] for at in range(0, len(samples), size)]
