"""Whether what is heard is what was just played, coming back: by level and correlation, pure.

A phone on a table or a browser without echo cancellation returns the agent's voice, weaker, later and with a room
around it. The last `WINDOW` of what was heard is laid against what was played up to `DELAY` before, and the best match
counts: the normalized cross-correlation of both, at `RATE`, after a pre-emphasis that keeps the pitch of two unrelated
voices from looking alike. On recorded speech, 99 of 100 looks at unrelated voices stay below 0.40; what came back 6 to
18 dB weaker, through µ-law and a room whose direct sound is 3 dB stronger than the rest, was over 0.7 in 98 of 100.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

WINDOW = 0.256
"""Seconds of what was heard that are looked at."""
DELAY = 1.0
"""Seconds after which nothing comes back any more: a far end's buffers, networks that stall, a room."""
ALIKE = 0.5
"""From this likeness on it is an echo."""
LOUDER = 1.4
"""What is louder by this factor (3 dB) than what it is alike is no echo of it."""
RATE = 4000
"""Samples a second that are compared: what makes a voice itself lies below 2 kHz."""
_AHEAD = 0.5
"""Seconds that audio is handed over before it is played, at most."""
_EMPHASIS = 0.9
_QUIETEST = 0.03
"""Of the loudest stretch: quieter ones match anything by chance."""

type _Wave = NDArray[np.float32]


class Echo:
    """What one call's agent has played lately, and what its caller was heard to say."""

    __slots__ = ("_heard", "_kept", "_length", "_played", "_rate", "_until")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._played: deque[tuple[float, NDArray[np.int16]]] = deque()
        self._heard: deque[NDArray[np.int16]] = deque()
        self._length = 0
        self._until = -np.inf
        self._kept = round(WINDOW * rate)

    def played(self, samples: NDArray[np.int16], at: float) -> None:
        """Take what begins to play at *at*, now or soon."""
        self._played.append((at, samples))
        self._until = at + len(samples) / self._rate
        self._forget(at)

    def cut(self, at: float) -> None:
        """Forget what would have played from *at* on."""
        while self._played and self._played[-1][0] >= at:
            self._played.pop()
        if self._played:
            began, samples = self._played[-1]
            self._played[-1] = began, samples[: max(0, round((at - began) * self._rate))]
        self._until = min(self._until, at)

    def heard(self, samples: NDArray[np.int16], at: float) -> None:
        """Take what was heard up to *at*; costs nothing while nothing can come back."""
        if at > self._until + DELAY + WINDOW:
            if self._played:
                self._played.clear()
            if self._heard:
                self._heard.clear()
                self._length = 0
            return
        self._heard.append(samples)
        self._length += len(samples)
        while self._length - len(self._heard[0]) >= self._kept:
            self._length -= len(self._heard.popleft())

    def likeness(self, at: float) -> float:
        """Tell how much of what was heard up to *at* is what was played, 0 to 1; 0 for what is louder than that."""
        if not self._played or not self._heard:
            return 0.0
        factor = self._rate // RATE
        heard = _slower(np.concatenate(self._heard)[-self._kept :], factor)
        span = round((DELAY + WINDOW) * self._rate)
        played = _slower(self._stretch(at - span / self._rate, span), factor)
        if len(heard) < RATE // 50:
            return 0.0
        return _match(_emphasized(heard), _emphasized(played))

    def _stretch(self, began: float, size: int) -> NDArray[np.int16]:
        """Give *size* samples of what played from *began* on, with silence where there was nothing."""
        out = np.zeros(size, np.int16)
        for at, samples in self._played:
            place = round((at - began) * self._rate)
            first, last = max(place, 0), min(place + len(samples), size)
            if first < last:
                out[first:last] = samples[first - place : last - place]
        return out

    def _forget(self, at: float) -> None:
        oldest = at - _AHEAD - DELAY - WINDOW
        while self._played[0][0] + len(self._played[0][1]) / self._rate < oldest:
            self._played.popleft()


def _slower(samples: NDArray[np.int16], factor: int) -> _Wave:
    size = len(samples) // factor * factor
    return samples[len(samples) - size :].astype(np.float32).reshape(-1, factor).mean(axis=1, dtype=np.float32)


def _emphasized(wave: _Wave) -> _Wave:
    return np.subtract(wave[1:], wave[:-1] * np.float32(_EMPHASIS), dtype=np.float32)


def _energies(wave: _Wave, size: int) -> NDArray[np.float64]:
    """Give the energy of each stretch of *size* samples of *wave*."""
    sums = np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64))))
    return np.maximum(sums[size:] - sums[:-size], 0.0)


def _match(part: _Wave, whole: _Wave) -> float:
    """Give the greatest normalized cross-correlation of *part* with a stretch of *whole*, either way up."""
    size = 1 << (len(whole) + len(part) - 1).bit_length()
    spectrum = np.fft.rfft(whole, size) * np.conj(np.fft.rfft(part, size))
    products = np.abs(np.fft.irfft(spectrum, size)[: len(whole) - len(part) + 1])
    energies = _energies(whole, len(part))
    least = float(energies.max(initial=0.0)) * _QUIETEST**2
    own = float(np.dot(part, part))
    if least <= 0 or own <= 0:
        return 0.0
    alike = products / np.sqrt(np.maximum(energies, least) * own)
    best = int(alike.argmax())
    return float(alike[best]) if own <= LOUDER**2 * float(energies[best]) else 0.0
