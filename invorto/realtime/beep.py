"""The tone after which a machine records: one steady frequency, louder than all else, heard to its end; pure.

Voices move, music has many frequencies, ringing and busy tones of the telephone have two or are below; a beep is one
between 400 and 2,600 Hz that stays where it is for at least 0.2 s.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from invorto.speech.ports import Samples

WINDOW, HOP = 0.064, 0.032
"""Seconds judged at once, long enough to tell the two tones of ringing apart, and from one judgement to the next."""
LOWEST, HIGHEST = 400.0, 2600.0
SHORTEST, LONGEST = 0.2, 3.0
"""Seconds of a beep: what goes on longer is something else, a fax or a dial tone."""
PURE = 0.85
"""The share of a window's energy that is at its one frequency."""
QUIETEST = 300.0
"""RMS, of 32767, below which nothing is a beep."""
_DRIFT = 0.5
"""How far the frequency may move between two windows, in windows' resolution."""


@attrs.define
class BeepDetector:
    """One caller's; *tell* is called when a beep is over."""

    rate: int
    tell: Callable[[], None]
    _rest: list[Samples] = attrs.field(factory=list, init=False)
    _held: int = attrs.field(default=0, init=False)
    _tone: float | None = attrs.field(default=None, init=False)
    _seconds: float = attrs.field(default=0.0, init=False)
    _hop: int = attrs.field(init=False)
    _shape: NDArray[np.float64] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._hop = round(HOP * self.rate)
        self._shape = np.hanning(round(WINDOW * self.rate))

    def push(self, samples: Samples) -> None:
        """Take in audio of any length."""
        self._rest.append(samples)
        self._held += len(samples)
        size = len(self._shape)
        if self._held < size:
            return
        audio, at = np.concatenate(self._rest), 0
        while at + size <= len(audio):
            self._step(self._frequency(audio[at : at + size]))
            at += self._hop
        self._rest, self._held = [audio[at:]], len(audio) - at

    def _step(self, frequency: float | None) -> None:
        if frequency is not None and self._tone is not None and abs(frequency - self._tone) <= _DRIFT / WINDOW:
            self._seconds += HOP
            return
        if self._tone is not None and SHORTEST <= self._seconds <= LONGEST:
            self.tell()
        self._tone, self._seconds = frequency, WINDOW if frequency is not None else 0.0

    def _frequency(self, window: Samples) -> float | None:
        """Give the one frequency that a window consists of; None if it consists of anything else."""
        audio = window.astype(np.float64)
        if math.sqrt(float(np.mean(audio**2))) < QUIETEST:
            return None
        power = np.abs(np.fft.rfft(audio * self._shape)) ** 2
        peak = int(power.argmax())
        around = slice(max(peak - 1, 0), peak + 2)
        near = power[around]
        if near.sum() < PURE * power.sum():
            return None
        centre = float((near * np.arange(around.start, around.start + len(near))).sum() / near.sum()) / WINDOW
        return centre if LOWEST <= centre <= HIGHEST else None
