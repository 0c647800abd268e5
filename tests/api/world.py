"""An API over real stores, and clients of every role."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
import trio
from prometheus_client import CollectorRegistry
from quart_trio import QuartTrio

from invorto.api.app import make_app
from invorto.api.auth import Gate
from invorto.api.deps import ApiDeps, Part
from invorto.config import load
from invorto.model.record import TimelineEvent
from invorto.outgoing.addresses import Address
from invorto.outgoing.client import OutgoingFailed
from invorto.storage import keys, tenants
from invorto.storage.leases import Leases
from invorto.storage.postgres import Database
from invorto.storage.rates import Rates
from invorto.storage.redis import Commands
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.storage.timeline import Timeline

ENVIRON = {
    "TIMELINE_DEFAULT_COUNT": "3",
    "TIMELINE_MAX_COUNT": "5",
    "PUBLIC_BASE_URL": "https://voice.example.com",
    "ALLOWED_ORIGINS": "https://app.example.com",
    "RATE_LIMIT_MAX_REQUESTS": "0",
    "RATE_LIMIT_READS": "0",
    "INVORTO_SECRET_KEYS": "a2" * 21 + "k=",
}
ENGINES = {"stt": {"local", "scripted"}, "llm": {"local", "scripted"}, "tts": {"local", "scripted"}}


@attrs.frozen
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def faults(self) -> list[tuple[str, str]]:
        return [(fault["path"], fault["message"]) for fault in self.json["details"]]


@attrs.define
class World:
    """Everything of one API."""

    app: QuartTrio
    deps: ApiDeps
    database: Database
    redis: Commands
    timeline: Timeline
    keys: Mapping[str, str]
    """Keys of the default tenant by role, and ``other``: another tenant's admin."""
    other_tenant: str
    draining: bool = False
    full: bool = False

    @property
    def gate(self) -> Gate:
        """A gate of its own, as routes of a test need it."""
        return Gate(self.database)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "dev",
        headers: dict[str, str] | None = None,
    ) -> Answered:
        """Send a request as the holder of a key; *body* is JSON unless it is bytes."""
        sent = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        data: bytes | None = body if isinstance(body, bytes) else None
        if body is not None and data is None:
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        sent |= headers or {}
        client: Any = self.app.test_client()
        response = await client.open(path, method=method, data=data, headers=sent)
        return Answered(response.status_code, response.headers, await response.get_data(as_text=False))

    async def agent(self, **fields: Any) -> str:
        """Make an agent over REST; give its id."""
        made = await self.ask("POST", "/v1/agents", {"name": "Desk", **fields})
        assert made.status == 201, made.data
        return made.json["id"]

    async def happen(self, call_id: str, *events: TimelineEvent) -> None:
        """Put events on a call's timeline."""
        for event in events:
            self.timeline.append(call_id, event)
        await self.timeline.flush()


def event(number: int, kind: str = "stt.final", **payload: Any) -> TimelineEvent:
    """Give the event of that number."""
    at = 1_772_357_400_000 + number
    return TimelineEvent(id=f"{at}-0", kind=kind, payload=payload, timestamp=at)


async def public(host: str) -> Sequence[Address]:
    """Find a name as if every one were public, but for those that say otherwise."""
    await trio.lowlevel.checkpoint()
    if host.endswith(".nowhere.example"):
        raise OutgoingFailed("name", "there is none")
    return [ip_address("10.0.0.1" if host.endswith(".private.example") or host == "localhost" else "93.184.216.34")]


@asynccontextmanager
async def open_world(database: Database, redis: Commands, folder: Path, **environ: str) -> AsyncGenerator[World]:
    """Make an API over these stores."""
    config = load({**ENVIRON, "DATA_DIR": str(folder), **environ})
    timeline = Timeline(redis, config.timeline)
    made = {
        role: (await keys.create(database, DEFAULT_TENANT, role, role))[1]
        for role in ("operator", "admin", "dev", "analyst")
    }
    other, made["other"] = await tenants.create_with_key(database, "Other")

    async def postgres() -> dict[str, str]:
        return {"version": await database.version()}

    async def ask_redis() -> dict[str, str]:
        return {"version": await redis.version()}

    deps = ApiDeps(
        config=config,
        database=database,
        timeline=timeline,
        recordings=folder,
        metrics=CollectorRegistry(),
        rates=Rates(redis, config.rates.window_ms / 1000),
        parts=(Part(name="postgres", probe=postgres, needed=True), Part(name="redis", probe=ask_redis)),
        engines=ENGINES,
        draining=lambda: world.draining,
        full=lambda: world.full,
        leases=Leases(redis, "n_1", 30),
        resolve=public,
    )
    world = World(make_app(deps), deps, database, redis, timeline, made, other.id)
    yield world
    await timeline.close()
