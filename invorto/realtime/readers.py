"""One wait for the sockets of all calls: what came within a few milliseconds is read in one go.

Trio arms a descriptor anew for every wait, and a process that wakes for each frame of each call spends more on waking
than on hearing. Here every socket is registered once, edge-triggered, in an epoll of our own; Trio waits for that one,
and while there is a crowd only every `TICK`, which is less than the detector's batches wait anyway.
"""

from __future__ import annotations

import select
from typing import NoReturn

import attrs
import trio

TICK = 0.004
"""Seconds between two looks while there is a crowd: what a frame may wait, and 2 ms on average."""
CROWD = 8
"""Sockets from which on it pays to look together; fewer are read as soon as something comes."""
_AT_ONCE = 4096
"""Sockets told of in one look; the others are told of in the next one."""


@attrs.define(eq=False)
class Readers:
    """Wakes those who wait to read; without `run`, or after it, they wait by themselves."""

    _epoll: select.epoll | None = None
    _members: set[int] = attrs.field(factory=set[int])
    _ready: set[int] = attrs.field(factory=set[int])
    """Sockets of which we were told while nobody waited for them: an edge is told once."""
    _ended: set[int] = attrs.field(factory=set[int])
    """Sockets that will have nothing new: their end came in one edge with the last bytes, and is told once."""
    _waiting: dict[int, trio.lowlevel.Task] = attrs.field(factory=dict[int, trio.lowlevel.Task])

    def join(self, fd: int) -> None:
        """Take a socket in; what is there already counts as having come."""
        if self._epoll is not None:
            self._epoll.register(fd, select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET)
            self._members.add(fd)

    def leave(self, fd: int) -> None:
        """Let a socket go, before it is closed; whoever waits for it is woken. Harmless twice."""
        if fd in self._members:
            self._members.discard(fd)
            self._ready.discard(fd)
            self._ended.discard(fd)
            if self._epoll is not None:
                self._epoll.unregister(fd)
            self._wake(fd)

    def drained(self, fd: int) -> None:
        """Tell that there was nothing left to read: the next edge will be told."""
        if fd not in self._ended:
            self._ready.discard(fd)

    async def wait(self, fd: int) -> None:
        """Wait until something may have come. Only one task may wait for a socket."""
        if fd not in self._members:
            await trio.lowlevel.wait_readable(fd)
        elif fd in self._ready:
            await trio.lowlevel.checkpoint()
        else:
            self._waiting[fd] = trio.lowlevel.current_task()

            def forget(_: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
                del self._waiting[fd]
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(forget)

    def _wake(self, fd: int) -> None:
        task = self._waiting.pop(fd, None)
        if task is not None:
            trio.lowlevel.reschedule(task)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Look, tell, and wait, for ever."""
        with select.epoll() as epoll:
            self._epoll = epoll
            task_status.started()
            try:
                while True:
                    if came := epoll.poll(0, _AT_ONCE):
                        for fd, what in came:
                            self._ready.add(fd)
                            if what != select.EPOLLIN:
                                self._ended.add(fd)
                            self._wake(fd)
                        await trio.sleep(TICK if len(self._members) >= CROWD else 0)
                    else:
                        await trio.lowlevel.wait_readable(epoll.fileno())
            finally:
                self._epoll = None
                for fd in list(self._members):
                    self.leave(fd)
