"""Rates: samples a second on the wire, and what the detector takes them at."""

from __future__ import annotations

from typing import Final

CALL_RATES: Final = (8000, 16_000, 24_000, 48_000)
"""What a call's wire may run at."""

LOWEST, HIGHEST = 4000, 192_000
"""What files and engines may come with; what lies outside is a mistake rather than sound."""


def hearing_rate(rate: int) -> int:
    """Give the rate that a call at *rate* is listened to at: 8000 as it is, everything above at 16,000."""
    return min(rate, 16_000)
