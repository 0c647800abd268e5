"""How quickly webhooks are delivered, that none is lost, and that a dead receiver delays no other.

``python -m ops.bench.webhooks [--seconds 60] [--rate 200] [--kills 50] [--endpoints 100] [--parts throughput,...]``.
The deliverer is ``invorto serve --only webhooks`` on one core; facts are written as calls write them, by a process
that shares the other core with the receiver, PostgreSQL and Redis. Each post is signed; attempts are kept. The exit
code is 1 where anything was lost.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs
import trio

from invorto.storage.aio import open_loop
from invorto.storage.postgres import Database, open_database
from invorto.storage.tenants import DEFAULT_TENANT
from ops.bench import figures, house, machine
from ops.bench.hooked import Receiver, Writer, deliverer, endpoints, open_receiver

PARTS = ("throughput", "latency", "kills", "isolation")
PATIENCE = 90.0
"""Seconds in which whatever waits has arrived."""
QUICK = {"WEBHOOK_TIMEOUT": "2", "WEBHOOK_SCHEDULE": "0,1,2,4,8,15,25,40,60"}
"""While it is killed: a claim holds for twice the timeout, and nobody wants to wait for half an hour."""
_QUEUED = 4000
"""Facts that are kept waiting while throughput is measured."""
_BATCH = 250


@attrs.frozen
class Ground:
    """What all parts stand on."""

    stores: house.Stores
    core: int
    database: Database
    receiver: Receiver
    options: argparse.Namespace


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait for a condition; tell whether it came."""
    with trio.move_on_after(seconds):
        await trio.lowlevel.checkpoint()
        while not condition():  # noqa: ASYNC110 - what comes is noted by many
            await trio.sleep(0.02)
    return condition()


async def throughput(ground: Ground) -> dict[str, Any]:
    """Deliver as much as can be to one quick receiver."""
    writer, came = Writer(ground.database), ground.receiver.came.setdefault("/quick", {})
    async with endpoints(ground.database, [ground.receiver.url("/quick")]), trio.open_nursery() as nursery:

        async def feed() -> None:
            while True:
                if len(writer.written) - len(came) < _QUEUED:
                    await writer.write(_BATCH)
                else:
                    await trio.sleep(0.02)

        nursery.start_soon(feed)  # noqa: ASYNC113 - it goes on for as long as this does
        with deliverer(ground.stores, ground.core) as process:
            if not await until(lambda: len(came) > _BATCH):
                raise SystemExit(
                    "nothing is delivered:\n" + (ground.stores.folder / "deliverer.log").read_text()[-3000:]
                )
            await trio.sleep(min(ground.options.seconds / 10, 3.0))
            watch, before = machine.Watch(process.pid), len(came)
            await trio.sleep(ground.options.seconds)
            count, seconds, cpu = len(came) - before, watch.seconds, watch.server_cpu
            nursery.cancel_scope.cancel()
    return {"deliveries_per_s": count / seconds, "cpu_ms_per_delivery": 1000 * cpu / max(count, 1)}


async def latency(ground: Ground) -> dict[str, Any]:
    """Tell how long a fact waits for its first attempt to arrive, at a steady rate."""
    writer, came = Writer(ground.database), ground.receiver.came.setdefault("/steady", {})
    async with endpoints(ground.database, [ground.receiver.url("/steady")]):
        with deliverer(ground.stores, ground.core):
            await writer.write(1)
            await until(lambda: bool(came))
            await writer.keep_pace(ground.options.rate, 2.0)  # connections are open then
            counted = Writer(ground.database)
            await counted.keep_pace(ground.options.rate, ground.options.seconds)
            await until(lambda: came.keys() >= counted.written.keys())
    waits = [1000 * (came[name] - began) for name, began in counted.written.items() if name in came]
    return {
        "first_attempt_p50_ms": figures.percentile(waits, 0.5),
        "first_attempt_p99_ms": figures.percentile(waits, 0.99),
        "late": len(counted.written) - len(waits),
    }


async def still_waiting(database: Database, names: Collection[str]) -> int:
    """Count those of some facts that are still to be delivered: late, on a machine that has no time, and not lost."""
    async with database.tenant(DEFAULT_TENANT) as work:
        return await work.fetchval(
            "SELECT count(*)::int FROM outbox AS o WHERE event_id = ANY($1) AND (routed_at IS NULL OR EXISTS"
            " (SELECT FROM deliveries AS d WHERE d.event_id = o.event_id AND d.status = 'pending'))",
            list(names),
        )


