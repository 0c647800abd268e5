"""From one rate to another, as it streams: a polyphase FIR filter with a linear phase.

Output sample *k* stands for the input at time ``k * src / dst`` exactly, so nothing moves in time; it only comes out
`delay` seconds later than it went in. The pass band ends at 85 % of the lower Nyquist frequency (3.4 kHz at 8 kHz, as
on the phone), the stop band begins at that frequency, some 60 dB down. However the input is cut into pushes, the output
is the same.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from invorto.audio.rates import HIGHEST, LOWEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from invorto.audio import Samples

    type Floats = NDArray[np.float32]

_STOP: Final = 62.0
"""Decibels: below the noise of µ-law, and with room to the 50 that is promised."""
_EDGE: Final = 0.85
_FEW_PHASES: Final = 8
"""Up to here a product for each phase beats gathering a row of the bank for each output."""


_RUN: Final = 1024
"""Outputs that are gathered at a time: what they need stays in the processor's cache."""


@attrs.frozen(eq=False)
class _Bank:
    """The filter of one ratio: a row for each of *up* phases; an output moves on by *down* / *up* input samples."""

    up: int
    down: int
    half: int
    rows: Floats
    """``up`` rows of ``2 * half + 1`` taps, for the oldest sample first."""


@lru_cache(maxsize=32)  # the rates of calls and engines; an unusual file's bank may go again
def _bank(src: int, dst: int) -> _Bank:
    divisor = math.gcd(src, dst)
    up, down = dst // divisor, src // divisor
    nyquist = min(src, dst) / 2
    # Kaiser's formulas for the length and the shape of the window
    half = math.ceil((_STOP - 7.95) / (14.36 * nyquist * (1 - _EDGE) / src) / 2)
    beta = 0.1102 * (_STOP - 8.7)
    # the output of phase p lies p / up after its input sample, and sees `half` samples to either side of that
    times = np.arange(up)[:, np.newaxis] / up + half - np.arange(2 * half + 1)
    window = np.i0(beta * np.sqrt(np.clip(1 - (times / half) ** 2, 0, None))) * (np.abs(times) <= half)
    rows = np.sinc(nyquist * (1 + _EDGE) / src * times) * window
    rows /= rows.sum(axis=1, keepdims=True)  # a constant stays that constant in every phase
    return _Bank(up, down, half, rows.astype(np.float32))


class Resampler:
    """One stream from *src* to *dst* Hz, each from 4,000 to 192,000."""

    delay: float
    """Seconds that must have followed a moment before it comes out."""

    def __init__(self, src: int, dst: int) -> None:
        for rate in (src, dst):
            if not LOWEST <= rate <= HIGHEST:
                raise ValueError(f"{rate} Hz is not a rate of speech: {LOWEST} to {HIGHEST}")
        self.src, self.dst = src, dst
        self._bank = None if src == dst else _bank(src, dst)
        self.delay = self._bank.half / src if self._bank else 0.0
        self._begin()

    def _begin(self) -> None:
        half = self._bank.half if self._bank else 0
        self._kept: Floats = np.zeros(half, np.float32)
        self._end = 0
        """How many samples have come in."""
        self._given = 0
        """How many have gone out."""

    def push(self, samples: Samples) -> Samples:
        """Take some in, give out what is ready: perhaps nothing."""
        if self._bank is None:
            return samples
        return self._step(self._bank, samples.astype(np.float32))

    def flush(self) -> Samples:
        """Give the rest, so that ``ceil(taken * dst / src)`` have come out in all, and begin anew."""
        if self._bank is None:
            return np.empty(0, np.int16)
        rest = self._step(self._bank, np.zeros(self._bank.half, np.float32))
        self._begin()
        return rest

    def _step(self, bank: _Bank, more: Floats) -> Samples:
        kept = np.concatenate((self._kept, more))
        self._end += more.size
        first = self._end - kept.size
        # output k looks at floor(k * down / up) and `half` samples to either side
        ready = max(0, ((self._end - bank.half) * bank.up - 1) // bank.down + 1)
        count = ready - self._given
        if count <= 0:
            self._kept = kept
            return np.empty(0, np.int16)
        out = np.empty(count, np.float32)
        if bank.up <= _FEW_PHASES:
            _by_phase(bank, kept, first, self._given, out)
        else:
            _by_row(bank, kept, first, self._given, out)
        self._given += count
        oldest = self._given * bank.down // bank.up - bank.half
        self._kept = kept[oldest - first :].copy()
        np.rint(out, out=out)
        np.maximum(out, -32_768, out=out)
        np.minimum(out, 32_767, out=out)
        return out.astype(np.int16)


def _by_phase(bank: _Bank, kept: Floats, first: int, given: int, out: Floats) -> None:
    """Fill *out* phase by phase: the windows of one phase lie evenly in what was kept, and nothing is copied."""
    for offset in range(min(bank.up, out.size)):
        at, phase = divmod((given + offset) * bank.down, bank.up)
        part = out[offset :: bank.up]
        # what sliding_window_view gives, at a tenth of its cost
        windows: Floats = np.ndarray(
            (part.size, 2 * bank.half + 1), np.float32, kept, (at - bank.half - first) * 4, (bank.down * 4, 4)
        )
        np.einsum("ij,j->i", windows, bank.rows[phase], out=part)


def _by_row(bank: _Bank, kept: Floats, first: int, given: int, out: Floats) -> None:
    """Fill *out* in runs, with each output's own row of the bank gathered beside its window."""
    windows = np.lib.stride_tricks.sliding_window_view(kept, 2 * bank.half + 1)
    for begin in range(0, out.size, _RUN):
        part = out[begin : begin + _RUN]
        at, phase = np.divmod(np.arange(given + begin, given + begin + part.size) * bank.down, bank.up)
        np.einsum("ij,ij->i", windows[at - bank.half - first], bank.rows[phase], out=part)


def resample(samples: Samples, src: int, dst: int) -> Samples:
    """Give the whole of *samples* at *dst* Hz."""
    if src == dst:
        return samples
    resampler = Resampler(src, dst)
    return np.concatenate((resampler.push(samples), resampler.flush()))
