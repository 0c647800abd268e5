"""Requests are counted over all nodes, with few round trips, and never held up for it."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from invorto.storage.fakes import FakeRedis
from invorto.storage.rates import Rates
from invorto.storage.redis import open_redis


async def test_a_window_counts_exactly(loop: None, redis_url: str) -> None:
    """Of one node, the limit passes and the next does not; each class and each key by itself."""
    async with open_redis(redis_url) as redis:
        rates = Rates(redis)
        for number in range(1, 6):
            standing = await rates.take("write", "k_1", 5)
            assert (standing.over, standing.remaining) == (False, 5 - number)
            assert 59 < standing.reset <= 60
        assert (await rates.take("write", "k_1", 5)).over
        assert not (await rates.take("write", "k_2", 5)).over
        assert not (await rates.take("read", "k_1", 5)).over


async def test_nodes_count_together(loop: None, redis_url: str) -> None:
    """What two nodes let through in a window is the limit: exactly for what writes, nearly for what reads."""
    async with open_redis(redis_url) as redis:
        nodes = [Rates(redis), Rates(redis)]
        passed = [not (await nodes[number % 2].take("write", "k", 10)).over for number in range(20)]
        assert passed == [True] * 10 + [False] * 10
        through = 0
        for number in range(400):
            through += not (await nodes[number % 2].take("read", "k", 200)).over
        assert 200 <= through <= 240


async def test_twins_count_once_each(loop: None, redis_url: str) -> None:
    """Requests at the same moment are all counted."""
    async with open_redis(redis_url) as redis:
        rates, passed = Rates(redis), 0

        async def ask() -> None:
            nonlocal passed
            over = (await rates.take("write", "k", 10)).over
            passed += not over

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask)
        assert passed == 10


async def test_a_window_ends(loop: None, redis_url: str) -> None:
    """After its time there is a new one."""
    async with open_redis(redis_url) as redis:
        rates = Rates(redis, window=0.2)
        assert not (await rates.take("write", "k", 1)).over
        assert (await rates.take("write", "k", 1)).over
        await trio.sleep(0.25)
        assert not (await rates.take("write", "k", 1)).over


async def test_reads_cost_few_round_trips(autojump_clock: MockClock) -> None:
    """A key that reads a hundred times a second is exchanged ten times a second."""
    redis = _Counting()
    rates = Rates(redis)
    for _ in range(100):
        await rates.take("read", "k", 1000)
        await trio.sleep(0.01)
    assert 9 <= len(redis.pipelines) <= 11


async def test_away_lets_through_and_counts(autojump_clock: MockClock) -> None:
    """While Redis is away or silent nobody is refused or held up for long, and each is counted as unchecked."""
    unchecked = 0

    def told() -> None:
        nonlocal unchecked
        unchecked += 1

    redis = _Counting()
    rates = Rates(redis, unchecked=told)
    redis.silent = True
    began = trio.current_time()
    for _ in range(50):
        standing = await rates.take("write", "k", 5)
        assert not standing.over
        assert not standing.counted
    assert trio.current_time() - began < 1.5
    assert unchecked == 50
    redis.silent = False
    await trio.sleep(1.1)
    assert (await rates.take("write", "k", 5)).over, "what was asked meanwhile is told now"


class _Counting(FakeRedis):
    """A Redis in memory that counts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._commands |= {"SET": lambda *_: b"OK", "INCRBY": self._more, "PTTL": lambda _: 60_000}

    def _more(self, _: object, by: object) -> int:
        assert isinstance(by, int)
        self.count += by
        return self.count
