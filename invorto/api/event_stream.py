"""A call's timeline as Server-Sent Events: what is there, then what comes, until the call is over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import attrs
import trio
from quart.wrappers.response import ResponseBody

from invorto.model.record import TimelineEvent
from invorto.storage.json_text import json_text
from invorto.storage.timeline import Timeline

HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that nobody on the way closes the connection."""
_RETRY = b"retry: 2000\n\n"
_STILL_HERE = b": still here\n\n"
_LAST = "call.ended"


def written(event: TimelineEvent) -> bytes:
    """Write an event: its id, its kind, and in ``data`` what the timeline says of it, on one line."""
    kind = event.kind.replace("\r", " ").replace("\n", " ")
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (
        event.id.encode(), kind.encode(errors="replace"), json_text(attrs.asdict(event)),
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class Watched:
    """What is to be streamed."""

    call_id: str
    after: str | None
    kinds: frozenset[str]
    """Only these; empty: all."""


class EventStream(ResponseBody):
    """
    The events of a call that lives; it ends with the call, and when *stopping* is set.

    One event at a time is taken from the timeline, when the one before is on its way: who reads slowly, or not at all,
    holds up nobody but itself. *over* is asked in silence whether the call has ended without a word.
    """

    def __init__(
        self, timeline: Timeline, watched: Watched, *, over: Callable[[], Awaitable[bool]], stopping: trio.Event
    ) -> None:
        self._timeline, self._watched, self._over, self._stopping = timeline, watched, over, stopping
        self._stack = AsyncExitStack()
        self._events: AsyncIterator[TimelineEvent]
        self._begun = self._ended = False

    async def __aenter__(self) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] - quart names itself
        follow = self._timeline.follow(self._watched.call_id, self._watched.after)
        self._events = await self._stack.enter_async_context(follow)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._begun:
            self._begun = True
            await trio.lowlevel.checkpoint()
            return _RETRY
        while not self._ended:  # noqa: ASYNC913 - waiting for an event is a checkpoint
            event = await self._next()
            if event is None:
                self._ended = self._stopping.is_set() or await self._over()
                if not self._ended:
                    return _STILL_HERE
            else:
                self._ended = event.kind == _LAST
                if not self._watched.kinds or event.kind in self._watched.kinds:
                    return written(event)
        raise StopAsyncIteration

    async def _next(self) -> TimelineEvent | None:
        """Wait for the next event; None after a while without one, and at once when stopping."""
        found: TimelineEvent | None = None
        with trio.move_on_after(HEARTBEAT):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancelled_by, self._stopping, nursery.cancel_scope)
                found = await anext(self._events)
                nursery.cancel_scope.cancel()
        return found


async def _cancelled_by(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class Kept(ResponseBody):
    """The events of a call that is over, a page at a time."""

    def __init__(self, read: Callable[[str | None], Awaitable[list[TimelineEvent]]], after: str | None) -> None:
        self._read, self._after = read, after

    async def __aenter__(self) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] - quart names itself
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """There is nothing to close."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        page = await self._read(self._after)
        if not page:
            raise StopAsyncIteration
        self._after = page[-1].id
        return b"".join(map(written, page))
