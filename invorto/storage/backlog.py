"""What waits to be written to Redis: in order, bounded in bytes, with a place for what has to be sent again."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import attrs
import trio

from invorto.storage.redis import Command

_OVERHEAD = 300
"""Bytes that a line takes in memory besides its texts."""


@attrs.define(eq=False)
class Line:
    """One command that waits; *event*: it must not get lost uncounted, *sent*: it may have arrived already."""

    command: Command
    event: bool
    size: int = attrs.field(init=False)
    sent: bool = False

    def __attrs_post_init__(self) -> None:
        self.size = _OVERHEAD + sum(len(part) for part in self.command if isinstance(part, str | bytes))


class Backlog:
    """
    A queue of `Line` for one reader, who takes a batch and settles each line of it: gone, or again.

    Over *most_bytes*, what was taken and is not settled included, the oldest waiting lines fall out.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lines: deque[Line] = deque()
        self._bytes = 0
        self._came = self._gone = 0
        self._filled = trio.Event()
        self.fell = 0
        """Events that fell out."""

    def __len__(self) -> int:
        """How many lines came and are neither gone nor fallen out."""
        return self._came - self._gone

    @property
    def came(self) -> int:
        """How many lines ever came."""
        return self._came

    @property
    def gone(self) -> int:
        """How many lines ever went or fell out."""
        return self._gone

    def put(self, line: Line) -> int:
        """Add a line; tell how many events fell out for it."""
        self._lines.append(line)
        self._came += 1
        self._bytes += line.size
        self._filled.set()
        return self._trim()

    async def wait(self) -> None:
        """Return when something waits."""
        await self._filled.wait()

    def take(self, most: int) -> list[Line]:
        """Take the oldest lines out, to be settled."""
        return [self._lines.popleft() for _ in range(min(most, len(self._lines)))]

    def settle(self, taken: Sequence[Line], again: Sequence[Line]) -> int:
        """Give back *again*, some of those *taken*, to the front in their order; tell how many events fell out."""
        self._lines.extendleft(reversed(again))
        self._gone += len(taken) - len(again)
        self._bytes -= sum(line.size for line in taken) - sum(line.size for line in again)
        fell = self._trim()
        if not self._lines and self._filled.is_set():
            self._filled = trio.Event()
        return fell

    def _trim(self) -> int:
        fell = 0
        while self._bytes > self._most and self._lines:
            line = self._lines.popleft()
            self._bytes -= line.size
            self._gone += 1
            fell += line.event
        self.fell += fell
        return fell
