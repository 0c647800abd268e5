"""What a listener hears: audio plays when it comes, after what came before, and stops when told to; pure."""

from __future__ import annotations

import math

import attrs
import numpy as np

from invorto.speech.ports import Samples

RATE = 16_000
"""Samples a second of a caller's line, both ways."""


@attrs.define(eq=False)
class Ear:
    """One listener; times are Trio's, *began* is when the call did."""

    began: float
    track: list[tuple[int, Samples]] = attrs.field(factory=list[tuple[int, Samples]])
    """Where on the call's clock each piece plays, samples. The longest call bounds it: 2 MB a minute."""
    cursor: float = -math.inf
    """When everything that has come will have been played."""

    def play(self, samples: Samples, now: float) -> None:
        """Queue audio."""
        at = max(now, self.cursor)
        self.track.append((round((at - self.began) * RATE), samples))
        self.cursor = at + len(samples) / RATE

    def stop(self, now: float) -> None:
        """Drop what has not been played."""
        until = round((now - self.began) * RATE)
        self.track = [(at, samples[: max(until - at, 0)]) for at, samples in self.track if at < until]
        self.cursor = min(self.cursor, now)

    def heard(self) -> Samples:
        """Give all that was heard, on the call's clock."""
        length = max((at + len(samples) for at, samples in self.track), default=0)
        track = np.zeros(length, np.int16)
        for at, samples in self.track:
            track[at : at + len(samples)] = samples
        return track


def onset(samples: Samples) -> int:
    """Give where speech is first to be heard, samples: 10 ms louder than −40 dBFS; the length where there is none."""
    step = RATE // 100
    for at in range(0, len(samples), step):
        piece = samples[at : at + step].astype(np.float64)
        if np.sqrt(np.mean(piece * piece)) > 328:
            return at
    return len(samples)
