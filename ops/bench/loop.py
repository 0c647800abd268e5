"""The loop of a load: sockets and timers on epoll, nothing else, so that it is never what is measured."""

from __future__ import annotations

import heapq
import itertools
import select
import time
from collections.abc import Callable

now = time.perf_counter
"""The machine's monotonic clock, which the server's process reads too."""


class Loop:
    """Calls what is due, late by as much as it says."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.lateness: list[float] = []
        """Seconds between when a timer was due and when it was called."""

    def close(self) -> None:
        """Give back the descriptor."""
        self._epoll.close()

    def at(self, due: float, do: Callable[[], None]) -> None:
        """Call something at a moment."""
        heapq.heappush(self._timers, (due, next(self._order), do))

    def watch(self, fd: int, read: Callable[[], None]) -> None:
        """Call something whenever a descriptor can be read."""
        self._readers[fd] = read
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP)

    def forget(self, fd: int) -> None:
        """Watch a descriptor no more; before it is closed."""
        if self._readers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self, until: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Run to a moment, or to when it is enough."""
        timers, poll = self._timers, self._epoll.poll
        while (moment := now()) < until and not enough():
            while timers and timers[0][0] <= moment:
                due, _, do = heapq.heappop(timers)
                self.lateness.append(moment - due)
                do()
                moment = now()
            due = min(timers[0][0], until) if timers else until
            for fd, _ in poll(min(max(due - now(), 0.0), 0.2)):
                if (read := self._readers.get(fd)) is not None:
                    read()
