"""What is different for one tenant: its limits, its money's day, whom it lets in and whom it calls."""

from __future__ import annotations

import re
import zoneinfo
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import attrs

from invorto.model.rules import between, count, every, match, text

_HOST = r"(\*\.)?([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ORIGIN = re.compile(r"https?://[^\s/@?#]{1,255}")


def _zone(_: object, __: attrs.Attribute[Any], value: str | None) -> None:
    if value is not None and value not in zoneinfo.available_timezones():
        raise ValueError("expected the name of a time zone, such as Asia/Kolkata")


def _origins(_: object, __: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for origin in value:
        try:
            good = _ORIGIN.fullmatch(origin) is not None and urlsplit(origin).hostname is not None
            _ = urlsplit(origin).port
        except ValueError:
            good = False
        if not good:
            raise ValueError("expected origins such as https://app.example.com")


def _money(_: object, __: attrs.Attribute[Any], value: Decimal | None) -> None:
    if value is not None and not 0 <= value <= 1_000_000_000:
        raise ValueError("must be from 0 to 1000000000")


@attrs.frozen(kw_only=True)
class TenantSettings:
    """Where a tenant differs from the installation; null: as the installation says."""

    max_concurrent_calls: int | None = attrs.field(default=None, validator=between(0, 1_000_000))
    """Calls at once, 0 is no limit; null: `TELEPHONY_PER_TENANT_MAX_CONCURRENCY`."""
    guaranteed_calls: int = attrs.field(default=0, validator=between(0, 100_000))
    """Of the installation's calls at once, so many are kept free for it."""
    daily_cap_inr: Decimal | None = attrs.field(default=None, validator=_money)
    """₹ a day, 0 is no cap; null: `DAILY_COST_CAP_INR`."""
    timezone: str | None = attrs.field(default=None, validator=_zone)
    """Where its day begins; null: Asia/Kolkata."""
    allowed_origins: tuple[str, ...] = attrs.field(default=(), validator=every(count(50), text(300), _origins))
    """Web pages that may use its keys, besides the installation's."""
    tool_hosts: tuple[str, ...] = attrs.field(
        default=(), validator=every(count(200), text(300), match(_HOST, "host names, such as api.example.com"))
    )
    """Hosts that its tools may call."""
