"""Routes of what calls came to: a summary, and a tenant's usage and spend as JSON or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal

import attrs
from quart import Response, request
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.routing import JSON, Routes
from invorto.convert import camel, iso
from invorto.errors import NotFound
from invorto.storage import tenants, usage
from invorto.storage.usage import Spend, Stretch

type Period = Literal["1h", "24h", "7d", "30d"]
_STEPS: Mapping[str, tuple[timedelta, timedelta]] = {
    "1h": (timedelta(hours=1), timedelta(minutes=5)),
    "24h": (timedelta(hours=24), timedelta(hours=1)),
    "7d": (timedelta(days=7), timedelta(days=1)),
    "30d": (timedelta(days=30), timedelta(days=1)),
}
"""How long each period is, and each stretch of it."""
CSV = "text/csv"


@attrs.frozen(kw_only=True)
class PeriodQuery:
    """Over how long, up to now."""

    period: Period = "24h"


@attrs.frozen(kw_only=True)
class UsageAnswer:
    """What a tenant's calls came to: those that ended in the period."""

    tenant_id: str
    period: Period
    from_: datetime
    to: datetime
    calls: int
    by_status: Mapping[str, int]
    minutes: float
    spend_inr: Decimal
    """₹, to the paisa."""
    costs: tuple[Spend, ...]
    """By kind and provider, the dearest first."""
    series: tuple[Stretch, ...]


@attrs.frozen(kw_only=True)
class MetricsAnswer:
    """How the calls of a tenant went."""

    period: Period
    from_: datetime
    to: datetime
    live: int
    """Calls that are under way now."""
    calls: int
    by_status: Mapping[str, int]
    completed_share: float | None
    """Of the calls that ended; null without any."""
    minutes: float
    average_seconds: float | None
    spend_inr: Decimal
    voice_to_voice_ms: float | None
    """The median, from the caller's last word to the agent's first sound."""
    voice_to_voice_p95_ms: float | None


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("usage", gate, "/v1")
    database = deps.database

    def bounds(period: Period) -> tuple[datetime, datetime, timedelta]:
        length, step = _STEPS[period]
        until = datetime.fromtimestamp(deps.wall(), UTC)
        return until - length, until, step

    @routes.get("/metrics", needs="analyst")
    async def metrics(caller: Caller, query: PeriodQuery) -> MetricsAnswer:
        """Sum up how a tenant's calls went, and what they cost."""
        since, until, step = bounds(query.period)
        found = await usage.over(database, caller.tenant_id, since, until, step)
        pace = await usage.pace(database, caller.tenant_id, since)
        ended = sum(found.by_status.values())
        return MetricsAnswer(
            period=query.period,
            from_=since,
            to=until,
            live=pace.live,
            calls=ended,
            by_status=found.by_status,
            completed_share=round(found.by_status.get("completed", 0) / ended, 4) if ended else None,
            minutes=found.minutes,
            average_seconds=round(found.minutes * 60 / ended, 3) if ended else None,
            spend_inr=found.spend_inr,
            voice_to_voice_ms=pace.median_ms,
            voice_to_voice_p95_ms=pace.p95_ms,
        )

    @routes.get("/tenants/<tenant_id>/usage", needs="analyst", gives=UsageAnswer, kinds=[JSON, CSV])
    async def read(caller: Caller, tenant_id: str, query: PeriodQuery) -> UsageAnswer | Response:
        """Give a tenant's usage and spend; with `Accept: text/csv` its series as CSV. Operators see every tenant's."""
        if tenant_id != caller.tenant_id and not caller.is_operator:
            raise NotFound(f"no tenant {tenant_id}")
        await tenants.get(database, tenant_id)
        since, until, step = bounds(query.period)
        found = await usage.over(database, tenant_id, since, until, step)
        if request.accept_mimetypes.best_match([JSON, CSV], JSON) == CSV:
            headers = {"Content-Type": f"{CSV}; charset=utf-8", "Cache-Control": "no-store"}
            return TrioResponse(as_csv(found.series), 200, headers)
        return UsageAnswer(
            tenant_id=tenant_id,
            period=query.period,
            from_=since,
            to=until,
            calls=sum(found.by_status.values()),
            by_status=found.by_status,
            minutes=found.minutes,
            spend_inr=found.spend_inr,
            costs=found.costs,
            series=found.series,
        )

    return routes


def as_csv(series: tuple[Stretch, ...]) -> str:
    """Write a series as CSV with a header line."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(camel(field.name) for field in attrs.fields(Stretch))
    rows.writerows([iso(one.from_), iso(one.to), one.calls, one.minutes, one.spend_inr] for one in series)
    return text.getvalue()
