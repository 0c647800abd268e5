"""Keeps something that fails out of the way, and lets it back: pure, one for each engine and each tool."""

from __future__ import annotations

import math

import attrs


@attrs.define
class Breaker:
    """
    Closed until *trips* failures in a row; then open, longer each time; then one trial decides.

    Times are seconds of any clock that only goes forward.
    """

    trips: int = 2
    rest: float = 5.0
    """How long it is kept out the first time; twice as long after each trial that fails."""
    longest: float = 60.0
    failures: int = attrs.field(default=0, init=False)
    """In a row."""
    opens_at: float = attrs.field(default=-math.inf, init=False)
    """When a trial is allowed."""
    _rests: int = attrs.field(default=0, init=False)
    _trial: float = attrs.field(default=-math.inf, init=False)
    """Until when a trial is on its way."""

    def allows(self, now: float) -> bool:
        """Tell whether it may be asked now."""
        return not self.open or (now >= self.opens_at and now >= self._trial)

    @property
    def open(self) -> bool:
        """Whether it is kept out, but for a trial."""
        return self.failures >= self.trips

    def asked(self, now: float) -> None:
        """Learn that it is being asked: while a trial is on its way, nobody else tries."""
        if self.open:
            self._trial = now + self.rest

    def succeeded(self) -> None:
        """Learn that it answered: all is forgotten."""
        self.failures = self._rests = 0
        self.opens_at = self._trial = -math.inf

    def failed(self, now: float, retry_after: float | None = None) -> None:
        """Learn that it failed, and maybe when it wants to be asked again: that opens it at once."""
        trial = self.open
        self.failures = self.trips if retry_after is not None else min(self.failures + 1, self.trips)
        self._trial = -math.inf
        if not self.open:
            return
        self._rests += trial or not self._rests
        rest = min(self.rest * 2 ** (self._rests - 1), self.longest)
        self.opens_at = max(self.opens_at, now + max(rest, min(retry_after or 0.0, self.longest)))
