"""How often each key asks, counted in Redis over all nodes, with few round trips."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs
import structlog
import trio

from invorto.errors import StoreUnavailable
from invorto.storage.redis import Command, Commands

log = structlog.get_logger(__name__)

type RateClass = Literal["read", "write", "token"]

_PATIENCE = 1.0
"""Seconds that a request waits to be counted."""
_AWAY = 1.0
"""Seconds without another try after Redis did not answer."""
_EAGER = 0.1
"""Seconds between two exchanges about a key that is far from its limit."""
_NEAR = 0.8
"""Of a limit: from here on every request is counted at once, so that no node passes it by much."""
_UNTOLD = 0.05
"""Of a limit: so much one node may keep to itself."""
_MOST = 10_000
"""Keys remembered: 3 MB."""


@attrs.frozen
class Standing:
    """Where somebody stands within a limit; *counted* is false where nobody can know."""

    limit: int
    used: int
    reset: float
    """Seconds until the window is over."""
    counted: bool = True

    @property
    def over(self) -> bool:
        """Whether this request is one too many."""
        return self.counted and self.used > self.limit

    @property
    def remaining(self) -> int:
        """How many more there may be."""
        return max(0, self.limit - self.used)


@attrs.define
class _Window:
    ends: float
    used: int = 0
    unsent: int = 0
    exchanged: float = float("-inf")
    known: int = 0
    """What all nodes had used at the last exchange."""


@attrs.define(eq=False)
class Rates:
    """
    Counts requests by class and key in windows of a fixed length.

    This node counts its own, and exchanges counts with the others through Redis: at once near the limit and for what
    writes, else ten times a second. While Redis is away everything is let through, and *unchecked* is told.
    """

    redis: Commands
    window: float = 60.0
    """Seconds."""
    unchecked: Callable[[], None] = lambda: None
    _windows: dict[tuple[RateClass, str], _Window] = attrs.field(factory=dict, init=False)
    _away_until: float = attrs.field(default=float("-inf"), init=False)

    async def take(self, kind: RateClass, who: str, limit: int) -> Standing:
        """Count one request of *who* against a *limit* a window."""
        now = trio.current_time()
        window = self._windows.get((kind, who))
        if window is None or now >= window.ends:
            window = self._renew(kind, who, now)
        window.used += 1
        window.unsent += 1
        mine = window.used
        near = kind != "read" or window.used >= limit * _NEAR or window.unsent >= limit * _UNTOLD
        if window.known > limit:  # nothing that Redis would say changes that
            return Standing(limit, window.used, window.ends - now)
        if now >= self._away_until and (near or now - window.exchanged >= _EAGER):
            mine = await self._exchange(kind, who, window, now)
        counted = now >= self._away_until
        if not counted:
            self.unchecked()
        return Standing(limit, mine, max(0.0, window.ends - now), counted)

    def _renew(self, kind: RateClass, who: str, now: float) -> _Window:
        if len(self._windows) >= _MOST:
            self._windows = {key: one for key, one in self._windows.items() if one.ends > now}
            while len(self._windows) >= _MOST:
                del self._windows[next(iter(self._windows))]
        window = self._windows[kind, who] = _Window(now + self.window)
        return window

    async def _exchange(self, kind: RateClass, who: str, window: _Window, now: float) -> int:
        """Tell Redis what is new; give the number of this request among all nodes' of the window."""
        key, milliseconds = f"rate:{kind}:{who}", round(self.window * 1000)
        sent, window.unsent = window.unsent, 0
        window.exchanged = now
        commands: list[Command] = [
            ("SET", key, 0, "PX", milliseconds, "NX"), ("INCRBY", key, sent), ("PTTL", key)
        ]  # fmt: skip
        try:
            with trio.fail_after(_PATIENCE):
                _, used, left = await self.redis.pipeline(commands)
                if not isinstance(used, int) or not isinstance(left, int):
                    raise StoreUnavailable(f"Redis does not count: {used!r}")
                if left < 0:  # its time was over between two of the commands
                    await self.redis.call("PEXPIRE", key, milliseconds)
                    left = milliseconds
        except (StoreUnavailable, trio.TooSlowError) as error:
            window.unsent += sent
            self._away_until = trio.current_time() + _AWAY
            log.warning("rates_uncounted", error=str(error) or "too slow")
            return window.used
        else:
            window.known = max(used, window.known)
            window.used = max(window.used, used + window.unsent)
            window.ends = now + left / 1000
            return used
