"""The reconciler on real stores: what a lost node leaves is ended once, by one node, and only when that is certain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from invorto.audio.wav import header
from invorto.config import TimelineSettings
from invorto.errors import StoreUnavailable
from invorto.model.call import Call, CallStatus, EndReason
from invorto.model.lease import Claim, Level
from invorto.model.record import TimelineEvent
from invorto.observability.metrics import Metrics
from invorto.realtime.capacity import Capacity
from invorto.realtime.live import LiveCalls
from invorto.realtime.reconciler import Reconciler
from invorto.realtime.slots import Caps
from invorto.storage import calls, ledger_rows, system, tenants
from invorto.storage.leases import Leases
from invorto.storage.ledger import Ledger
from invorto.storage.postgres import Database
from invorto.storage.redis import Redis, open_redis
from invorto.storage.spool import Spool
from invorto.storage.timeline import Timeline
from tests.storage.nouns import BEGAN, a_call, an_agent

MS = round(BEGAN.timestamp() * 1000)


@attrs.frozen
class Node:
    """A node that looks."""

    reconciler: Reconciler
    capacity: Capacity
    leases: Leases
    metrics: Metrics


@attrs.frozen
class World:
    """Stores, and nodes on them."""

    database: Database
    redis: Redis
    timeline: Timeline
    folder: Path

    def node(self, name: str, patience: float = 0, ttl: float = 30) -> Node:
        """Make a node."""
        leases, metrics, live = Leases(self.redis, name, ttl), Metrics(), LiveCalls(10)
        capacity = Capacity(leases=leases, live=live, caps=Caps(everything=9), wall=lambda: 0.0)
        write, note = partial(ledger_rows.write, self.database), partial(ledger_rows.note, self.database)
        reconciler = Reconciler(
            node_id=name, database=self.database, leases=leases, capacity=capacity,
            ledger=Ledger(write, note, Spool(self.folder / "spool")), timeline=self.timeline,
            recordings=self.folder, metrics=metrics, patience=patience, usd_inr=87,
        )  # fmt: skip
        return Node(reconciler, capacity, leases, metrics)

    async def looking(self, name: str = "n_1", patience: float = 0) -> Node:
        """Make a node that knows that Redis is there, and that admission is open."""
        node = self.node(name, patience)
        await node.leases.beat([])
        await node.leases.open()
        await node.capacity.beat()
        return node

    async def talking(self, **fields: Any) -> Call:
        """Keep a call that is active on a node that is no more."""
        agent = await an_agent(self.database, name=f"Desk {fields.get('id', '')}")
        given = {"status": CallStatus.ACTIVE, "node_id": "n_dead", "epoch": 7, "started_at": BEGAN}
        return await a_call(self.database, agent, **(given | fields))


@pytest.fixture
async def world(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Give empty stores."""
    async with open_redis(redis_url) as redis:
        timeline = Timeline(redis, TimelineSettings(default_count=100, max_count=1000, ttl_hours=1))
        yield World(database, redis, timeline, tmp_path)
        await timeline.close()


def claim(call_id: str) -> Claim:
    """Make the claim of a call."""
    return Claim(
        call_id=call_id, ticket=f"of {call_id}", levels=(Level("global", "", 0), Level("tenant", "t_default", 0))
    )


async def test_a_lost_call_is_finished_whole(world: World):
    """Row, transcript, costs, timeline, recording and events for webhooks are there as after any other call."""
    call = await world.talking(id="c_lost")
    for second, kind, payload in (
        (0, "call.started", {"rate": 8000}),
        (3, "tts.done", {"turn": 0, "heard": "Hello.", "interrupted": False}),
        (20, "stt.final", {"text": "Hello?", "ts": 19.5, "turn": 1}),
    ):
        millis = MS + second * 1000
        world.timeline.append(call.id, TimelineEvent(id=f"{millis}-0", kind=kind, payload=payload, timestamp=millis))
    await world.timeline.flush()
    wav = world.folder / call.tenant_id / "c_lost.wav"
    wav.parent.mkdir()
    wav.write_bytes(header(8000, 2, 0) + bytes(8000 * 4 * 5))  # five seconds that its header does not count
    node = await world.looking()
    assert await node.reconciler.look() == ["c_lost"]
    detail = await calls.detail(world.database, call.tenant_id, call.id)
    ended = detail["call"]
    assert (ended.status, ended.end_reason, ended.epoch) == (CallStatus.FAILED, EndReason.NODE_LOST, 8)
    assert (ended.duration, ended.node_id) == (20, "n_1")
    assert {cost.kind for cost in detail["costs"]} == {"transport", "stt"}
    assert detail["recording"] == f"{call.tenant_id}/c_lost.wav"
    assert detail["usage"]["recordedSeconds"] == 5
    assert wav.read_bytes()[:44] == header(8000, 2, 8000 * 4 * 5)
    assert [said.text for said in await calls.transcript(world.database, call.tenant_id, call.id)] == [
        "Hello.",
        "Hello?",
    ]
    kinds = [event.kind for event in await calls.timeline(world.database, call.tenant_id, call.id)]
    assert kinds == ["call.started", "tts.done", "stt.final", "call.ended"]
    async with world.database.tenant(call.tenant_id) as work:
        types = [
            row["type"] for row in await work.fetch("SELECT type FROM outbox WHERE call_id = $1 ORDER BY seq", call.id)
        ]
    assert types == ["call.ended", "call.recording.ready", "billing.usage.updated", "agent.summary"]
    assert await node.reconciler.look() == []


