"""A day is from midnight to midnight where the tenant is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.model.day import day_of

CASES = [
    ("2026-03-01T18:29:59+00:00", None, "2026-02-28T18:30:00+00:00", 24),
    ("2026-03-01T18:30:00+00:00", None, "2026-03-01T18:30:00+00:00", 24),
    ("2026-03-01T18:30:00+00:00", "Nowhere/Land", "2026-03-01T18:30:00+00:00", 24),
    ("2026-03-29T12:00:00+00:00", "Europe/Paris", "2026-03-28T23:00:00+00:00", 23),
    ("2026-10-25T12:00:00+00:00", "Europe/Paris", "2026-10-24T22:00:00+00:00", 25),
    ("2026-01-01T00:00:00+00:00", "UTC", "2026-01-01T00:00:00+00:00", 24),
]


@pytest.mark.parametrize(("moment", "zone", "begin", "hours"), CASES, ids=[str(n) for n in range(len(CASES))])
def test_days(moment: str, zone: str | None, begin: str, hours: int) -> None:
    """Kolkata unless told otherwise; days on which clocks change are shorter or longer."""
    first, following = day_of(datetime.fromisoformat(moment), zone)
    assert first == datetime.fromisoformat(begin)
    assert following - first == timedelta(hours=hours)


@given(st.integers(0, 3_600_000_000), st.sampled_from([None, "America/New_York", "UTC"]))
def test_a_moment_is_within_its_day(seconds: int, zone: str | None) -> None:
    """Whenever it is, it is in its day."""
    moment = datetime.fromtimestamp(seconds, UTC)
    begin, following = day_of(moment, zone)
    assert begin <= moment < following
