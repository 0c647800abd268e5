"""Live reading of one stream: each entry once and in order, through restarts of Redis."""

from __future__ import annotations

from collections import deque
from typing import Self

import structlog
import trio

from invorto.errors import StoreUnavailable
from invorto.model.record import TimelineEvent
from invorto.storage.events import decode_event
from invorto.storage.redis import Commands, Entry

log = structlog.get_logger(__name__)

_BLOCK = 5.0
"""Seconds of one blocking read; also how long a connection that died unseen goes unnoticed."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class Following:
    """
    An iterator over a stream's events after *after*, that waits for those to come; for one task at a time.

    An object and not an async generator, so that whoever waits may be cancelled and go on later: the place in the
    stream moves only when an event is handed out.
    """

    def __init__(self, redis: Commands, key: str, after: str, count: int) -> None:
        self._redis, self._key, self._after, self._count = redis, key, after, count
        self._read: deque[Entry] = deque()
        self._scope = trio.CancelScope()
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> TimelineEvent:
        if not self._read and not self._ended:
            with trio.CancelScope() as self._scope:
                self._read.extend(await self._more())
        else:
            await trio.lowlevel.checkpoint()
        if self._ended:
            raise StopAsyncIteration
        return decode_event(*self._read.popleft())

    def end(self) -> None:
        """End the iteration, also for one who waits in it."""
        self._ended = True
        self._scope.cancel()

    async def _more(self) -> list[Entry]:
        pause = 0.0
        while True:
            try:
                entries = await self._redis.xread(self._key, self._after, count=self._count, block=_BLOCK)
            except StoreUnavailable as error:
                if not pause:
                    log.warning("follow_lost", key=self._key, error=str(error))
                pause = min(max(2 * pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                await trio.sleep(pause)
                continue
            if entries:
                self._after = entries[-1][0]
                return entries
