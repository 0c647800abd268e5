"""What is left after thousands of calls that end badly: it must be nothing.

``python -m ops.bench.churn [--calls 2000] [--rate 20]``. Callers hang up at random instants and in every way there is,
close half of their connection, stop reading or stop in the middle of a frame, while engines hang, raise and stall.
Calls come in waves; after each the server is left alone until no call is live, and its memory is weighed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import asyncpg
import attrs
import numpy as np

from ops.bench import faulty, figures, house, machine, speech
from ops.bench.caller import Socket
from ops.bench.house import Server
from ops.bench.loop import Loop, now

WARM = 200
"""Calls before anything is weighed."""
LONGEST = 6.0
"""Seconds after which a caller is gone at the latest; most go earlier."""
SETTLED = 5.0
"""Seconds after the last call in which everything must be given back."""
COUNTED = ("calls", "leases", "tasks", "threads", "descriptors")
"""What must be as it was before."""
ENDS = ("end", "close", "hang-up", "reset", "half-close", "deaf", "half a frame", "garbage", "before a word")
"""Ways to go; `deaf` stops reading some time before it hangs up, `half-close` goes on listening for a while."""


class Churner(Socket):
    """One caller: talks, and goes in one of the ways at an instant of chance."""

    def __init__(self, loop: Loop, server: Server, number: int, cuts: Sequence[speech.Cut], seed: int) -> None:
        chance = random.Random(seed * 1_000_003 + number)
        self.id, self.end, self.connected = f"churn-{seed}-{number}", chance.choice(ENDS), False
        self._cuts, self._chance, self._quiet = cuts, chance, speech.quiet()
        self._frames: tuple[bytes, ...] = ()
        self._place = 0
        self._due = now()
        small = 4096 if self.end == "deaf" else None
        agent = chance.choice([*faulty.AGENTS, "good", "good", "good"])
        super().__init__(loop, server.port, server.target(self.id, agent), server.key, buffer=small)
        if self.end != "before a word":
            self.say('{"t":"start"}' if chance.random() < 0.5 else '{"t":"start","audioOut":"binary"}')
            loop.at(self._due, self._tick)
        goes = now() + min(chance.expovariate(1 / 1.5), LONGEST)
        loop.at(goes, self._go)

    def told(self, message: bytes) -> None:
        """Note that the call was opened."""
        self.connected = self.connected or message.startswith(b'{"t":"connected"')

    def _tick(self) -> None:
        if self.over:
            return
        if self._place >= len(self._frames):
            self._frames = self._quiet if self._chance.random() < 0.5 else self._chance.choice(self._cuts).frames
            self._place = 0
        self.send(self._frames[self._place])
        self._place += 1
        self._due += 0.02
        self._loop.at(self._due, self._tick)

    def _go(self) -> None:
        match self.end:
            case "end":
                self.say('{"t":"end"}')
                self._loop.at(now() + 1, self.hang_up)
            case "close":
                self.close()
                self._loop.at(now() + 1, self.hang_up)
            case "reset":
                self.reset()
            case "half-close":
                self.half_close()
                self._loop.at(now() + 2, self.hang_up)
            case "deaf":
                self.stop_reading()
                self._loop.at(now() + 2, self.reset)
            case "half a frame":
                self.send(self._quiet[0][:40])
                self.hang_up()
            case "garbage":
                self.send(self._chance.randbytes(500))
                self._loop.at(now() + 1, self.hang_up)
            case _:
                self.hang_up()


@attrs.define
class Findings:
    """What is known of a run."""

    opened: set[str] = attrs.field(factory=set)
    """Calls whose caller was told that they are connected."""
    ends: Counter[str] = attrs.field(factory=Counter)
    weighed: list[tuple[int, int]] = attrs.field(factory=list)
    """After how many calls, how many bytes."""
    kept: list[tuple[int, int]] = attrs.field(factory=list)
    """At the same times, how many connections to PostgreSQL and idle threads are kept: they weigh, too."""
    before: dict[str, Any] = attrs.field(factory=dict)
    after: dict[str, Any] = attrs.field(factory=dict)
    settled_in: float = math.nan
    rows: dict[str, int] = attrs.field(factory=dict)

    @property
    def leaked(self) -> dict[str, int]:
        """What the server has at the end that it did not have at the beginning."""
        return {name: self.after[name] - self.before[name] for name in COUNTED}

    @property
    def slope(self) -> float:
        """Bytes a call, over the second half of the run."""
        late = self.weighed[len(self.weighed) // 2 :] if len(self.weighed) > 3 else self.weighed
        if len(late) < 2:
            return math.nan
        calls, sizes = zip(*late, strict=True)
        return float(np.polyfit(calls, sizes, 1)[0])

    @property
    def clean(self) -> bool:
        """Whether nothing is left, and every call has its one end."""
        return not any(self.leaked.values()) and not any(self.rows.values())


@attrs.frozen(kw_only=True)
class Churn:
    """A run against one server."""

    server: Server
    rate: float
    cuts: Sequence[speech.Cut]
    seed: int
    found: Findings = attrs.field(factory=Findings)

    def run(self, calls: int, waves: int) -> None:
        """Make *calls* calls, in *waves*, after a warm-up."""
        found = self.found
        warm = min(WARM, max(calls // 10, 5))
        self._wave(range(warm))
        found.before = self._weigh(0)
        done = 0
        for wave in range(waves):
            until = calls * (wave + 1) // waves
            found.settled_in = self._wave(range(warm + done, warm + until))
            done = until
            found.after = self._weigh(done)

    def _weigh(self, calls: int) -> dict[str, Any]:
        state = self.server.ask("settled")
        self.found.weighed.append((calls, machine.memory(self.server.pid)))
        self.found.kept.append((state["pooled"], state["idle_threads"]))
        return state

    def _wave(self, numbers: range) -> float:
        """Make some calls; gives how long the server then took to be as it was, at most `SETTLED` seconds."""
        loop, callers, began = Loop(), list[Churner](), now()

        def call(number: int) -> None:
            callers.append(Churner(loop, self.server, number, self.cuts, self.seed))

        for place, number in enumerate(numbers):
            loop.at(began + place / self.rate, lambda number=number: call(number))
        loop.run(
            began + len(numbers) / self.rate + LONGEST + 3,
            lambda: len(callers) == len(numbers) and all(caller.over for caller in callers),
        )
        for caller in callers:
            caller.hang_up()
            self.found.ends[caller.end] += 1
        self.found.opened.update(caller.id for caller in callers if caller.connected)
        over = now()
        while now() < over + SETTLED and not self._as_before():
            loop.run(now() + 0.1)
        loop.close()
        return now() - over

    def _as_before(self) -> bool:
        state = self.server.ask("state")
        return bool(self.found.before) and all(state[name] <= self.found.before[name] for name in COUNTED)


_CHECKS = {
    "unfinished": "SELECT count(*) FROM calls WHERE status NOT IN ('completed', 'failed', 'canceled')",
    "without_one_call_ended": (
        "SELECT count(*) FROM calls c WHERE 1 <> "
        "(SELECT count(*) FROM outbox o WHERE o.call_id = c.id AND o.type = 'call.ended')"
    ),
    "without_results": (
        "SELECT count(*) FROM calls c WHERE 1 <> (SELECT count(*) FROM call_results r WHERE r.call_id = c.id)"
    ),
    "without_costs": "SELECT count(*) FROM calls c WHERE NOT EXISTS (SELECT FROM costs WHERE call_id = c.id)",
    "answered_without_transcript": (
        "SELECT count(*) FROM calls c WHERE EXISTS "
        "(SELECT FROM timelines t WHERE t.call_id = c.id AND t.kind = 'turn.metrics') "
        "AND NOT EXISTS (SELECT FROM transcripts WHERE call_id = c.id)"
    ),
    "without_one_end_on_timeline": (
        "SELECT count(*) FROM calls c WHERE 1 <> "
        "(SELECT count(*) FROM timelines t WHERE t.call_id = c.id AND t.kind = 'call.ended')"
    ),
}
"""What no call may be: each counts those that are."""


async def _faults(url: str, opened: set[str]) -> dict[str, int]:
    """Count the calls that are not as they must be."""
    connection = await asyncpg.connect(url)
    try:
        faults = {name: int(await connection.fetchval(sql)) for name, sql in _CHECKS.items()}
        known = {row["id"] for row in await connection.fetch("SELECT id FROM calls")}
    finally:
        await connection.close()
    return faults | {"opened_without_row": len(opened - known)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; the exit code is 1 where something is left."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.churn", description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="besides those of the warm-up")
    parser.add_argument("--rate", type=float, default=20.0, help="a second")
    parser.add_argument("--waves", type=int, default=8, help="after each of which the server is weighed")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of chance")
    options = parser.parse_args(arguments)
    with house.on_the_load_s_core() as core, house.stores() as stores:
        cuts = speech.cuts()
        log = stores.folder / "server.log"
        with house.server(stores, core, log=log) as server:
            run = Churn(server=server, rate=options.rate, cuts=cuts, seed=options.seed)
            run.run(options.calls, options.waves)
        left, found = server.process.returncode, run.found
        found.rows = asyncio.run(_faults(stores.db_url, found.opened))
        logged = Counter(json.loads(line)["event"] for line in log.read_text().splitlines() if line.startswith("{"))
    figures.show(
        f"{options.calls} calls at {options.rate:g} a second, seed {options.seed}",
        ("what", "figure"),
        [
            *((f"{name} more than at the start", count) for name, count in found.leaked.items()),
            *((f"calls {name.replace('_', ' ')}", count) for name, count in found.rows.items()),
            ("calls opened", len(found.opened)),
            ("bytes a call, second half", found.slope),
            ("seconds until all was given back", found.settled_in),
            *((f"logged {event}", count) for event, count in sorted(logged.items())),
            *((f"ended by {name}", count) for name, count in sorted(found.ends.items())),
        ],
        (f"on: {house.ON}; engines that hang, raise and stall",
         "MB after each wave (connections to PostgreSQL, idle threads): "
         + ", ".join(f"{size / 1e6:.1f} ({pooled}, {idle})"
                     for (_, size), (pooled, idle) in zip(found.weighed, found.kept, strict=True))),
    )  # fmt: skip
    figures.tell({
        "leaked": found.leaked, "kb_per_call_slope": found.slope / 1000, "settled_s": found.settled_in, **found.rows,
        "calls": options.calls, "opened": len(found.opened), "seed": options.seed, "exit_code": left,
    })  # fmt: skip
    return int(not found.clean or left != 0)


if __name__ == "__main__":
    sys.exit(main())
