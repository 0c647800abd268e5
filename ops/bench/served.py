"""The process that is measured: `invorto serve` with scripted engines, on one core, answering questions on its stdin.

Run as ``python -m ops.bench.served``, with the settings in the environment, the core in ``BENCH_CORE``, and a word in
``BENCH_UNPLUGGED`` to take the detector away. The first line of its standard output tells where it serves; then each
line on its standard input is answered by a line of JSON.
"""

from __future__ import annotations

import os

if __name__ == "__main__":  # before numpy and onnxruntime make threads, which would not follow
    os.sched_setaffinity(0, {int(os.environ["BENCH_CORE"])})

import ctypes
import gc
import json
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import attrs
import trio

from invorto.config import load
from invorto.errors import Conflict
from invorto.resources import Resources
from invorto.storage import agents, keys
from invorto.storage.aio import open_loop
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.supervisor import Stop, serve
from ops.bench import faulty
from ops.bench.probe import Probe, unplug


async def answer_questions(resources: Resources, addresses: list[tuple[str, int]], stop: Stop) -> None:
    """Say where it serves, then answer until standard input ends, which stops the server."""
    probe = Probe()
    probe.install(resources.live)
    vars(resources.engines)["_opened"].update(faulty.engines())
    for name in faulty.AGENTS:
        with suppress(Conflict):
            await agents.create(resources.database, DEFAULT_TENANT, name=name, document=faulty.document(name))
    _, key = await keys.create(resources.database, DEFAULT_TENANT, "admin", "bench")
    _say({"port": addresses[0][1], "key": key})
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        while question := await stream.receive_some():
            _say(_answer(question.decode().strip(), resources, probe))
    stop.ask()
    stop.ask()


def _answer(question: str, resources: Resources, probe: Probe) -> dict[str, Any]:
    match question:
        case "state":
            return _state(resources)
        case "settled":
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
            return _state(resources)
        case "clears":
            return {"clears": probe.take()}
        case "census":
            gc.collect()
            return dict(Counter(type(thing).__qualname__ for thing in gc.get_objects()).most_common(60))
        case _:
            return {"unknown": question}


def _state(resources: Resources) -> dict[str, Any]:
    # The pools keep the connections they have opened: each is a descriptor and a task that reads it.
    redis: dict[str, Any] = vars(vars(resources.redis)["_pool"])
    kept = len(redis["_available_connections"]) + len(redis["_in_use_connections"])
    pooled: int = vars(resources.database)["_pool"].get_size() + kept
    return {
        "calls": resources.live.held,
        "leases": resources.capacity.held + resources.capacity.owed,
        "tasks": trio.lowlevel.current_statistics().tasks_living - pooled,
        # Trio keeps threads that have nothing to do for ten seconds.
        "threads": sum(not thread.name.startswith("Trio thread") for thread in threading.enumerate()),
        "descriptors": len(os.listdir("/proc/self/fd")) - pooled,  # noqa: PTH208 - names are enough
        "pooled": pooled,
        "idle_threads": sum(thread.name.startswith("Trio thread") for thread in threading.enumerate()),
        "collector": COLLECTOR.take(),
        "vad": attrs.asdict(getattr(resources.engines.vad, "tally")),  # noqa: B009 - the port has none
    }


@attrs.define
class Collector:
    """How long the garbage collector has held everything up at most, since somebody asked; seconds."""

    longest: float = 0.0
    _began: float = 0.0

    def __call__(self, phase: str, _: dict[str, int]) -> None:
        """Be told by the collector."""
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._began)

    def take(self) -> float:
        """Give it, and begin anew."""
        taken, self.longest = self.longest, 0.0
        return taken


COLLECTOR = Collector()


def _say(words: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


async def _main() -> int:
    async with open_loop():
        return await serve(load(os.environ), ready=answer_questions)


if __name__ == "__main__":
    if os.environ.get("BENCH_UNPLUGGED"):
        unplug()
    gc.callbacks.append(COLLECTOR)
    sys.exit(trio.run(_main))
