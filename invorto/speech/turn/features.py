"""What Smart Turn is shown of a voice: the log-mel picture that Whisper's encoder was made for; pure.

80 triangular filters on the mel scale of M. Slaney's Auditory Toolbox, over windows of 25 ms every 10 ms.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from invorto.speech.ports import Samples

RATE = 16_000
SECONDS = 8
"""How much the model looks at: the last of what was said, after silence where there is less."""
_WINDOW, _HOP, _MELS = 400, 160, 80
_SIZE = RATE * SECONDS
_LINEAR_TO, _LINEAR_STEP, _OCTAVES = 1000.0, 200 / 3, 27 / np.log(6.4)
"""Up to 1 kHz a mel is 66.7 Hz; from there on 27 mels are a factor of 6.4."""
_LINEAR_MELS = _LINEAR_TO / _LINEAR_STEP


def features(samples: Samples) -> NDArray[np.float32]:
    """Give the picture (80 by 800) of the last eight seconds of *samples*, 16 kHz."""
    heard = np.zeros(_SIZE, np.float32)
    tail = samples[-_SIZE:].astype(np.float32) / 32768
    heard[_SIZE - len(tail) :] = tail
    heard = (heard - heard.mean()) / np.sqrt(heard.var() + 1e-7)
    padded = np.pad(heard, _WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:-1]
    power = np.abs(np.fft.rfft(windows * _hann(), axis=1)) ** 2
    mels = np.log10(np.maximum(power @ _filters(), 1e-10)).T
    return ((np.maximum(mels, mels.max() - 8) + 4) / 4).astype(np.float32)


@cache
def _hann() -> NDArray[np.float64]:
    return np.hanning(_WINDOW + 1)[:-1]


@cache
def _filters() -> NDArray[np.float64]:
    """Make the filters, each of area 1: one column a mel, one row a frequency."""
    edges = _hertz(np.linspace(0, _mel(RATE / 2), _MELS + 2))
    frequencies = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (high - low))


def _mel(hertz: float) -> float:
    return float(_LINEAR_MELS + np.log(hertz / _LINEAR_TO) * _OCTAVES)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _LINEAR_TO * np.exp((mels - _LINEAR_MELS) / _OCTAVES)
    return np.where(mels < _LINEAR_MELS, mels * _LINEAR_STEP, above)
