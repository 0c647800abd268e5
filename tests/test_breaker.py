"""The breaker: keeps out who fails, longer each time, and lets one trial decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from invorto.breaker import Breaker


def test_two_failures_keep_it_out_and_a_trial_lets_it_back() -> None:
    """Closed, open for 5 s, a trial that fails, open for 10 s, a trial that succeeds, closed."""
    breaker = Breaker()
    breaker.failed(0)
    assert breaker.allows(0)
    breaker.failed(1)
    assert not breaker.allows(5.9)
    assert breaker.allows(6)
    breaker.asked(6)
    assert not breaker.allows(6.5), "one trial at a time"
    breaker.failed(7)
    assert not breaker.allows(16.9)
    assert breaker.allows(17)
    breaker.asked(17)
    breaker.succeeded()
    assert breaker.allows(17)
    breaker.failed(18)
    assert breaker.allows(18)


def test_a_trial_that_is_never_heard_of_again_does_not_keep_it_out() -> None:
    """Who asked was cancelled: after a while another may try."""
    breaker = Breaker()
    breaker.failed(0)
    breaker.failed(0)
    breaker.asked(5)
    assert not breaker.allows(9)
    assert breaker.allows(10)


def test_who_says_when_to_come_again_is_left_alone_until_then() -> None:
    """A `Retry-After` opens it at once, for as long as it says, within a bound."""
    breaker = Breaker()
    breaker.failed(0, retry_after=20)
    assert not breaker.allows(19)
    assert breaker.allows(20)
    breaker.failed(20, retry_after=9999)
    assert breaker.allows(80)


@given(st.lists(st.sampled_from(["asked", "failed", "succeeded", "wait"]), max_size=60))
def test_it_always_comes_back(moves: list[str]) -> None:
    """Whatever happens, after the longest rest it may be asked; and once it succeeded, at once."""
    breaker, now = Breaker(), 0.0
    for move in moves:
        now += 3.0
        match move:
            case "asked":
                breaker.asked(now)
            case "failed":
                breaker.failed(now)
            case "succeeded":
                breaker.succeeded()
                assert breaker.allows(now)
            case _:
                pass
        assert breaker.allows(now + breaker.longest)
