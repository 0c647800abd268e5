"""The route of a call's timeline: from Redis while the call lives, from PostgreSQL after."""

from __future__ import annotations

import attrs
from quart import Response, request
from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.event_stream import EventStream, Kept, Watched
from invorto.api.routing import JSON, Routes
from invorto.errors import Fault, LimitReached, StoreUnavailable
from invorto.model import rules
from invorto.model.call import Call
from invorto.model.event_ids import event_key
from invorto.model.record import TimelineEvent
from invorto.plain import invalid
from invorto.storage import calls
from invorto.storage.timeline import FOLLOWERS

_STREAM = {"Content-Type": "text/event-stream"}
_HIGHEST = 2**63 - 1
"""What PostgreSQL can compare; the ids of events are below it for the next 292 million years."""


@attrs.frozen(kw_only=True)
class TimelineQuery:
    """A part of a timeline: cursors are ids of events and not included."""

    after: str | None = None
    before: str | None = None
    count: int | None = attrs.field(default=None, validator=rules.between(1, 1_000_000))
    """More than ``TIMELINE_MAX_COUNT`` is that many."""
    kind: tuple[str, ...] = attrs.field(default=(), validator=rules.every(rules.count(50), rules.text(64)))


@attrs.frozen(kw_only=True)
class TimelineAnswer:
    """A part of a call's timeline, ascending."""

    call_id: str
    timeline: tuple[TimelineEvent, ...]
    next: str | None
    """The cursor that goes on, in the direction that was asked for; null: there is no more."""


@attrs.frozen
class _Reader:
    """Reads one call's timeline, wherever it is."""

    deps: ApiDeps
    call: Call
    kinds: tuple[str, ...]

    async def read(self, after: str | None, before: str | None, most: int) -> list[TimelineEvent]:
        """Give up to *most* events, ascending."""
        if not self.call.status.terminal:
            return await self._running(after, before, most)
        if found := await self._kept(after, before, most):
            return found  # the whole, kept with the call's end; Redis may still be a tick behind
        try:
            return await self._running(after, before, most)
        except StoreUnavailable:
            return []

    async def _running(self, after: str | None, before: str | None, most: int) -> list[TimelineEvent]:
        return await self.deps.timeline.read(self.call.id, after, before, most, self.kinds or None)

    async def _kept(self, after: str | None, before: str | None, most: int) -> list[TimelineEvent]:
        return await calls.timeline(
            self.deps.database,
            self.call.tenant_id,
            self.call.id,
            after=_comparable(after),
            before=_comparable(before),
            count=most,
            kinds=self.kinds or None,
        )


def _comparable(cursor: str | None) -> str | None:
    return cursor and "-".join(str(min(part, _HIGHEST)) for part in event_key(cursor))


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the route."""
    routes = Routes("timelines", gate, "/v1/calls")
    settings = deps.config.timeline

    async def stream(caller: Caller, call: Call, query: TimelineQuery) -> Response:
        after = request.headers.get("Last-Event-ID", "").strip() or query.after
        if after is not None:
            event_key(after, "$.after")
        reader = _Reader(deps, call, query.kind)
        body: ResponseBody
        if call.status.terminal:
            if after is not None and not await reader.read(after, None, 1):
                return TrioResponse(b"", 204)  # all was told: a browser asks no more after this
            body = Kept(lambda cursor: reader.read(cursor or "0-0", None, settings.max_count), after)
        elif deps.timeline.crowded:
            raise LimitReached("rate", FOLLOWERS, FOLLOWERS, 5.0)
        else:

            async def over() -> bool:
                return (await calls.get(deps.database, caller.tenant_id, call.id)).status.terminal

            watched = Watched(call_id=call.id, after=after, kinds=frozenset(query.kind))
            body = EventStream(deps.timeline, watched, over=over, stopping=deps.stopping)
        response = TrioResponse(body, 200, {**_STREAM, "Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        response.timeout = None  # it lasts as long as the call
        return response

    @routes.get(
        "/<call_id>/timeline", needs="analyst", gives=TimelineAnswer, kinds=[JSON, "text/event-stream"], also=[204]
    )
    async def read(caller: Caller, call_id: str, query: TimelineQuery) -> TimelineAnswer | Response:
        """
        Read what happened in a call, while it lives and after.

        With `Accept: text/event-stream` it goes on until the call is over; `Last-Event-ID` goes on where it broke off.
        """
        keys = [event_key(text, path) for text, path in ((query.after, "$.after"), (query.before, "$.before")) if text]
        if len(keys) == 2 and keys[0] >= keys[1]:
            raise invalid([Fault("$.before", "must come after `after`")])
        call = await calls.get(deps.database, caller.tenant_id, call_id)
        if request.accept_mimetypes.best_match([JSON, _STREAM["Content-Type"]], JSON) != JSON:
            return await stream(caller, call, query)
        reader = _Reader(deps, call, query.kind)
        most = min(query.count or settings.default_count, settings.max_count)
        page = await reader.read(query.after, query.before, most)
        following = None
        if len(page) == most:  # there may be more: look, so that a full last page does not lead to an empty one
            back = query.before is not None and query.after is None
            edge = page[0].id if back else page[-1].id
            more = await reader.read(None, edge, 1) if back else await reader.read(edge, query.before, 1)
            following = edge if more else None
        return TimelineAnswer(call_id=call_id, timeline=tuple(page), next=following)

    return routes
