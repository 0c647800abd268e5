"""Following a timeline: a live reader gets each event once and in order, on the fake and on a real Redis."""

from __future__ import annotations

import functools

import pytest
import trio

from invorto.errors import LimitReached
from invorto.storage import timeline as module
from invorto.storage.fakes import FakeRedis
from invorto.storage.timeline import Timeline
from tests.storage.events import SETTINGS, event, fill, numbers


async def test_follow_sees_every_event_once(timeline: Timeline):
    """A live reader gets what was there and what comes, each once and in order."""
    await fill(timeline, 230)
    seen: list[int] = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def write() -> None:
            for number in range(231, 301):
                timeline.append("c_1", event(number))
                if number % 7 == 0:
                    await timeline.flush()
            await timeline.flush()

        with trio.fail_after(5):
            async with timeline.follow("c_1") as events:
                async for item in events:
                    seen += numbers([item])
                    if seen[-1] == 300:
                        break
    assert seen == list(range(1, 301))


async def test_follow_after_a_cursor(timeline: Timeline):
    """Reading on from the last page live leaves no gap between the two."""
    await fill(timeline, 10)
    page = await timeline.read("c_1", count=8)
    with trio.fail_after(5):
        async with timeline.follow("c_1", after=page[-1].id) as events:
            assert numbers([await anext(events), await anext(events)]) == [9, 10]


async def test_follow_may_be_cancelled_and_go_on(timeline: Timeline):
    """Who gives up waiting and asks again later has missed nothing."""
    seen: list[int] = []
    with trio.fail_after(10):
        async with timeline.follow("c_1") as events:
            for number in range(1, 40):
                with trio.move_on_after(0.0005 * (number % 5)):
                    seen += numbers([await anext(events)])
                timeline.append("c_1", event(number))
                await timeline.flush()
            while len(seen) < 39:
                seen += numbers([await anext(events)])
    assert seen == list(range(1, 40))


async def test_follow_ends_when_its_block_is_left(timeline: Timeline):
    """Leaving the block ends the iteration for whoever still waits in it, and gives its place back."""
    ended = trio.Event()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def watch(events) -> None:
                async for _ in events:
                    pytest.fail("nothing was written")
                ended.set()

            async with timeline.follow("c_1") as events:
                nursery.start_soon(watch, events)  # noqa: ASYNC111 - that it ends is what is tested
                await trio.sleep(0.02)
            await ended.wait()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    assert timeline._followers.borrowed_tokens == 0


async def test_followers_are_limited(fake: FakeRedis):
    """Live readers have a limit of their own, with an answer that says so, and their places come free."""
    timeline = Timeline(fake, SETTINGS)
    async with trio.open_nursery() as nursery:

        async def watch(*, task_status) -> None:
            async with timeline.follow("c_1"):
                task_status.started()
                await trio.sleep_forever()

        for _ in range(module.FOLLOWERS):
            await nursery.start(functools.partial(watch))
        with pytest.raises(LimitReached, match="follow"):
            async with timeline.follow("c_1"):
                pytest.fail("followed")
        nursery.cancel_scope.cancel()
    async with timeline.follow("c_1"):
        assert timeline._followers.borrowed_tokens == 1


async def test_follow_waits_for_a_redis_that_is_away(fake: FakeRedis, autojump_clock):
    """A live reader outlasts an outage and then reads on where it was, even if Redis came back empty."""
    timeline = Timeline(fake, SETTINGS)
    await fill(timeline, 2)
    async with timeline.follow("c_1") as events:
        assert numbers([await anext(events), await anext(events)]) == [1, 2]
        fake.away = True
        with trio.move_on_after(60):
            await anext(events)
        fake.forget()
        fake.away = False
        timeline.append("c_1", event(3))
        await timeline.flush()
        with trio.fail_after(3):
            assert numbers([await anext(events)]) == [3]
