"""The parts of the process as health shows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from invorto.api.deps import Part
from invorto.errors import StoreUnavailable
from invorto.speech.plugins import EngineHealth
from invorto.storage.postgres import Database
from invorto.storage.redis import Commands
from invorto.storage.timeline import Timeline


def postgres_part(database: Database) -> Part:
    """Show PostgreSQL: nothing new begins without it."""

    async def probe() -> Mapping[str, Any]:
        return {"version": await database.version()}

    return Part(name="postgres", probe=probe, needed=True)


def redis_part(redis: Commands) -> Part:
    """Show Redis: calls go on without it."""

    async def probe() -> Mapping[str, Any]:
        return {"version": await redis.version()}

    return Part(name="redis", probe=probe)


def timeline_part(timeline: Timeline) -> Part:
    """Show the timeline's writer: how much waits, how much was lost."""

    async def probe() -> Mapping[str, Any]:
        if not timeline.healthy:
            raise StoreUnavailable(f"{timeline.behind} writes wait, {timeline.dropped} events were dropped")
        return {"behind": timeline.behind, "dropped": timeline.dropped}

    return Part(name="timeline", probe=probe)


def engines_part(health: Callable[[], Sequence[EngineHealth]]) -> Part:
    """Show the speech engines that are open, with their versions."""

    async def probe() -> Mapping[str, Any]:
        return {
            "engines": [
                {"kind": engine.kind, "name": engine.name, "version": engine.version, "ready": engine.ready}
                for engine in health()
            ]
        }

    return Part(name="engines", probe=probe)


def calls_part(held: Callable[[], int], limit: int) -> Part:
    """Show how many calls this node holds, of how many."""

    async def probe() -> Mapping[str, Any]:
        return {"held": held(), "limit": limit}

    return Part(name="calls", probe=probe)
