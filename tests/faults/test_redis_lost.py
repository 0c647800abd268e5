"""Redis killed, stopped and back: calls go on, and their timelines are whole, in order, without doubles."""

from __future__ import annotations

import pytest
import trio

from invorto.config import TimelineSettings
from invorto.errors import StoreUnavailable
from invorto.model.event_ids import EventClock
from invorto.model.record import TimelineEvent
from invorto.storage.redis import Deadlines, open_redis
from invorto.storage.timeline import Deadlines as TimelineDeadlines
from invorto.storage.timeline import Timeline
from tests.faults.servers import Server, redis_server

SETTINGS = TimelineSettings(default_count=1000, max_count=1000, ttl_hours=1)
QUICK = Deadlines(connect=0.3, reply=0.3, close=1.0)


@pytest.fixture
def durable():
    """Give a Redis that keeps all it has said to have taken."""
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as (server, url):
        yield server, url


@pytest.fixture
def forgetful():
    """Give a Redis that comes back empty."""
    with redis_server() as (server, url):
        yield server, url


class Talk:
    """Calls that go on: each appends an event every few milliseconds."""

    def __init__(self, timeline: Timeline, calls: int) -> None:
        self.timeline = timeline
        self.told: dict[str, list[int]] = {f"c_{number}": [] for number in range(calls)}
        self.clocks = {call: EventClock(1.8e9, trio.current_time()) for call in self.told}

    def say(self) -> None:
        for call, told in self.told.items():
            number = len(told)
            event_id = self.clocks[call].next(trio.current_time())
            event = TimelineEvent(id=event_id, kind="k", payload={"n": number}, timestamp=number)
            self.timeline.append(call, event)
            told.append(number)

    async def go_on(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                self.say()
                await trio.sleep(0.005)

    async def kept(self, call: str) -> list[int]:
        kept: list[int] = []
        after = None
        while page := await self.timeline.read(call, after=after):
            kept += [event.payload["n"] for event in page]
            after = page[-1].id
        return kept


async def test_killed_and_back_with_its_data(loop, durable: tuple[Server, str]):
    """Redis is killed three times under talking calls: every event is there once, in order, and no call noticed."""
    server, url = durable
    async with open_redis(url, QUICK) as redis, trio.open_nursery() as nursery:
        timeline = Timeline(redis, SETTINGS)
        await nursery.start(timeline.run)
        talk = Talk(timeline, 10)
        for _ in range(3):
            await talk.go_on(0.35)
            server.kill()
            await talk.go_on(0.35)
            assert not timeline.healthy
            with pytest.raises(StoreUnavailable):
                await timeline.read("c_0")
            server.start()
        with trio.fail_after(10):
            await timeline.flush()
        assert timeline.healthy
        for call, told in talk.told.items():
            assert await talk.kept(call) == told
        assert timeline.dropped == 0
        nursery.cancel_scope.cancel()


async def test_back_without_its_data(loop, forgetful: tuple[Server, str]):
    """A Redis that comes back empty takes what comes from then on; what it lost leaves a gap and no disorder."""
    server, url = forgetful
    async with open_redis(url, QUICK) as redis, trio.open_nursery() as nursery:
        timeline = Timeline(redis, SETTINGS)
        await nursery.start(timeline.run)
        talk = Talk(timeline, 3)
        await talk.go_on(0.3)
        server.kill()
        await talk.go_on(0.3)
        server.start()
        await talk.go_on(0.3)
        with trio.fail_after(10):
            await timeline.flush()
        for call, told in talk.told.items():
            kept = await talk.kept(call)
            assert kept == told[-len(kept) :]
            assert len(kept) > 60
        nursery.cancel_scope.cancel()


async def test_stopped_and_going_on(loop, forgetful: tuple[Server, str]):
    """A Redis that stalls in the middle of writes gets what it may have taken already again, and keeps it once."""
    server, url = forgetful
    async with open_redis(url, QUICK) as redis, trio.open_nursery() as nursery:
        timeline = Timeline(redis, SETTINGS)
        await nursery.start(timeline.run)
        talk = Talk(timeline, 10)
        for _ in range(3):
            await talk.go_on(0.15)
            server.stop()
            await talk.go_on(0.6)
            assert not timeline.healthy
            server.go_on()
            await talk.go_on(0.6)
        with trio.fail_after(10):
            await timeline.flush()
        for call, told in talk.told.items():
            assert await talk.kept(call) == told
        assert timeline.dropped == 0
        nursery.cancel_scope.cancel()


async def test_following_through_a_restart(loop, durable: tuple[Server, str]):
    """A live reader that loses Redis twice sees every event once."""
    server, url = durable
    seen: list[int] = []
    async with open_redis(url, QUICK) as redis, trio.open_nursery() as nursery:
        timeline = Timeline(redis, SETTINGS)
        await nursery.start(timeline.run)
        talk = Talk(timeline, 1)

        async def watch() -> None:
            async with timeline.follow("c_0") as events:
                async for event in events:
                    seen.append(event.payload["n"])  # noqa: PERF401 - what was seen so far is looked at meanwhile

        nursery.start_soon(watch)
        for _ in range(2):
            await talk.go_on(0.25)
            server.kill()
            await talk.go_on(0.25)
            server.start()
            await talk.go_on(0.25)
        with trio.fail_after(10):
            while len(seen) < len(talk.told["c_0"]):
                await trio.sleep(0.02)
        assert seen == talk.told["c_0"]
        nursery.cancel_scope.cancel()


async def test_stopping_beside_a_stalled_redis(loop, forgetful: tuple[Server, str]):
    """With Redis stalled the process still stops in its time, and leaves no connection open."""
    server, url = forgetful
    try:
        with trio.fail_after(6):
            async with open_redis(url, QUICK) as redis:
                timeline = Timeline(redis, SETTINGS, TimelineDeadlines(close=1))
                async with trio.open_nursery() as nursery:
                    await nursery.start(timeline.run)
                    talk = Talk(timeline, 2)
                    await talk.go_on(0.15)
                    server.stop()
                    await talk.go_on(0.3)
                    nursery.cancel_scope.cancel()
                assert timeline.dropped > 0
                assert timeline.behind == 0
    finally:
        server.go_on()


async def test_ping_of_a_stalled_redis_ends(loop, forgetful: tuple[Server, str]):
    """Health asks a stalled Redis and gets an answer in time: away."""
    server, url = forgetful
    async with open_redis(url, QUICK) as redis:
        assert await redis.ping() < 1
        server.stop()
        with trio.fail_after(2), pytest.raises(StoreUnavailable, match=r"not answered for 0\.3 s"):
            await redis.ping()
        server.go_on()
        assert await redis.ping() < 1