async def kills(ground: Ground) -> dict[str, Any]:
    """Kill the deliverer again and again under load; all must have come in the end."""
    writer, receiver = Writer(ground.database), ground.receiver
    came, posts = receiver.came.setdefault("/killed", {}), receiver.posts
    chance = random.Random(ground.options.seed)
    async with endpoints(ground.database, [receiver.url("/killed")]):
        async with trio.open_nursery() as nursery:

            async def feed() -> None:
                while True:
                    await writer.write(5)
                    await trio.sleep(0.02)

            nursery.start_soon(feed)  # noqa: ASYNC113 - as above
            for _ in range(ground.options.kills):
                with deliverer(ground.stores, ground.core, **QUICK) as process:
                    before = len(came)
                    await until(lambda before=before: len(came) > before)
                    await trio.sleep(chance.uniform(0.0, 1.0))
                    process.kill()
            nursery.cancel_scope.cancel()
        with deliverer(ground.stores, ground.core, **QUICK):
            last = -1
            while len(came) > last and not came.keys() >= writer.written.keys():
                last = len(came)
                await until(lambda: came.keys() >= writer.written.keys(), PATIENCE / 3)
        missing = writer.written.keys() - came.keys()
        waiting = await still_waiting(ground.database, missing)
    return {
        "kills": ground.options.kills,
        "killed_facts": len(writer.written),
        "lost": len(missing) - waiting,
        "waiting": waiting,
        "duplicates": receiver.posts - posts - len(came),
    }


async def isolation(ground: Ground) -> dict[str, Any]:
    """Compare the waits of all endpoints but one, with that one well and with it hanging, in turns."""
    paths = [f"/one-of-many/{number}" for number in range(ground.options.endpoints)]
    well: list[float] = []
    sick: list[float] = []
    seconds = max(ground.options.seconds / 4, 1.0)
    async with endpoints(ground.database, list(map(ground.receiver.url, paths))):
        with deliverer(ground.stores, ground.core):
            warm = Writer(ground.database)
            await warm.write(10)
            await until(lambda: all(len(ground.receiver.came.get(path, {})) >= 10 for path in paths))
            for _ in range(ground.options.rounds):
                for hanging, kept in ((None, well), (paths[0], sick)):
                    ground.receiver.hanging = hanging
                    writer = Writer(ground.database)
                    await writer.keep_pace(ground.options.many_rate, seconds)
                    others = [ground.receiver.came[path] for path in paths[1:]]
                    await until(lambda: all(came.keys() >= writer.written.keys() for came in others))  # noqa: B023
                    waits = [
                        came[name] - began for came in others for name, began in writer.written.items() if name in came
                    ]
                    kept.append(1000 * figures.percentile(waits, 0.99))
                    ground.receiver.let_go()
    return {
        "others_p99_ms": statistics.median(well),
        "others_p99_ms_with_one_hanging": statistics.median(sick),
        "isolation_ratio": statistics.median(sick) / statistics.median(well),
    }


async def run(options: argparse.Namespace, stores: house.Stores, core: int) -> Mapping[str, Any]:
    """Run the parts one after the other."""
    named: dict[str, Any] = {}
    bodies = {"throughput": throughput, "latency": latency, "kills": kills, "isolation": isolation}
    async with open_loop(), open_database(stores.db_url, 6) as database, open_receiver() as receiver:
        ground = Ground(stores, core, database, receiver, options)
        for part in options.parts:
            began = time.perf_counter()
            named |= await bodies[part](ground)
            named[f"{part}_took_s"] = time.perf_counter() - began
    return named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.webhooks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of throughput and latency each")
    parser.add_argument("--rate", type=float, default=200.0, help="facts a second while latency is measured")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--endpoints", type=int, default=100)
    parser.add_argument("--many-rate", type=float, default=4.0, help="facts a second to each of many endpoints")
    parser.add_argument("--rounds", type=int, default=5, help="of isolation, with and without one that hangs")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help="comma list")
    options = parser.parse_args(arguments)
    with house.stores() as stores, house.on_the_load_s_core() as core:
        watch = machine.Watch(0)
        named = {**trio.run(run, options, stores, core), "others_cores": watch.others, "seed": options.seed}
    figures.show(
        "Webhooks",
        ("figure", "value"),
        [(name, value) for name, value in named.items() if not name.endswith(("_took_s", "seed"))],
        ("on: signing, attempts kept, address check; one deliverer on one core", f"seed {options.seed}"),
    )
    figures.tell(named)
    return int(any(named.get(name) for name in ("lost", "late", "waiting")))


if __name__ == "__main__":
    sys.exit(main())
