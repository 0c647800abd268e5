"""When a webhook is tried again."""

from __future__ import annotations

from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.config import load
from invorto.errors import UsageError
from invorto.webhooks.schedule import Schedule, moment, retry_after

NOW = 1_790_000_000.0
DEFAULT = Schedule(load({}).webhooks.schedule)


def test_the_table() -> None:
    """With no chance in it, attempts come at the stated seconds since the first, ten in all."""
    times = [DEFAULT.following(made, NOW, NOW, 0.5) for made in range(1, 11)]
    hours = [hour * 3600.0 for hour in (2, 5, 10, 14, 20, 24)]
    assert times == [*(NOW + seconds for seconds in [5.0, 300.0, 1800.0, *hours]), None]


@given(st.integers(1, 9), st.floats(0, 1), st.floats(0, 60))
def test_the_spread(made: int, chance: float, late: float) -> None:
    """Each attempt is within a fifth of its time, never before the one before it, and always in the future."""
    now = NOW + DEFAULT.seconds[made - 1] + late
    at = DEFAULT.following(made, NOW, now, chance)
    assert at is not None
    assert at > now
    assert at <= max(NOW + DEFAULT.seconds[made] * 1.2, now + DEFAULT.seconds[made]) + 0.001
    assert at >= NOW + DEFAULT.seconds[made] * 0.8 - 0.001


def test_retries_cut_it() -> None:
    """So many attempts after the first, and no more; none is one attempt alone."""
    assert [Schedule(DEFAULT.seconds, retries).attempts for retries in (0, 3, 50)] == [1, 4, 10]
    assert Schedule(DEFAULT.seconds, 0).following(1, NOW, NOW, 0.5) is None


def test_after_a_night_away_the_rest_is_not_spent_at_once() -> None:
    """Where the time of an attempt is over, part of the pause is kept."""
    assert DEFAULT.following(4, NOW, NOW + 50_000, 0.5) == NOW + 50_000 + 0.25 * (7200 - 1800)


@given(st.integers(1, 9), st.floats(0, 1), st.floats(0, 1e6))
def test_a_receiver_is_not_asked_sooner_than_it_wants(made: int, chance: float, asked: float) -> None:
    """Retry-After moves an attempt back, by a day at most, and never forward."""
    plain, moved = (DEFAULT.following(made, NOW, NOW, chance, each) for each in (None, asked))
    assert plain is not None
    assert moved == max(plain, NOW + min(asked, 86_400))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("999999999999999999999", 86_400.0),
        (format_datetime(moment(NOW + 90), usegmt=True), 90.0),
        (format_datetime(moment(NOW - 90), usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -0000", 86_400.0),
        ("Fri, 99 Dec 2026 23:59:59 GMT", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read(text: str | None, seconds: float | None) -> None:
    """Seconds and dates, both up to a day; anything else counts as not said."""
    assert retry_after(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "5,10", "0,10,10", "0,-1", "0,x", "0,nan", "0,inf", "0,9999999", "0;5"])
def test_a_schedule_that_is_none_is_named(text: str) -> None:
    """The variable and what was expected are told."""
    if not text:
        assert load({"WEBHOOK_SCHEDULE": text}).webhooks.schedule[0] == 0  # not set
        return
    with pytest.raises(UsageError, match=r"WEBHOOK_SCHEDULE: expected seconds"):
        load({"WEBHOOK_SCHEDULE": text})
