"""What the process stands on, longer since it is all of it: opened once, passed down, closed in reverse."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import attrs
import trio

import invorto
from invorto.api.app import make_app
from invorto.api.deps import ApiDeps, Part
from invorto.api.hypercorn import HttpServer
from invorto.config import Config
from invorto.errors import StoreUnavailable, UsageError
from invorto.model.agent_document import installation
from invorto.model.ids import new_id
from invorto.observability.metrics import Metrics
from invorto.observability.pulse import Pulse
from invorto.observability.traces import Spans
from invorto.outgoing.traces import export
from invorto.realtime.analyst import Analyst, make_analyst
from invorto.realtime.book import StoredBook
from invorto.realtime.call import House
from invorto.realtime.capacity import Capacity
from invorto.realtime.door import Upgrade
from invorto.realtime.head import Refused, Request
from invorto.realtime.keeping import make_capacity, make_reconciler
from invorto.realtime.knock import Porter
from invorto.realtime.live import LiveCalls
from invorto.realtime.prewarm import prewarm
from invorto.realtime.readers import Readers
from invorto.realtime.reception import Reception
from invorto.realtime.reconciler import Reconciler
from invorto.realtime.recording import Recorder, recordings_folder
from invorto.realtime.revoking import Holds
from invorto.realtime.switchboard import LeasedOwners, Switchboard
from invorto.realtime.voices import choose_voices
from invorto.restarts import restarted
from invorto.speech.cache import SpeechCache
from invorto.speech.opening import Progress, silent
from invorto.speech.plugins import Engines, Kind, configured, installed, open_engines
from invorto.storage import keys, ledger_rows
from invorto.storage.control import ControlDesk, ControlPost
from invorto.storage.leases import Leases
from invorto.storage.ledger import Ledger
from invorto.storage.migrate import pending
from invorto.storage.postgres import Database, open_database
from invorto.storage.rates import Rates
from invorto.storage.redis import Redis, open_redis
from invorto.storage.spool import Spool
from invorto.storage.timeline import Timeline
from invorto.tools.equipment import Equipping, open_equipping
from invorto.webhooks.dispatcher import Dispatcher
from invorto.webhooks.making import make_dispatcher

_AGENT_ENGINES: tuple[Kind, ...] = ("stt", "llm", "tts")


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
    leases: Leases
    capacity: Capacity
    reconciler: Reconciler
    house: House
    porter: Porter
    control: ControlDesk
    http: HttpServer
    health: Readiness
    holds: Holds
    dispatcher: Dispatcher
    analyst: Analyst
    readers: Readers = attrs.field(factory=Readers)
    """What the voice sockets of this process wait for bytes with."""

    def services(self) -> Mapping[str, Any]:
        """Name what runs in the back, in the order of starting; what is written to stops after what writes."""
        return {
            **self._traces(),
            "pulse": self.pulse.run,
            "timeline": self.timeline.run,
            "ledger": self.ledger.run,
            "capacity": self.capacity.run,
            "reconciler": self.reconciler.run,
            "recorder": self.recorder.run,
            "vad": self.engines.vad.run,
            "readers": self.readers.run,
            "holds": self.holds.run,
            "webhooks": partial(restarted, "webhooks", self.dispatcher.run),
            "control": self.control.run,
            "analyst": partial(restarted, "analyst", self.analyst.run),
        }

    def _traces(self) -> Mapping[str, Any]:
        endpoint, spans = self.config.observing.otlp_endpoint, self.metrics.spans
        if endpoint is None or spans is None:
            return {}
        resource = {
            "service.name": self.config.observing.service_name,
            "service.version": invorto.__version__,
            "service.instance.id": self.node_id,
        }
        return {"traces": partial(restarted, "traces", partial(export, endpoint, spans, resource))}

    def reception(self, calls: trio.Nursery) -> Reception:
        """Make the handler of voice sockets, whose calls live in *calls*."""
        return Reception(
            porter=self.porter, house=self.house, calls=calls, limits=self.config.limits,
            defaults=installation(self.config), holds=self.holds,
        )  # fmt: skip

    async def no_voice(self, request: Request, upgrade: Upgrade) -> None:
        """Refuse a voice socket: this process runs without that part."""
        await upgrade.refuse(Refused(404, "not_found", f"no voice sockets are served here: {request.path}"))


@asynccontextmanager
async def open_resources(config: Config, progress: Progress = silent) -> AsyncGenerator[Resources]:
    """Open everything; `UsageError` and `StartFailed` say in a sentence what is missing or away."""
    stores = config.stores
    if stores.db_url is None or stores.redis_url is None:
        missing = [name for name, url in (("DB_URL", stores.db_url), ("REDIS_URL", stores.redis_url)) if url is None]
        raise UsageError(f"{' and '.join(missing)} must be set; `invorto dev` brings stores of its own")
    with _reached("DB_URL"):
        behind = await pending(stores.db_url)
    if behind:
        raise UsageError(
            f"the database lacks {len(behind)} migrations, the first is {behind[0]}: run `invorto migrate`"
        )
    recordings = recordings_folder(stores.recordings_url, stores.data_dir)
    async with AsyncExitStack() as stack:
        with _reached("DB_URL"):
            database = await stack.enter_async_context(open_database(stores.db_url, stores.db_pool_size))
        with _reached("REDIS_URL"):
            redis = await stack.enter_async_context(open_redis(stores.redis_url))
        engines = await stack.enter_async_context(open_engines(configured(config), config, progress))
        write, note = partial(ledger_rows.write, database), partial(ledger_rows.note, database)
        metrics = Metrics()
        metrics.spans = Spans() if config.observing.otlp_endpoint else None
        ground = _Ground(
            config=config,
            database=database,
            redis=redis,
            timeline=Timeline(redis, config.timeline),
            ledger=Ledger(write, note, Spool(stores.data_dir / "spool")),
            recorder=Recorder(recordings, metrics.recording_failed),
            engines=engines,
            metrics=metrics,
            live=LiveCalls(config.limits.max_concurrent_calls, engines),
            spoken=SpeechCache(config.conversation.tts_cache_mb * 2**20),
            equipping=await stack.enter_async_context(open_equipping(config, database)),
        )
        metrics.watch_live_calls(lambda: ground.live.held)
        yield ground.build(new_id("n"))


@contextmanager
def _reached(setting: str) -> Generator[None]:
    """Say which setting leads to the store that cannot be reached."""
    try:
        yield
    except StoreUnavailable as away:
        raise UsageError(f"{away}: is it running, and does {setting} lead to it?") from None


@attrs.frozen(kw_only=True)
class _Ground:
    """What was opened, and what is made of it."""

    config: Config
    database: Database
    redis: Redis
    timeline: Timeline
    ledger: Ledger
    recorder: Recorder
    engines: Engines
    metrics: Metrics
    live: LiveCalls
    spoken: SpeechCache
    equipping: Equipping

    def build(self, node_id: str) -> Resources:
        """Make the rest."""
        health = Readiness()
        leases = Leases(self.redis, node_id, self.config.capacity.lease_ttl)
        capacity = make_capacity(self.config, self.database, leases, self.live, self.metrics)
        owners, post = LeasedOwners(self.database, leases), ControlPost(self.redis)
        switchboard = Switchboard(node_id=node_id, live=self.live, owners=owners, post=post)
        api = self._api(health, switchboard, leases)
        analyst = make_analyst(self.database, self.engines)
        return Resources(
            config=self.config,
            node_id=node_id,
            database=self.database,
            redis=self.redis,
            timeline=self.timeline,
            ledger=self.ledger,
            recorder=self.recorder,
            engines=self.engines,
            metrics=self.metrics,
            pulse=Pulse(self.metrics),
            live=self.live,
            leases=leases,
            capacity=capacity,
            reconciler=make_reconciler(
                self.config,
                self.database,
                leases,
                capacity,
                ledger=self.ledger,
                timeline=self.timeline,
                recordings=self.recorder.folder,
                metrics=self.metrics,
            ),
            house=self._house(node_id, capacity, analyst),
            analyst=analyst,
            porter=Porter.of(self.config, self.database),
            control=ControlDesk(self.redis, node_id, switchboard.answer),
            http=HttpServer(make_app(api), stopping=api.stopping),
            health=health,
            holds=Holds(partial(keys.revoked_among, self.database)),
            dispatcher=make_dispatcher(self.config, self.database, node_id, self.metrics),
        )

    def _house(self, node_id: str, capacity: Capacity, analyst: Analyst) -> House:
        talk = self.config.conversation
        return House(
            live=self.live,
            capacity=capacity,
            book=StoredBook(self.database, node_id),
            ledger=self.ledger,
            timeline=self.timeline,
            recorder=self.recorder,
            voices=partial(choose_voices, engines=self.engines, spoken=self.spoken),
            wall=time.time,
            measures=self.metrics,
            prewarm=prewarm if talk.tts_prewarm else None,
            speculate=talk.speculative_replies,
            equipping=self.equipping,
            usd_inr=self.config.money.usd_inr_rate,
            longest=self.config.limits.call_timeout_minutes * 60,
            analyst=analyst,
            address=(self.config.network.public_base_url or "").rstrip("/"),
            emotion={
                "window_ms": talk.emotion_window_ms,
                "threshold_db": talk.emotion_threshold_db,
                "min_hold": talk.emotion_min_hold,
                "states": talk.emotion_state_enabled,
            },
        )

    def _api(self, health: Readiness, switchboard: Switchboard, leases: Leases) -> ApiDeps:
        return ApiDeps(
            config=self.config,
            database=self.database,
            timeline=self.timeline,
            recordings=self.recorder.folder,
            metrics=self.metrics.registry,
            spans=self.metrics.spans,
            rates=Rates(self.redis, self.config.rates.window_ms / 1000, self.metrics.rate_unchecked),
            parts=(
                Part(name="postgres", probe=self._postgres, needed=True),
                Part(name="redis", probe=self._redis),
                Part(name="speech", probe=self._speech),
            ),
            engines={kind: installed(kind) for kind in _AGENT_ENGINES},
            draining=lambda: self.live.draining or not health.ready,
            full=lambda: self.live.full,
            live=self.live.get,
            held=lambda: self.live.held,
            leases=leases,
            switchboard=switchboard,
            node_id=switchboard.node_id,
            equipping=self.equipping,
        )

    async def _postgres(self) -> Mapping[str, Any]:
        latency = await self.database.ping()
        version = await self.database.version()
        return {"version": version, "latencyMs": round(latency * 1000, 2), "behind": self.ledger.behind}

    async def _redis(self) -> Mapping[str, Any]:
        latency = await self.redis.ping()
        version = await self.redis.version()
        behind, dropped = self.timeline.behind, self.timeline.dropped
        return {"version": version, "latencyMs": round(latency * 1000, 2), "behind": behind, "dropped": dropped}

    async def _speech(self) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        engines = [attrs.asdict(engine) for engine in self.engines.health()]
        return {"engines": engines, "capacity": self.engines.capacity}
