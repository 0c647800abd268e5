"""A service that fails is started again, later each time, and not for ever."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import StoreUnavailable
from invorto.restarts import MOST, WITHIN, Restarts, restarted


@given(st.lists(st.floats(0, 400), max_size=40))
def test_five_times_in_ten_minutes(pauses: list[float]) -> None:
    """In no ten minutes are there more than five restarts, and one that comes after quiet is always granted."""
    restarts, now, granted = Restarts(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        recent = [at for at in granted if now - at <= WITHIN]
        given_pause = restarts.pause(now)
        assert (given_pause is None) == (len(recent) >= MOST)
        if given_pause is not None:
            assert given_pause == 0.5 * 2 ** len(recent)
            granted.append(now)


async def test_it_is_started_again_and_then_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """Five restarts with back-off, then the failure is everybody's."""
    starts: list[float] = []

    async def fail() -> None:
        starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await restarted("webhooks", fail)
    assert [round(later - start, 3) for start, later in itertools.pairwise(starts)] == [
        0.5, 1, 2, 4, 8
    ]  # fmt: skip


async def test_now_and_then_is_no_reason_to_give_up(autojump_clock: trio.testing.MockClock) -> None:
    """A failure every few minutes is lived with; one that ends by itself counts as a failure; a cancel ends it."""
    starts: list[float] = []

    async def fail_late() -> None:
        starts.append(trio.current_time())
        await trio.sleep(200)
        if len(starts) % 2:
            raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        await nursery.start(restarted, "webhooks", fail_late)
        await trio.sleep(10_000)
        nursery.cancel_scope.cancel()
    assert len(starts) >= 45
