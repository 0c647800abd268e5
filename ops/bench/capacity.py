"""How quickly slots are taken, and that no limit is passed while nodes are killed.

``python -m ops.bench.capacity [--seconds 60] [--rate 200] [--processes 8] [--rounds 5]``. First slots are taken and
given back at the rate, by the clock; then processes take, renew and give back at random, are killed and stopped, and
the grants that the script itself writes down are replayed. All of it is on one core. The exit code is 1 where a limit
was passed, or the slots of the dead came back too late.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import sys

import attrs
import trio

from invorto.model.lease import Claim
from invorto.storage.aio import open_loop
from invorto.storage.leases import Leases
from invorto.storage.redis import Redis, open_redis
from ops.bench import figures, house, slots
from ops.bench.slots import PREFIX, TOLD, journal, levels_of, replay

TTL = 1.0
"""Seconds of a lease among the processes: short, so that many run out."""


@attrs.frozen
class Chaos:
    """What came of the processes."""

    grants: int
    refusals: int
    renewals: int
    kills: int
    overshoots: int
    faults: int
    """Overshoots, late renewals, and refusals where there was room."""
    reclaim: float
    """Seconds from the last kill until no slot was held."""


async def acquire(redis: Redis, rate: float, seconds: float) -> list[float]:
    """Take and give back *rate* slots a second; gives how long each taking took, waiting included."""
    node = Leases(redis, "n_bench", 30)
    await node.beat([])
    await node.open()
    taken: list[float] = []

    async def one(number: int, due: float) -> None:
        call_id = f"c-{number}"
        claim = Claim(call_id=call_id, ticket=call_id, levels=levels_of(call_id))
        await node.take(claim)
        taken.append(trio.current_time() - due)
        await node.release([claim])

    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        for number in range(round(rate * seconds)):
            due = began + number / rate
            await trio.sleep_until(due)
            nursery.start_soon(one, number, due)
    return taken


async def chaos(redis: Redis, url: str, processes: int, seconds: float) -> Chaos:
    """Have *processes* nodes play for *seconds*, kill and stop them, and replay what was granted."""
    watcher = Leases(redis, "watcher", TTL, prefix=PREFIX, script=TOLD)
    await watcher.beat([])
    await watcher.open()
    rng = random.Random(1)

    def start(number: int, life: int) -> subprocess.Popen[bytes]:
        name = f"n{number}.{life}"
        argv = [sys.executable, "-m", slots.__name__, url, name, name, str(TTL)]
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, cwd=house.ROOT)

    nodes = [start(number, 0) for number in range(processes)]
    kills = 0
    try:
        with trio.fail_after(60):
            while len((await watcher.counts()).nodes) < processes:  # noqa: ASYNC110 - they are other processes
                await trio.sleep(0.05)
        ends = trio.current_time() + seconds
        while trio.current_time() < ends:
            await trio.sleep(rng.random())
            number = rng.randrange(processes)
            if rng.random() < 0.5:
                kills += 1
                nodes[number].kill()
                await trio.to_thread.run_sync(nodes[number].wait)
                nodes[number] = start(number, kills)
            else:
                nodes[number].send_signal(signal.SIGSTOP)
                await trio.sleep(TTL * (0.5 + rng.random()))
                nodes[number].send_signal(signal.SIGCONT)
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    died = trio.current_time()
    while (await watcher.counts()).everything and trio.current_time() < died + 10 * TTL:  # noqa: ASYNC110 - as above
        await trio.sleep(0.01)
    reclaim = trio.current_time() - died
    verdict = replay(await journal(redis))
    return Chaos(
        grants=verdict.kinds["grant"], refusals=verdict.kinds["refuse"], renewals=verdict.kinds["renew"], kills=kills,
        overshoots=sum(" at Level" in fault for fault in verdict.faults), faults=len(verdict.faults), reclaim=reclaim,
    )  # fmt: skip


async def measure(url: str, options: argparse.Namespace) -> int:
    """Measure both, tell, and give the exit code."""
    async with open_loop(), open_redis(url) as redis:
        rounds: list[list[float]] = []
        for _ in range(options.rounds):
            rounds.append(await acquire(redis, options.rate, min(options.seconds, 10)))
            await redis.call("FLUSHALL")
        seen = await chaos(redis, url, options.processes, options.seconds)
    spread = [[figures.percentile(each, share) * 1000 for share in (0.5, 0.95, 0.99, 1)] for each in rounds]
    p50, p95, p99, worst = (statistics.median(column) for column in zip(*spread, strict=True))
    figures.show(
        f"Capacity: {options.rate:g} slots a second; then {options.processes} processes for {options.seconds:g} s",
        ["", ""],
        [
            ["slot taken, ms: p50", p50], ["p95", p95], ["p99", p99], ["worst", worst], ["grants", seen.grants],
            ["refusals", seen.refusals], ["renewals", seen.renewals], ["kill -9", seen.kills],
            ["limits passed", seen.overshoots], ["other faults", seen.faults - seen.overshoots],
            [f"slots of the dead free after, s (lease {TTL:g} s)", seen.reclaim],
        ],
        [f"medians of {options.rounds} rounds; every level counted, the script as shipped"],
    )  # fmt: skip
    figures.tell(
        {
            "acquire_p50_ms": p50, "acquire_p99_ms": p99, "overshoots": seen.overshoots, "faults": seen.faults,
            "reclaim_s": seen.reclaim, "lease_s": TTL, "grants": seen.grants, "kills": seen.kills,
        }
    )  # fmt: skip
    return int(seen.faults > 0 or seen.reclaim > TTL + 1)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with house.on_the_load_s_core():
        with house.stores() as stores:
            return trio.run(measure, stores.redis_url, options)


if __name__ == "__main__":
    sys.exit(main())
