"""A pace is kept over any stretch of time, and used in full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.model.pace import after, burst, room, wait

NOW = 1_790_000_000.0


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 50)), max_size=40),
)
def test_no_more_than_the_rate(rate: float, looks: list[tuple[float, int]]) -> None:
    """However it is looked at, in no stretch of time come more than the rate times its length, and one burst."""
    due, now = None, NOW
    came: list[tuple[float, int]] = []
    for pause, wanted in looks:
        now += pause
        count = min(wanted, room(rate, due, now))
        if count:
            due = after(rate, due, now, count)
            came.append((now, count))
    for place, (start, _) in enumerate(came):
        for end in range(place, len(came)):
            total = sum(count for _, count in came[place : end + 1])
            assert total <= rate * (came[end][0] - start) + burst(rate) + 0.01


@pytest.mark.parametrize("rate", [0.5, 3, 20, 400])
def test_the_rate_is_reached(rate: float) -> None:
    """Whoever comes as soon as `wait` says gets all of the rate."""
    due, now, count = None, NOW, 0
    while now < NOW + 20:
        now += wait(rate, due, now)
        assert room(rate, due, now) >= 1
        due = after(rate, due, now, 1)
        count += 1
    assert count == pytest.approx(20 * rate + burst(rate), abs=2)


def test_the_first_one_never_waits() -> None:
    """With nothing behind there is room for a burst, and no wait."""
    assert (room(5, None, NOW), room(50, None, NOW), wait(5, None, NOW)) == (1, 5, 0)
    assert room(5, NOW + 10, NOW) == 0
