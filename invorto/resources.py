"""What the process stands on: opened once, in order, passed down, and closed in reverse."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from invorto.api.app import make_app
from invorto.api.deps import ApiDeps, Part
from invorto.api.hypercorn import HttpServer
from invorto.config import Config
from invorto.errors import UsageError
from invorto.model.agent import AgentConfig
from invorto.model.agent_document import installation
from invorto.model.ids import new_id
from invorto.observability.metrics import Metrics
from invorto.observability.pulse import Pulse
from invorto.realtime.auth import Trust
from invorto.realtime.book import StoredBook
from invorto.realtime.call import House, Voices
from invorto.realtime.door import Upgrade
from invorto.realtime.head import Refused, Request
from invorto.realtime.knock import Porter
from invorto.realtime.live import LiveCalls
from invorto.realtime.origin import Origins
from invorto.realtime.reception import Reception
from invorto.realtime.recording import Recorder, recordings_folder
from invorto.realtime.stored import StoredAgents, StoredCalls, StoredKeys
from invorto.speech.opening import Progress, silent
from invorto.speech.plugins import Engines, configured, installed, open_engines
from invorto.storage import ledger_rows
from invorto.storage.ledger import Ledger
from invorto.storage.migrate import pending
from invorto.storage.postgres import Database, open_database
from invorto.storage.redis import Redis, open_redis
from invorto.storage.spool import Spool
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.storage.timeline import Timeline


@attrs.define
class Readiness:
    """Whether this process may be sent calls."""

    ready: bool = False


@attrs.frozen(kw_only=True)
class Resources:
    """Everything that is shared by the process."""

    config: Config
    node_id: str
    database: Database
    redis: Redis
    timeline: Timeline
    ledger: Ledger
    recorder: Recorder
    engines: Engines
    metrics: Metrics
    pulse: Pulse
    live: LiveCalls
    house: House
    porter: Porter
    http: HttpServer
    health: Readiness

    def services(self) -> Mapping[str, Any]:
        """Name what runs in the back, in the order of starting; what is written to stops after what writes."""
        return {
            "pulse": self.pulse.run,
            "timeline": self.timeline.run,
            "ledger": self.ledger.run,
            "recorder": self.recorder.run,
            "vad": self.engines.vad.run,
        }

    def reception(self, calls: trio.Nursery) -> Reception:
        """Make the handler of voice sockets, whose calls live in *calls*."""
        return Reception(
            porter=self.porter, house=self.house, calls=calls, limits=self.config.limits,
            defaults=installation(self.config),
        )  # fmt: skip

    async def no_voice(self, request: Request, upgrade: Upgrade) -> None:
        """Refuse a voice socket: this process runs without that part."""
        await upgrade.refuse(Refused(404, "not_found", f"no voice sockets are served here: {request.path}"))


@asynccontextmanager
async def open_resources(config: Config, progress: Progress = silent) -> AsyncGenerator[Resources]:
    """Open everything; `UsageError` and `StartFailed` say in a sentence what is missing or away."""
    stores = config.stores
    if stores.db_url is None or stores.redis_url is None:
        missing = " and ".join(name for name, url in (("DB_URL", stores.db_url), ("REDIS_URL", stores.redis_url)) if not url)
        raise UsageError(f"{missing} must be set; `invorto dev` brings stores of its own")
    if behind := await pending(stores.db_url):
        raise UsageError(f"the database lacks {len(behind)} migrations, the first is {behind[0]}: run `invorto migrate`")
    recordings = recordings_folder(stores.recordings_url, stores.data_dir)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(stores.db_url, stores.db_pool_size))
        redis = await stack.enter_async_context(open_redis(stores.redis_url))
        engines = await stack.enter_async_context(open_engines(configured(config), config, progress))
        metrics, node_id = Metrics(), new_id("n")
        timeline = Timeline(redis, config.timeline)
        ledger = Ledger(
            partial(ledger_rows.write, database), partial(ledger_rows.note, database), Spool(stores.data_dir / "spool")
        )
        recorder = Recorder(recordings, metrics.recording_failed)
        live = LiveCalls(config.limits.max_concurrent_calls, engines)
        metrics.watch_live_calls(lambda: live.held)
        house = _house(config, node_id, database, timeline, ledger, recorder, engines, metrics, live)
        porter = Porter(
            trust=Trust.of(config, DEFAULT_TENANT), origins=Origins.of(config.network), keys=StoredKeys(database),
            calls=StoredCalls(database), agents=StoredAgents(database), wall=time.time,
        )  # fmt: skip
        health = Readiness()
        http = HttpServer(make_app(_api(config, database, redis, timeline, ledger, engines, metrics, live, health, recordings)))
        yield Resources(
            config=config, node_id=node_id, database=database, redis=redis, timeline=timeline, ledger=ledger,
            recorder=recorder, engines=engines, metrics=metrics, pulse=Pulse(metrics), live=live, house=house,
            porter=porter, http=http, health=health,
        )  # fmt: skip


def _house(
    config: Config, node_id: str, database: Database, timeline: Timeline, ledger: Ledger, recorder: Recorder,
    engines: Engines, metrics: Metrics, live: LiveCalls,
) -> House:  # fmt: skip
    talk = config.conversation

    async def voices(agent: AgentConfig) -> Voices:
        await engines.need(agent)
        stt, tts = agent.stt.providers[0], agent.tts.providers[0]
        return Voices(
            vad=engines.vad, stt=engines.stt(stt), llm=engines.llm(agent.llm.providers[0]), tts=engines.tts(tts),
            local="local" in (stt, tts),
        )  # fmt: skip

    return House(
        live=live, book=StoredBook(database, node_id, time.time), ledger=ledger, timeline=timeline, recorder=recorder,
        voices=voices, wall=time.time, meter=metrics, usd_inr=config.money.usd_inr_rate, longest=config.limits.call_timeout_minutes * 60,
        emotion={
            "window_ms": talk.emotion_window_ms, "threshold_db": talk.emotion_threshold_db,
            "min_hold": talk.emotion_min_hold,
        },
    )  # fmt: skip


def _api(
    config: Config, database: Database, redis: Redis, timeline: Timeline, ledger: Ledger, engines: Engines,
    metrics: Metrics, live: LiveCalls, health: Readiness, recordings: Path,
) -> ApiDeps:  # fmt: skip
    async def postgres() -> Mapping[str, Any]:
        latency = await database.ping()
        return {"version": await database.version(), "latencyMs": round(latency * 1000, 2), "behind": ledger.behind}

    async def redis_part() -> Mapping[str, Any]:
        latency = await redis.ping()
        return {"version": await redis.version(), "latencyMs": round(latency * 1000, 2), "behind": timeline.behind}

    async def speech() -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"engines": [attrs.asdict(engine) for engine in engines.health()], "capacity": engines.capacity}

    return ApiDeps(
        config=config, database=database, timeline=timeline, recordings=recordings, metrics=metrics.registry,
        parts=(
            Part(name="postgres", probe=postgres, needed=True),
            Part(name="redis", probe=redis_part),
            Part(name="speech", probe=speech),
        ),
        engines={kind: installed(kind) for kind in ("stt", "llm", "tts")},
        draining=lambda: live.draining or not health.ready, full=lambda: live.full, live=live.get,
    )  # fmt: skip
