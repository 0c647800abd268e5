"""A tenant's day: from midnight to midnight where it is."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta

HOME = "Asia/Kolkata"
"""Where a day begins unless the tenant says otherwise."""


def day_of(moment: datetime, zone: str | None = None) -> tuple[datetime, datetime]:
    """Give the beginning of the day that *moment* is in, and of the next, in UTC; an unknown *zone* is `HOME`."""
    try:
        where = zoneinfo.ZoneInfo(zone or HOME)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        where = zoneinfo.ZoneInfo(HOME)
    there = moment.astimezone(where)
    begin = there.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    following = (begin + timedelta(days=1)).replace(fold=0)
    return begin.astimezone(UTC), following.astimezone(UTC)
