"""The pulse: lag is measured where it happens, and forgotten when it is over."""

from __future__ import annotations

import time

import structlog
import trio

from invorto.observability.metrics import Metrics
from invorto.observability.pulse import BEAT, REMEMBERED, STALL, Pulse


async def test_a_loop_that_is_held_up_is_noticed(autojump_clock):
    """A beat that comes late is the worst lag until ten seconds later, and is in the metrics."""
    metrics = Metrics()
    pulse = Pulse(metrics)
    with structlog.testing.capture_logs() as logs:
        pulse.beat(STALL + 0.1)
        pulse.beat(0.001)
    assert [(entry["event"], entry["seconds"]) for entry in logs] == [("loop_stalled", 0.6)]
    assert pulse.worst == STALL + 0.1
    assert metrics.registry.get_sample_value("loop_lag_worst_ms") == 600
    assert metrics.registry.get_sample_value("loop_lag_ms_count") == 2
    for _ in range(REMEMBERED):
        pulse.beat(0.001)
    assert pulse.worst == 0.001


async def test_lag_is_real():
    """Work that holds the loop for 80 ms shows as about as much lag."""
    pulse = Pulse(Metrics())
    async with trio.open_nursery() as nursery:
        await nursery.start(pulse.run)
        await trio.sleep(BEAT - 0.03)
        time.sleep(0.08)  # noqa: ASYNC251 - holding the loop is what is tested
        with trio.fail_after(2):
            while not pulse.worst:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert 0.02 < pulse.worst < 1.0


async def test_tasks_are_counted(autojump_clock):
    """The number of tasks follows what is alive."""
    metrics = Metrics()
    pulse = Pulse(metrics)
    assert pulse.worst == 0
    async with trio.open_nursery() as nursery:
        await nursery.start(pulse.run)
        await trio.sleep(1)
        before = pulse.tasks
        for _ in range(10):
            nursery.start_soon(trio.sleep_forever)
        await trio.sleep(1)
        assert pulse.tasks == before + 10
        assert metrics.registry.get_sample_value("trio_tasks") == pulse.tasks
        nursery.cancel_scope.cancel()