async def test_only_one_of_many_finishes_it(world: World):
    """When all nodes see it at once, one finishes the call, and its webhooks are told once."""
    call = await world.talking(id="c_lost")
    nodes = [await world.looking(f"n_{number}") for number in range(5)]
    done: list[str] = []

    async def look(node: Node) -> None:
        done.extend(await node.reconciler.look())

    async with trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(look, node)
    assert done == ["c_lost"]
    async with world.database.tenant(call.tenant_id) as work:
        assert await work.fetchval("SELECT count(*) FROM outbox WHERE type = 'call.ended'") == 1


async def test_its_old_owner_changes_nothing(world: World):
    """A node that was only thought lost finds the call over, and what it writes with its older epoch is left out."""
    call = await world.talking(id="c_lost")
    rows = await system.live_calls(world.database)
    assert await system.claim(world.database, rows[0], "n_1") == 8
    assert await system.claim(world.database, rows[0], "n_2") is None
    node = await world.looking()
    assert await node.reconciler.look() == ["c_lost"]
    ended = await calls.get(world.database, call.tenant_id, call.id)
    assert (ended.epoch, ended.end_reason) == (9, EndReason.NODE_LOST)


async def test_patience(world: World, monkeypatch: pytest.MonkeyPatch):
    """A call without a lease is left alone until it was seen so for long enough, without a break."""
    await world.talking(id="c_lost")
    node = await world.looking(patience=45)
    now = trio.current_time()
    monkeypatch.setattr("invorto.realtime.reconciler.trio.current_time", lambda: now)
    assert await node.reconciler.look() == []
    now += 44
    assert await node.reconciler.look() == []
    node.capacity.reached = False  # Redis was away: nothing is known of the time between
    assert await node.reconciler.look() == []
    node.capacity.reached = True
    now += 10
    assert await node.reconciler.look() == []
    now += 44
    assert await node.reconciler.look() == []
    now += 1
    assert await node.reconciler.look() == ["c_lost"]


async def test_never_while_nodes_register(world: World):
    """As long as admission is closed after Redis came back empty, no call is thought lost."""
    await world.talking(id="c_lost")
    node = world.node("n_1")
    assert await node.reconciler.look() == []  # Redis not reached yet
    await node.capacity.beat()
    assert node.capacity.closed > 0
    assert await node.reconciler.look() == []


async def test_what_has_a_lease_is_not_lost(world: World):
    """A call with a lease, one that this node holds, and one that waits for its dial are nobody's to end."""
    node = await world.looking()
    for id in ("c_leased", "c_here"):
        await world.talking(id=id)
    await world.talking(id="c_waits", status=CallStatus.QUEUED, started_at=None)
    await node.leases.take(claim("c_leased"))
    here = await calls.get(world.database, tenants.DEFAULT_TENANT, "c_here")
    async with node.capacity.slot(here):
        await node.leases.release([node.capacity._slots["c_here"].claim])
        assert await node.reconciler.look() == []


async def test_drift_is_shown(world: World):
    """A slot without a call, seen twice, is a figure for the alarm; nothing is done about it."""
    node = await world.looking()
    await node.leases.take(claim("c_ghost"))

    def drift(problem: str) -> float | None:
        return node.metrics.registry.get_sample_value("capacity_drift", {"problem": problem})

    await node.reconciler.look()
    assert drift("no_call") == 0
    await node.reconciler.look()
    assert drift("no_call") == 1
    assert node.metrics.registry.get_sample_value("capacity_slots") == 1
    await node.leases.release([claim("c_ghost")])
    await node.reconciler.look()
    assert drift("no_call") == 0


async def test_promises_are_kept_in_redis(world: World):
    """A tenant's guaranteed calls become slots that others do not get, and its own limit counts for it."""
    vip = await tenants.create(world.database, "Vip", settings={"guaranteedCalls": 8, "maxConcurrentCalls": 8})
    node = await world.looking()
    await node.reconciler.look()
    assert await world.redis.call("HGETALL", "{invorto:capacity}:guaranteed") == [vip.id.encode(), b"8"]


async def test_a_store_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch):
    """While PostgreSQL is away nothing is ended, and the node goes on looking."""
    await world.talking(id="c_lost")
    node = await world.looking()

    async def away(*_: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(system, "live_calls", away)
        assert await node.reconciler.look() == []
    with monkeypatch.context() as patch:
        patch.setattr(system, "claim", away)
        assert await node.reconciler.look() == []
    assert await node.reconciler.look() == ["c_lost"]
