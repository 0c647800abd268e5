"""Routes that look at live calls: which there are, and how one goes."""

from __future__ import annotations

from datetime import datetime

import attrs
import trio

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.convert import ANSWERS, structure
from invorto.errors import Conflict, InvortoError
from invorto.model.call import Call, CallStatus, Direction
from invorto.realtime.acts import Stats
from invorto.realtime.stats import CallStats
from invorto.storage import calls

_LOOK = 1.0
"""Seconds that other nodes get to say how their calls go, all together."""


@attrs.frozen(kw_only=True)
class StatsAnswer:
    """How a call goes, or went."""

    call_id: str
    agent_id: str
    direction: Direction
    status: CallStatus
    live: bool
    started_at: datetime | None
    ended_at: datetime | None
    duration: float | None
    """Seconds so far, or in all."""
    now: CallStats | None
    """As its owner sees it; null when it is over."""


@attrs.frozen(kw_only=True)
class Connection:
    """A call whose media is open."""

    call_id: str
    agent_id: str
    direction: Direction
    from_: str | None
    to: str | None
    campaign_id: str | None
    started_at: datetime | None
    connections: int | None
    """Sockets that are attached; null where its owner does not say."""
    listeners: int | None
    floor: str | None


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("connections", gate, "/v1/realtime")
    database = deps.database

    @routes.get("/<call_id>/stats", needs="analyst", errors=["owner_unreachable"])
    async def stats(caller: Caller, call_id: str) -> StatsAnswer:
        """Tell how a call goes, as its owner sees it, or how long it took."""
        call = await calls.get(database, caller.tenant_id, call_id)
        now = await look(call)
        return StatsAnswer(
            call_id=call.id,
            agent_id=call.agent_id,
            direction=call.direction,
            status=call.status,
            live=now is not None,
            started_at=call.started_at,
            ended_at=call.ended_at,
            duration=now.seconds if now else call.duration,
            now=now,
        )

    async def look(call: Call) -> CallStats | None:
        """Ask a call's owner; None where it has none."""
        if call.status is not CallStatus.ACTIVE or deps.switchboard is None:
            return None
        try:
            return structure(dict(await deps.switchboard.act(call, Stats())), CallStats, ANSWERS)
        except Conflict:
            return None

    @routes.get("/connections", needs="analyst")
    async def connections(caller: Caller, query: PageQuery) -> Page[Connection]:
        """List the calls whose media is open, on all nodes, the newest first."""
        page, limit = page_of(query)
        found, total = await calls.listing(
            database, caller.tenant_id, page=page, limit=limit, status=CallStatus.ACTIVE, sort_by="startedAt"
        )
        seen: dict[str, CallStats] = {}

        async def ask(call: Call) -> None:
            try:
                told = await look(call)
            except InvortoError:  # its owner is away: the list is worth having without it
                return
            if told is not None:
                seen[call.id] = told

        with trio.move_on_after(_LOOK):
            async with trio.open_nursery() as nursery:
                for call in found:
                    nursery.start_soon(ask, call)
        return page_answer([_connection(call, seen.get(call.id)) for call in found], total, query)

    return routes


def _connection(call: Call, stats: CallStats | None) -> Connection:
    return Connection(
        call_id=call.id,
        agent_id=call.agent_id,
        direction=call.direction,
        from_=call.from_,
        to=call.to,
        campaign_id=call.campaign_id,
        started_at=call.started_at,
        connections=stats.connections if stats else None,
        listeners=stats.listeners if stats else None,
        floor=stats.floor if stats else None,
    )
