"""Nodes that take, renew and give back slots at random, and the check of what the script has written down of it."""

from __future__ import annotations

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, cast

import attrs
import trio

from invorto.errors import Conflict, LimitReached, StoreUnavailable, Unavailable
from invorto.model.lease import Claim, Holding, Level
from invorto.storage.aio import open_loop
from invorto.storage.leases import SCRIPT, Leases
from invorto.storage.redis import Command, Commands, Reply, open_redis

PREFIX = "{proof}"
JOURNAL = f"{PREFIX}:journal"
LIMITS: Mapping[str, int] = {"global": 20, "tenant": 9, "campaign": 5}

_SILENT = "local function journal() end"
_TELLING = """
local function journal(what, call, ends, held)
  local real = redis.call('TIME')
  local at = real[1] * 1000000 + real[2]
  redis.call('XADD', BASE .. ':journal', '*', 'what', what, 'call', call, 'at', int(at), 'ends', int(at + ends - now),
    'scope', held.scope or '')
end
"""


def changed(script: str, *changes: tuple[str, str]) -> str:
    """Give the script with something in it replaced, each of which must be there once."""
    for before, after in changes:
        if script.count(before) != 1:
            raise ValueError(f"not in the script once: {before}")
        script = script.replace(before, after)
    return script


TOLD = changed(SCRIPT, (_SILENT, _TELLING))
"""The script as it is, that writes down each grant, renewal, refusal and release with Redis's time."""

_CLOCK = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]"
MUTANTS: Mapping[str, str] = {
    "no expiry check": changed(
        TOLD,
        ("if ends and tonumber(ends) > now then return record(call) end", "if ends then return record(call) end"),
        ("'-inf', int(now), 'LIMIT', 0, 1000", "'-inf', '-inf', 'LIMIT', 0, 1000"),
    ),
    "a script a level": changed(TOLD, ("local held, ends, before = lease(call),", "local held, ends, before = nil,")),
    "the client's clock": changed(TOLD, (_CLOCK, "local now = tonumber(ARGV[#ARGV])")),
}


def levels_of(call_id: str) -> tuple[Level, ...]:
    """Give the levels of a call, by its name alone."""
    number = int(call_id.rpartition("-")[2])
    return (
        Level("global", "", LIMITS["global"]), Level("tenant", f"t_{number % 3}", LIMITS["tenant"]),
        Level("campaign", f"cmp_{number % 5}", LIMITS["campaign"]),
    )  # fmt: skip


class LevelByLevel(Leases):
    """A node that asks for one level after the other."""

    async def take(self, claim: Claim) -> Any:
        """Take level by level; what was taken before a refusal is given back."""
        grant = None
        for level in claim.levels:
            try:
                grant = await super().take(attrs.evolve(claim, levels=(level,)))
            except LimitReached:
                await self.release([claim])  # noqa: ASYNC120 - who is cancelled here is not told of the refusal
                raise
        return grant


class OwnClock(Leases):
    """A node that brings its own time, which is *off* seconds wrong."""

    off = 0.0

    async def _pipeline(self, runs: list[Command]) -> list[Reply]:  # pyright: ignore[reportIncompatibleMethodOverride]
        seconds, micros = await self._redis.call("TIME")
        now = int(seconds) * 1_000_000 + int(micros) + round(self.off * 1_000_000)
        return await super()._pipeline([(*run, now) for run in runs])


async def play(leases: Leases, rng: random.Random, name: str) -> None:
    """Take, renew and give back slots until cancelled; now and then sleep through a lease."""
    held: dict[str, Holding] = {}
    number = 0
    while True:
        try:
            match rng.choices(("take", "release", "beat", "doze"), (5, 2, 3, 0.15))[0]:
                case "take":
                    number += 1
                    call_id = f"{name}-{number}"
                    claim = Claim(call_id=call_id, ticket=call_id, levels=levels_of(call_id))
                    held[call_id] = Holding(claim=claim, epoch=(await leases.take(claim)).epoch)
                case "release" if held:
                    await leases.release([held.pop(rng.choice(list(held))).claim])
                case "beat":
                    beat = await leases.beat(list(held.values()))
                    held = {id: one for id, one in held.items() if beat.renewals[id] not in {"lost", "taken"}}
                case "doze":
                    await trio.sleep(leases.ttl * (0.5 + rng.random()))
                case _:
                    pass
        except (LimitReached, Conflict, Unavailable):
            pass
        await trio.sleep(rng.random() * 0.01)


@attrs.define
class Verdict:
    """What the journal tells."""

    faults: list[str] = attrs.field(factory=list)
    kinds: Counter[str] = attrs.field(factory=Counter)
    most: dict[str, int] = attrs.field(factory=dict)
    """The most that was held at once, by scope."""


def replay(entries: Iterable[tuple[str, Mapping[bytes, bytes]]]) -> Verdict:
    """Go through the journal and find each instant at which a limit was passed, or a slot refused that was there."""
    verdict = Verdict()
    ends: dict[str, int] = {}
    at_level: dict[tuple[str, str], set[str]] = defaultdict(set)

    def drop(call: str) -> None:
        ends.pop(call, None)
        for level in levels_of(call):
            at_level[level.scope, level.id].discard(call)

    for _, fields in entries:
        what, call, at = fields[b"what"].decode(), fields[b"call"].decode(), int(fields[b"at"])
        verdict.kinds[what] += 1
        for over in [other for other, end in ends.items() if end <= at]:
            drop(over)
        if what == "release":
            drop(call)
        elif what == "refuse":
            level = next(level for level in levels_of(call) if level.scope == fields[b"scope"].decode())
            if len(at_level[level.scope, level.id]) < level.limit:
                verdict.faults.append(f"{call} was refused at {level}, where there was room")
        else:
            if what == "renew" and call not in ends:
                verdict.faults.append(f"{call} was renewed after its lease had run out")
            ends[call] = int(fields[b"ends"])
            for level in levels_of(call):
                members = at_level[level.scope, level.id]
                members.add(call)
                verdict.most[level.scope] = max(verdict.most.get(level.scope, 0), len(members))
                if len(members) > level.limit:
                    verdict.faults.append(f"{call}: {len(members)} at {level}")
    return verdict


async def journal(redis: Commands) -> list[tuple[str, Mapping[bytes, bytes]]]:
    """Read all that the script has written down."""
    entries: list[tuple[str, Mapping[bytes, bytes]]] = []
    while page := await redis.xrange(JOURNAL, f"({entries[-1][0]}" if entries else "-", count=5000):
        entries += page
    return entries


async def main(url: str, name: str, seed: str, ttl: str) -> None:
    """Be one node, until killed."""
    async with open_loop(), open_redis(url) as redis:
        try:
            await play(Leases(redis, name, float(ttl), prefix=PREFIX, script=TOLD), random.Random(seed), name)
        except StoreUnavailable:
            return


if __name__ == "__main__":
    trio.run(main, *cast("tuple[str, str, str, str]", tuple(sys.argv[1:])))
