"""Limits are arithmetic: what passes in any stretch of time is bounded, and what keeps to the rate always passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.realtime.limits import MessageWindow, TokenBucket

GAPS = st.lists(st.floats(0, 30), min_size=1, max_size=200)


def test_a_burst_passes_and_then_the_rate():
    """Five seconds of audio at once are taken, after that two a second; what is over is counted."""
    bucket = TokenBucket(rate=2.0, burst=5.0, since=10.0)
    assert [bucket.take(1.0, 10.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert bucket.refused == 2.0
    assert not bucket.take(1.0, 10.25)
    assert bucket.take(1.0, 10.5)
    assert not bucket.take(1.0, 10.5)
    assert [bucket.take(1.0, 1000.0) for _ in range(6)] == [True] * 5 + [False]


def test_what_is_larger_than_the_bucket_never_passes():
    """A piece is taken whole or not at all."""
    bucket = TokenBucket(rate=2.0, burst=5.0, since=0.0)
    assert not bucket.take(5.1, 100.0)
    assert bucket.take(5.0, 100.0)


def test_a_clock_that_stands_or_goes_back_gives_nothing():
    """Time that does not pass fills no bucket."""
    bucket = TokenBucket(rate=1.0, burst=1.0, since=5.0)
    assert bucket.take(1.0, 5.0)
    assert not bucket.take(1.0, 5.0)
    assert not bucket.take(1.0, 4.0)
    assert not bucket.take(1.0, 5.5)
    assert bucket.take(1.0, 6.0)


def test_real_time_audio_always_passes():
    """A client that speaks in real time, or at twice that, loses nothing in an hour."""
    bucket = TokenBucket(rate=2.0, burst=5.0, since=0.0)
    assert all(bucket.take(0.02, step * 0.01) for step in range(360_000))
    assert bucket.refused == 0


@given(GAPS, st.lists(st.floats(0.001, 3), min_size=200, max_size=200))
def test_no_stretch_of_time_lets_more_through_than_its_share(gaps, amounts):
    """Between any two moments at most the burst and the rate times the stretch has passed."""
    bucket = TokenBucket(rate=2.0, burst=5.0, since=0.0)
    now, passed = 0.0, []
    for gap, amount in zip(gaps, amounts, strict=False):
        now += gap
        if bucket.take(amount, now):
            passed.append((now, amount))
    for first, (began, _) in enumerate(passed):
        for last in range(first, len(passed)):
            total = sum(amount for _, amount in passed[first : last + 1])
            assert total <= 5.0 + 2.0 * (passed[last][0] - began) + 1e-6


@given(GAPS, st.integers(1, 5))
def test_no_minute_has_more_messages_than_the_limit(gaps, limit):
    """In any sixty seconds at most the limit passes, and a message is refused only if the limit was reached."""
    window = MessageWindow(limit)
    now, passed = 0.0, []
    for gap in gaps:
        now += gap
        recent = [at for at in passed if at > now - 60]
        assert window.take(now) == (len(recent) < limit)
        if len(recent) < limit:
            passed.append(now)
    assert window.refused == len(gaps) - len(passed)


@pytest.mark.parametrize("at", [0.0, 59.999, 60.0])
def test_a_message_is_forgotten_after_a_minute(at):
    """The limit comes back exactly one minute after what used it up."""
    window = MessageWindow(1)
    assert window.take(0.0)
    assert window.take(at) is (at == 60.0)


def test_a_limit_of_nothing_is_no_limit():
    """`MESSAGE_RATE_LIMIT=0` turns the limit off, and keeps no memory of messages."""
    window = MessageWindow(0)
    assert all(window.take(0.0) for _ in range(10_000))
    assert not window._taken
