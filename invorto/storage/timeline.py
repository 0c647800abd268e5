"""The timeline of calls: events go into Redis streams in one pipelined write a tick, and are read back by cursor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import NoReturn

import attrs
import structlog
import trio

from invorto.config import TimelineSettings
from invorto.errors import Fault, Invalid, LimitReached, StoreUnavailable
from invorto.model.event_ids import EventKey, event_id, event_key
from invorto.model.record import TimelineEvent
from invorto.storage.backlog import Backlog, Line
from invorto.storage.events import decode_event, stream_key
from invorto.storage.follow import Following
from invorto.storage.json_text import json_text
from invorto.storage.redis import Commands, Entry, Refused, Reply

log = structlog.get_logger(__name__)

TICK = 0.1
"""Seconds that events wait for one another, so that all calls' are one write."""
BATCH = 250
"""Events a write at most, so that packing a backlog takes 5 ms from the frames. A hundred busy calls make 50 a tick."""
MOST_BYTES = 64 * 2**20
"""Bytes that wait for Redis at most, all calls' together: some 150,000 events, half an hour of a hundred busy calls.
Then the oldest are dropped: what is read when Redis is back is the present, and a call that ends carries its whole
timeline to PostgreSQL by itself."""
CHUNK = 100
"""Entries a read at most, for the same 5 ms; a longer page is read in several."""
FOLLOWERS = 64
"""Live readings at once: each holds a connection to Redis."""
LONGEST_PAUSE = 2.0
"""Seconds between two tries at most, while Redis is away."""
_LAST = (2**64 - 1, 2**64 - 1)
_LIVING = 26 * 3600
"""Seconds until the stream of a call that nobody ended may go: more than the longest call, which is 24 h."""


@attrs.frozen(kw_only=True)
class Deadlines:
    """How long the timeline may take, seconds."""

    close: float = 3.0
    """For writing what is buffered when the process stops."""


