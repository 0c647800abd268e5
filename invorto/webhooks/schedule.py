"""When a webhook is tried again: seconds since the first attempt, spread, and what the receiver asks for (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import attrs

SPREAD = 0.2
"""By how much of itself a pause is longer or shorter, so that what failed together is not tried together."""
LONGEST_ASKED = 86_400.0
"""Seconds that a receiver may ask for."""
_LEAST = 0.25
"""Of a pause: what is kept of it where the time that it ends at is over, after a night without us."""


@attrs.frozen
class Schedule:
    """The attempts that a delivery gets."""

    seconds: Sequence[float]
    """Of each attempt since the first one, which is 0; ascending."""
    retries: int | None = None
    """Attempts after the first at most; None: as many as there are."""

    @property
    def attempts(self) -> int:
        """How many there are in all."""
        return len(self.seconds) if self.retries is None else min(len(self.seconds), self.retries + 1)

    def following(self, made: int, began: float, now: float, chance: float, asked: float | None = None) -> float | None:
        """
        Tell when to try again after *made* attempts, the first at *began*; None: not any more.

        *chance* is from 0 to 1. *asked* are the seconds of a ``Retry-After``: it is not tried sooner. Times are Unix
        seconds.
        """
        if made >= self.attempts:
            return None
        pause = self.seconds[made] - self.seconds[made - 1]
        spread = pause * SPREAD * (2 * chance - 1)
        at = max(began + self.seconds[made] + spread, now + pause * _LEAST)
        return at if asked is None else max(at, now + min(asked, LONGEST_ASKED))


def retry_after(text: str | None, now: float) -> float | None:
    """Read a ``Retry-After`` header, seconds or a date, as seconds from *now*; None for what is neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:12]), LONGEST_ASKED)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(0.0, at.timestamp() - now), LONGEST_ASKED)


def moment(seconds: float) -> datetime:
    """Give Unix seconds as a time."""
    return datetime.fromtimestamp(seconds, UTC)
