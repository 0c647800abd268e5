"""The script and its model agree, whatever nodes do in whatever order, in a time that the test makes."""

from __future__ import annotations

import os
from collections.abc import Coroutine, Sequence
from typing import Any

import attrs
import hypothesis
import pytest
import redis as client
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.exceptions import ResponseError

from invorto.errors import Conflict, LimitReached, Unavailable
from invorto.model.lease import Claim, Grant, Holding
from invorto.storage.fake_leases import FakeLeases, LeaseBook
from invorto.storage.leases import PREFIX, SCRIPT, Leases
from invorto.storage.redis import Command, Commands, Refused, Reply
from ops.bench.slots import changed
from tests.storage.leases import claim

PROVE = bool(os.environ.get("PROVE"))
TTL = 30.0
BEGAN = 1_700_000_000
_REAL = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]"
MADE = changed(SCRIPT, (_REAL, "local now = tonumber(redis.call('GET', BASE .. ':clock'))"))
"""The script in a time that the test makes."""

nodes = st.sampled_from(["n_1", "n_2", "n_3"])
calls = st.sampled_from([f"c_{number}" for number in range(8)])
tickets = st.sampled_from(["first", "second"])
claims = st.builds(
    claim,
    calls,
    ticket=st.none() | tickets,
    everything=st.sampled_from([0, 3, 5]),
    tenant=st.tuples(st.sampled_from(["t_1", "t_2"]), st.sampled_from([0, 2])),
    campaign=st.none() | st.tuples(st.sampled_from(["cmp_1", "cmp_2"]), st.sampled_from([0, 1])),
    number=st.none() | st.tuples(st.just("+911"), st.sampled_from([1, 2])),
    phase=st.sampled_from(["live", "reserved"]),
    floor=st.sampled_from([0, (BEGAN + 100) * 1_000_000]),
    spare=st.sampled_from([0, 0, 1]),
)


class Straight(Commands):
    """A Redis that is asked without a loop."""

    def __init__(self, redis: client.Redis) -> None:
        self.redis = redis

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Send *commands*."""
        with self.redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            replies = pipe.execute(raise_on_error=False)
        return [Refused(_said(one)) if isinstance(one, ResponseError) else one for one in replies]

    async def wait(self, command: Command, block: float) -> Reply:
        """Refuse."""
        raise NotImplementedError


def _said(error: ResponseError) -> str:
    return " ".join(filter(None, (getattr(error, "status_code", None), str(error))))


class Model(FakeLeases):
    """The fake, without a loop."""

    async def _reach(self) -> LeaseBook:
        return self.book


def now[T](asked: Coroutine[Any, Any, T]) -> T:
    """Give what something that never waits gives."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def outcome[T](asked: Coroutine[Any, Any, T]) -> Any:
    """Give what comes of asking, errors in a form that can be compared."""
    try:
        return now(asked)
    except LimitReached as full:
        return "full", full.scope, full.limit, full.held
    except Conflict as clash:
        return clash.code, str(clash)
    except Unavailable as unknown:
        return unknown.code, round(unknown.retry_after, 3)


class Agreement(RuleBasedStateMachine):
    """No node can tell the script from its model, and the model never passes a limit by itself."""

    redis: client.Redis

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.at = float(BEGAN)
        self.book = LeaseBook(clock=lambda: self.at)
        self.kept = {name: Leases(Straight(self.redis), name, TTL, script=MADE) for name in ("n_1", "n_2", "n_3")}
        self.models = {name: Model(self.book, name, TTL) for name in self.kept}
        self.held: dict[str, dict[str, Holding]] = {name: {} for name in self.kept}
        self._tell_time()

    def _tell_time(self) -> None:
        self.redis.set(f"{PREFIX}:clock", round(self.at * 1_000_000))

    def both(self, node: str, ask: str, *arguments: Any) -> Any:
        """Ask both the same, and find that they answer the same."""
        real = outcome(getattr(self.kept[node], ask)(*arguments))
        model = outcome(getattr(self.models[node], ask)(*arguments))
        assert real == model, (node, ask, arguments)
        return real

    @initialize()
    def begin(self) -> None:
        self.both("n_1", "beat", [])
        self.both("n_1", "open")

    @rule(node=nodes, wanted=claims)
    def take(self, node: str, wanted: Claim) -> None:
        got = self.both(node, "take", wanted)
        if isinstance(got, Grant):
            claimed = attrs.evolve(wanted, levels=got.levels)
            self.held[node][wanted.call_id] = Holding(claim=claimed, epoch=got.epoch)

    @rule(node=nodes, data=st.data())
    @precondition(lambda self: any(self.held.values()))
    def take_again(self, node: str, data: st.DataObject) -> None:
        if held := list(self.held[node].values()):
            self.both(node, "take", data.draw(st.sampled_from(held)).claim)

    @rule(node=nodes, call=calls, wanted=claims)
    def release(self, node: str, call: str, wanted: Claim) -> None:
        mine = self.held[node].pop(call, None)
        self.both(node, "release", [wanted, *([mine.claim] if mine else [])])

    @rule(node=nodes, unleased=st.booleans())
    def beat(self, node: str, *, unleased: bool) -> None:
        held = [attrs.evolve(one, unleased=unleased) for one in self.held[node].values()]
        beat = self.both(node, "beat", held)
        for call, renewal in beat.renewals.items():
            if renewal in {"lost", "taken"}:
                del self.held[node][call]

    @rule(seconds=st.sampled_from([0.001, 1, 10, 29.999, 30, 31, 100]))
    def wait(self, seconds: float) -> None:
        self.at += seconds
        self._tell_time()

    @rule(node=nodes)
    def open(self, node: str) -> None:
        self.both(node, "open")

    @rule(node=nodes, slots=st.dictionaries(st.sampled_from(["t_1", "t_2"]), st.integers(1, 3)))
    def promise(self, node: str, slots: dict[str, int]) -> None:
        self.both(node, "promise", slots)

    @rule()
    def forget(self) -> None:
        self.redis.flushall()
        self.book.forget()
        self._tell_time()

    @rule(node=nodes)
    def leave(self, node: str) -> None:
        self.both(node, "leave")

    @invariant()
    def same_counts(self) -> None:
        real, model = now(self.kept["n_1"].counts()), now(self.models["n_1"].counts())
        assert (real.everything, real.tenants, real.campaigns, real.numbers) == (
            model.everything, model.tenants, model.campaigns, model.numbers,
        )  # fmt: skip
        assert real.opens_in == pytest.approx(model.opens_in, abs=0.001)

    @invariant()
    def same_owners(self) -> None:
        real = dict(now(self.kept["n_1"].page(None, 0, 100)))
        model = dict(now(self.models["n_1"].page(None, 0, 100)))
        assert {call: (one.node_id, one.epoch, one.phase) for call, one in real.items()} == {
            call: (one.node_id, one.epoch, one.phase) for call, one in model.items()
        }


def test_the_script_and_its_model(redis_url: str):
    """Both answer the same to every node at every step: 10,000 steps under PROVE, hundreds else."""
    with client.Redis.from_url(redis_url, protocol=2) as redis:
        machine = type("Machine", (Agreement,), {"redis": redis})
        run_state_machine_as_test(
            machine,
            settings=hypothesis.settings(
                max_examples=200 if PROVE else 25, stateful_step_count=50, deadline=None,
                suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
            ),
        )  # fmt: skip