class Timeline:
    """
    Appends to the timelines of calls and reads them.

    `append` only buffers; `run` writes, and must run for anything to arrive. While Redis is away events wait, up to
    `MOST_BYTES`, and go out in order when it is back. What was sent without an answer is sent again: a stream refuses
    an id that is not above its top, so nothing is there twice.
    """

    def __init__(self, redis: Commands, settings: TimelineSettings, deadlines: Deadlines | None = None) -> None:
        self._redis, self._settings, self._deadlines = redis, settings, deadlines or Deadlines()
        self._backlog = Backlog(MOST_BYTES)
        self._living: set[str] = set()
        self._writing = trio.Lock()
        self._followers = trio.CapacityLimiter(FOLLOWERS)
        self._closed = False
        self._dropping = False
        self.healthy = True
        """Whether the last write arrived."""
        self.dropped = 0
        """Events that never arrived and never will: too many while Redis was away, refused by it, or after `close`."""

    @property
    def behind(self) -> int:
        """How many writes wait."""
        return len(self._backlog)

    @property
    def crowded(self) -> bool:
        """Whether as many follow timelines as may."""
        return self._followers.available_tokens < 1

    def append(self, call_id: str, event: TimelineEvent) -> None:
        """
        Put *event* at the end of a call's timeline, without waiting.

        Ids go up within a call: one that does not is refused by Redis, counted and logged. Raises `Invalid` for what is
        no event id at all.
        """
        if event_key(event.id, "$.id") == (0, 0):
            raise Invalid("$.id: 0-0 is no event's id", [Fault("$.id", "0-0 is no event's id")])
        key, payload = stream_key(call_id), json_text(event.payload)
        kind = event.kind.encode(errors="replace")
        add = ("XADD", key, event.id, "kind", kind, "payload", payload, "timestamp", int(event.timestamp))
        self._put(Line(add, event=True))
        if call_id not in self._living:
            self._living.add(call_id)
            self._put(Line(("EXPIRE", key, _LIVING + self._kept), event=False))

    async def expire(self, call_id: str) -> None:
        """Say that a call is over: its timeline leaves Redis ``TIMELINE_TTL_HOURS`` after its last event is written."""
        self._living.discard(call_id)
        self._put(Line(("EXPIRE", stream_key(call_id), self._kept), event=False))
        await trio.lowlevel.checkpoint()

    async def forget(self, call_ids: Collection[str]) -> None:
        """Take the timelines of calls that are over out of Redis; `StoreUnavailable` while it is away."""
        for call_id in call_ids:
            await self._redis.call("DEL", stream_key(call_id))
        await trio.lowlevel.checkpoint()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Write what is appended, one pipeline a tick; when cancelled, write the rest and `close`."""
        pause = TICK
        try:
            task_status.started()
            while True:
                await self._backlog.wait()
                await trio.sleep(pause)
                pause = TICK if await self._write() else _longer(pause)
        finally:
            await self.close()  # noqa: ASYNC102 - it shields and bounds itself

    async def flush(self) -> None:
        """Return when all that was appended before is written; while Redis is away it goes on trying."""
        target, pause = self._backlog.came, TICK
        while self._backlog.gone < target:
            if not await self._write():
                await trio.sleep(pause)
                pause = _longer(pause)
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """Write what is buffered, within a deadline, and take no more; harmless twice."""
        self._closed = True
        with trio.move_on_after(self._deadlines.close, shield=True):
            await self.flush()
        left = self._backlog.take(self.behind)
        self._backlog.settle(left, [])
        self._drop(sum(line.event for line in left), "redis_away_at_close")

    async def read(
        self,
        call_id: str,
        after: str | None = None,
        before: str | None = None,
        count: int | None = None,
        kinds: Collection[str] | None = None,
    ) -> list[TimelineEvent]:
        """
        Read a page of a call's timeline, ascending.

        With *after* (exclusive), the events that follow it; with *before* alone (exclusive), those just before it; with
        both, those after *after* as far as *before*. *count* is the settings' unless given, and never above their most.
        Only *kinds*, where given; pages are full as long as there are more. Raises `Invalid` for a cursor or a count
        that is none, `StoreUnavailable` while Redis is away.
        """
        low = event_key(after, "$.after") if after is not None else None
        high = event_key(before, "$.before") if before is not None else None
        wanted, only = self._count(count), frozenset({kinds} if isinstance(kinds, str) else kinds or ())
        page: list[TimelineEvent] = []
        down = high is not None and low is None
        while True:
            chunk = CHUNK if only else min(CHUNK, wanted - len(page))
            entries = await self._chunk(stream_key(call_id), low, high, chunk, down=down)
            events = [decode_event(*entry) for entry in entries]
            page += [event for event in events if not only or event.kind in only]
            if len(entries) < chunk or len(page) >= wanted:
                break
            last = event_key(entries[-1][0])
            low, high = (low, last) if down else (last, high)
        del page[wanted:]
        return page[::-1] if down else page

    @asynccontextmanager
    async def follow(self, call_id: str, after: str | None = None) -> AsyncGenerator[AsyncIterator[TimelineEvent]]:
        """
        Read a call's timeline as it is written: every event after *after* (exclusive; None: from the first), once.

        The iterator ends when the block is left; while Redis is away it waits. Raises `Invalid`, and `LimitReached` for
        more than `FOLLOWERS` at once.
        """
        start = event_id(event_key(after, "$.after")) if after is not None else "0-0"
        following = Following(self._redis, stream_key(call_id), start, CHUNK)
        try:
            self._followers.acquire_on_behalf_of_nowait(following)
        except trio.WouldBlock:
            raise LimitReached("follow", FOLLOWERS, FOLLOWERS) from None
        try:
            yield following
        finally:
            following.end()
            self._followers.release_on_behalf_of(following)

    @property
    def _kept(self) -> int:
        return max(1, round(self._settings.ttl_hours * 3600))

    def _count(self, count: int | None) -> int:
        if count is not None and count < 1:
            raise Invalid("$.count: expected 1 or more", [Fault("$.count", "expected 1 or more")])
        return min(count or self._settings.default_count, self._settings.max_count)

    async def _chunk(
        self, key: str, low: EventKey | None, high: EventKey | None, count: int, *, down: bool
    ) -> list[Entry]:
        bottom, top = f"({event_id(low)}" if low else "-", f"({event_id(high)}" if high else "+"
        if (low and high and low >= high) or high == (0, 0) or low == _LAST:
            await trio.lowlevel.checkpoint()
            return []  # Redis refuses a range that cannot hold anything
        if down:
            return await self._redis.xrevrange(key, top, bottom, count=count)
        return await self._redis.xrange(key, bottom, top, count=count)

    def _put(self, line: Line) -> None:
        if self._closed:
            self._drop(int(line.event), "closed")
        else:
            self._drop(self._backlog.put(line), "buffer_full")

    def _drop(self, events: int, why: str) -> None:
        if not events:
            return
        self.dropped += events
        if not self._dropping:  # said once an outage, not once an event
            log.warning("timeline_events_dropped", why=why, dropped=self.dropped)
        self._dropping = True

    async def _write(self) -> bool:
        """Write one batch and tell whether it arrived; what did not, or perhaps not, goes back to its place."""
        async with self._writing:
            taken = again = self._backlog.take(BATCH)
            if not taken:
                return True
            try:
                replies = await self._redis.pipeline([line.command for line in taken])
                again = [line for line, reply in zip(taken, replies, strict=True) if self._later(line, reply)]
            except StoreUnavailable as error:
                self._lost(str(error))
            finally:
                # Cancelled or lost: nobody knows how far it came. All is sent again, and what is there is refused.
                if again is taken:
                    for line in again:
                        line.sent = True
                self._drop(self._backlog.settle(taken, again), "buffer_full")
            if not again:
                self._back()
            return not again

    def _later(self, line: Line, reply: Reply) -> bool:
        """Whether a line has to be sent again; what Redis refuses for good is counted and dropped."""
        if not isinstance(reply, Refused):
            return False
        line.sent, sent_before = False, line.sent
        if reply.later:
            self._lost(str(reply))
        elif not (sent_before and "equal or smaller" in str(reply)):
            log.error("timeline_write_refused", key=line.command[1], error=str(reply))
            self._drop(int(line.event), "refused")
        return reply.later

    def _lost(self, error: str) -> None:
        if self.healthy:
            log.warning("timeline_lost", error=error, behind=self.behind)
        self.healthy = False

    def _back(self) -> None:
        if not self.healthy:
            log.info("timeline_back", behind=self.behind, dropped=self.dropped)
        self.healthy, self._dropping = True, False


def _longer(pause: float) -> float:
    return min(2 * pause, LONGEST_PAUSE)
