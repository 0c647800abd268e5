"""A pace that is not exceeded: so many a second, with a tenth of a second's worth at once (pure)."""

from __future__ import annotations

import math

_ROUNDING = 1e-6
"""Seconds: what a float of today's date cannot tell apart."""


def burst(rate: float) -> float:
    """Give how many may come at once at *rate* a second."""
    return max(1.0, rate / 10)


def room(rate: float, due: float | None, now: float) -> int:
    """Tell how many may come *now*; *due* is what `after` gave the last time, None: nothing came yet."""
    lead = max(due or now, now) - now
    return max(0, math.floor(burst(rate) - (lead - _ROUNDING) * rate))


def after(rate: float, due: float | None, now: float, count: int) -> float:
    """Give the time at which *count* that come now are paid back."""
    return max(due or now, now) + count / rate


def wait(rate: float, due: float | None, now: float) -> float:
    """Give the seconds until the next one may come."""
    lead = max(due or now, now) - now
    return max(0.0, lead - (burst(rate) - 1) / rate)
