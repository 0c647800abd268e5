"""How loud: sums of squares that add up over frames, and decibels below full scale.

0 dBFS is a square wave at full scale (so a full-scale sine is −3.01); digital silence is `SILENCE` rather than minus
infinity.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from invorto.audio import Samples

FULL_SCALE: Final = 32_768.0
SILENCE: Final = -100.0
"""The least that is told; a single step of 16 bits is −90.3 dBFS."""


def energy(samples: Samples) -> float:
    """Give the sum of the squares, in steps of 16 bits; add those of several frames for a longer window."""
    wide = samples.astype(np.float32)
    return float(np.dot(wide, wide))


def decibels(energy_sum: float, count: int) -> float:
    """Give the level in dBFS of *count* samples whose squares sum to *energy_sum*."""
    if energy_sum <= 0 or count <= 0:
        return SILENCE
    return max(SILENCE, 10 * math.log10(energy_sum / count / (FULL_SCALE * FULL_SCALE)))


def rms(samples: Samples) -> float:
    """Give the level in dBFS; of nothing, `SILENCE`."""
    return decibels(energy(samples), samples.size)


def peak(samples: Samples) -> float:
    """Give the level in dBFS of the loudest sample; of nothing, `SILENCE`."""
    if not samples.size:
        return SILENCE
    loudest = max(int(samples.max()), -int(samples.min()))
    return max(SILENCE, 20 * math.log10(loudest / FULL_SCALE)) if loudest else SILENCE
