"""Capacity is never exceeded: processes at random, killed and stopped, and mutants of the script that are caught."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from functools import partial

import pytest
import trio

from invorto.errors import LimitReached
from invorto.model.lease import Claim, Holding, Level
from invorto.storage.leases import Leases
from invorto.storage.redis import open_redis
from ops.bench import slots as proof
from ops.bench.slots import JOURNAL, MUTANTS, PREFIX, TOLD, LevelByLevel, OwnClock, journal, play, replay

PROVE = bool(os.environ.get("PROVE"))
TTL = 0.6


async def opened(redis, script: str = TOLD, ttl: float = TTL, kind: type[Leases] = Leases) -> Leases:
    """Open admission for a proof."""
    first = kind(redis, "n_0", ttl, prefix=PREFIX, script=script)
    await first.beat([])
    assert await first.open()
    return first


def start(redis_url: str, name: str, seed: str) -> subprocess.Popen[bytes]:
    """Start a node in a process of its own."""
    argv = [sys.executable, "-m", proof.__name__, redis_url, name, seed, str(TTL)]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


async def test_eight_processes(loop, redis_url):
    """Eight nodes take, renew and release at random, are killed and stopped: no limit is passed at any instant."""
    seconds, seed = (60, 8) if PROVE else (4, 8)
    print(f"seed {seed}")
    rng = random.Random(seed)

    def begin(number: int, life: int) -> subprocess.Popen[bytes]:
        return start(redis_url, f"n{number}.{life}", f"{seed}-{number}.{life}")

    async with open_redis(redis_url) as redis:
        watcher = await opened(redis)
        nodes = [begin(number, 0) for number in range(8)]
        try:
            with trio.fail_after(60):
                while len((await watcher.counts()).nodes) < 8:
                    await trio.sleep(0.05)
            ends, life = trio.current_time() + seconds, 0
            while trio.current_time() < ends:
                await trio.sleep(rng.random() * (1 if PROVE else 0.5))
                number, life = rng.randrange(8), life + 1
                if rng.random() < 0.5:
                    nodes[number].kill()
                    nodes[number].wait()
                    nodes[number] = begin(number, life)
                else:
                    nodes[number].send_signal(signal.SIGSTOP)
                    await trio.sleep(TTL * (0.5 + rng.random()))
                    nodes[number].send_signal(signal.SIGCONT)
        finally:
            for node in nodes:
                node.kill()
                node.wait()
        died_at = trio.current_time()
        while (await watcher.counts()).everything:
            assert trio.current_time() - died_at <= TTL + 1
            await trio.sleep(0.02)
        verdict = replay(await journal(redis))
    print(verdict.kinds, verdict.most, f"free after {trio.current_time() - died_at:.2f} s")
    assert verdict.faults == []
    assert verdict.most == proof.LIMITS
    assert min(verdict.kinds[what] for what in ("grant", "renew", "refuse", "release")) > 20 * seconds


@pytest.mark.parametrize("mutant", [None, *MUTANTS])
async def test_mutants_are_caught(loop, redis_url, mutant: str | None):
    """The check finds a script that does not look at expiry, one run a level, and one that believes a node's clock."""
    kinds = {"a script a level": LevelByLevel, "the client's clock": OwnClock}
    kind = kinds.get(mutant or "", Leases)
    async with open_redis(redis_url) as redis:
        await opened(redis, MUTANTS.get(mutant or "", TOLD), kind=kind)
        with trio.move_on_after(20 if mutant else 2):
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    node = kind(redis, f"n{number}", TTL, prefix=PREFIX, script=MUTANTS.get(mutant or "", TOLD))
                    if isinstance(node, OwnClock):
                        node.off = 3600 * (number % 2)
                    nursery.start_soon(partial(play, node, random.Random(number), f"n{number}"))
                while mutant:
                    await trio.sleep(0.3)
                    if replay(await journal(redis)).faults:
                        nursery.cancel_scope.cancel()
                        break
        verdict = replay(await journal(redis))
    assert bool(verdict.faults) is (mutant is not None), verdict


async def test_the_last_slot(loop, redis_url):
    """Two callers for one slot, on two connections at once: exactly one gets it, each time."""
    times = 10_000 if PROVE else 400
    won = [0, 0]
    async with open_redis(redis_url) as redis, open_redis(redis_url) as second:
        await opened(redis)
        nodes = [Leases(each, f"n_{number}", 30, prefix=PREFIX) for number, each in enumerate((redis, second))]

        refused: list[tuple[str, int, int]] = []

        async def ask(number: int, claim: Claim, granted: list[int]) -> None:
            try:
                await nodes[number].take(claim)
                granted.append(number)
            except LimitReached as full:
                refused.append((full.scope, full.limit, full.held))

        for time in range(times):
            levels = (Level("global", "", 1), Level("tenant", "t_1", 0))
            claims = [Claim(call_id=f"c_{who}", ticket=f"{who}-{time}", levels=levels) for who in range(2)]
            granted: list[int] = []
            async with trio.open_nursery() as nursery:
                for number in (0, 1) if time % 2 else (1, 0):
                    nursery.start_soon(ask, number, claims[number], granted)
            assert len(granted) == 1
            assert refused.pop() == ("global", 1, 1)
            won[granted[0]] += 1
            assert await nodes[granted[0]].release([claims[granted[0]]]) == 1
    print(won)
    assert min(won) > 0


async def test_stopped_past_its_lease_and_back(loop, redis_url):
    """A process that stands still for longer than a lease comes back, and has lost its slot to the one who took it."""
    async with open_redis(redis_url) as redis:
        watcher = await opened(redis)
        with start(redis_url, "stopped", "7") as node:
            try:
                with trio.fail_after(30):
                    while (await watcher.counts()).everything < 4:
                        await trio.sleep(0.01)
                node.send_signal(signal.SIGSTOP)
                await trio.sleep(TTL + 0.05)
                assert (await watcher.counts()).everything == 0
                number, taken = 0, []
                while True:  # all that was its own, and more, until each level is full
                    call_id, number = f"taker-{number}", number + 1
                    claim = Claim(call_id=call_id, ticket=call_id, levels=proof.levels_of(call_id))
                    try:
                        taken.append(Holding(claim=claim, epoch=(await watcher.take(claim)).epoch))
                    except LimitReached as full:
                        if full.scope == "global":
                            break
                node.send_signal(signal.SIGCONT)
                for _ in range(10):
                    await trio.sleep(TTL / 3)
                    assert set((await watcher.beat(taken)).renewals.values()) == {"renewed"}
                assert (await watcher.counts()).everything == proof.LIMITS["global"]
            finally:
                node.kill()
        verdict = replay(await journal(redis))
        assert verdict.faults == []
        assert verdict.kinds["refuse"] > 0
        assert await redis.call("XLEN", JOURNAL) > 0
