"""How much one socket may send: pure arithmetic over a clock that is passed in."""

from __future__ import annotations

from collections import deque

import attrs


@attrs.define
class TokenBucket:
    """Lets through *rate* a second, and up to *burst* at once; what does not fit is refused whole and counted."""

    rate: float
    burst: float
    since: float
    """When it was full; the same clock as every *now*, which may stand still but never takes anything away."""
    refused: float = attrs.field(default=0.0, init=False)
    """How much did not fit, in all."""
    _level: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._level = self.burst

    def take(self, amount: float, now: float) -> bool:
        """Tell whether *amount* may pass, and count it."""
        if now > self.since:
            self._level = min(self.burst, self._level + (now - self.since) * self.rate)
            self.since = now
        if amount > self._level:
            self.refused += amount
            return False
        self._level -= amount
        return True


@attrs.define
class MessageWindow:
    """Lets through *limit* messages within any *period* seconds; a limit of 0 is none. Refused ones do not count."""

    limit: int
    period: float = 60.0
    refused: int = attrs.field(default=0, init=False)
    _taken: deque[float] = attrs.field(factory=deque[float], init=False)
    """When each message of the last period came: `limit` of them at most."""

    def take(self, now: float) -> bool:
        """Tell whether a message that came *now* may pass, and count it."""
        if not self.limit:
            return True
        taken = self._taken
        while taken and taken[0] <= now - self.period:
            taken.popleft()
        if len(taken) >= self.limit:
            self.refused += 1
            return False
        taken.append(now)
        return True
