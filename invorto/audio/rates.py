"""Rates: samples a second on the wire, and what the detector takes them at."""

from __future__ import annotations

from typing import Final

CALL_RATES: Final = (8000, 16_000, 24_000, 48_000)
"""What a call's wire may run at."""

G711_RATE: Final = 8000
"""The only rate of G.711."""

FRAME: Final = 0.02
"""Seconds of audio in a frame as phones send it."""

LOWEST, HIGHEST = 4000, 192_000
"""What files and engines may come with; what lies outside is a mistake rather than sound."""


def hearing_rate(rate: int) -> int:
    """Give the rate that a call at *rate* is listened to at: 8000 as it is, everything above at 16,000."""
    return min(rate, 16_000)


def count(seconds: float, rate: int) -> int:
    """Give how many samples *seconds* are, to the nearest."""
    return round(seconds * rate)


def seconds(samples: int, rate: int) -> float:
    """Give how long *samples* last."""
    return samples / rate
