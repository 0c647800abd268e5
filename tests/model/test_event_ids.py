"""Ids of events go up, whatever the clocks do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import Invalid
from invorto.model.event_ids import EventClock, event_id, event_key


def test_ids_are_the_start_plus_what_has_passed():
    """An event's id tells when it happened, in Unix milliseconds."""
    clock = EventClock(wall=1_733_000_000.0, now=50.0)
    assert [clock.next(50.0), clock.next(50.0), clock.next(50.25), clock.next(50.2)] == [
        "1733000000000-0", "1733000000000-1", "1733000000250-0", "1733000000250-1",
    ]  # fmt: skip
    assert clock.last == "1733000000250-1"


def test_another_owner_goes_on_above_the_last():
    """Events of a call that moved to a node with a slower clock still come after those before."""
    clock = EventClock(wall=100.0, now=0.0, after="200000-7")
    assert [clock.next(0.0), clock.next(99.0), clock.next(101.0)] == ["200000-8", "200000-9", "201000-0"]


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_ids_always_go_up(times: list[float]):
    """No event is ever given an id at or below an earlier one's."""
    clock = EventClock(wall=1.7e9, now=0.0)
    keys = [event_key(clock.next(now)) for now in times]
    assert keys == sorted(set(keys))


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_keys_and_ids_are_the_same_thing(ms: int, n: int):
    """A cursor survives being taken apart and put together."""
    assert event_key(event_id((ms, n))) == (ms, n)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "5",
        "5-",
        "-5",
        "5-x",
        "5-1 ",
        "5-1\n",
        " 5-1",
        "5-1-1",
        "+5-1",
        "\u0663-\u0661",
        "$",
        "(5-1",
        f"{2**64}-0",
    ],
)
def test_what_is_no_id_is_invalid(text: str):
    """A cursor that no stream understands is an error that names the parameter."""
    with pytest.raises(Invalid, match=r"\$\.after") as caught:
        event_key(text, "$.after")
    assert caught.value.faults[0].path == "$.after"
