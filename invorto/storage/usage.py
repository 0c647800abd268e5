"""What a tenant's calls came to over a while: counts, minutes and ₹, by provider and by stretch of time."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

import attrs

from invorto.storage.postgres import Database


@attrs.frozen(kw_only=True)
class Spend:
    """What one provider's work of one kind cost."""

    kind: str
    provider: str
    unit: str
    quantity: Decimal
    inr: Decimal


@attrs.frozen(kw_only=True)
class Stretch:
    """The calls that ended from *from_* to before *to*."""

    from_: datetime
    to: datetime
    calls: int = 0
    minutes: float = 0.0
    spend_inr: Decimal = Decimal("0.00")


@attrs.frozen(kw_only=True)
class Usage:
    """What the calls of a while came to."""

    by_status: dict[str, int]
    minutes: float
    spend_inr: Decimal
    costs: tuple[Spend, ...]
    series: tuple[Stretch, ...]


@attrs.frozen(kw_only=True)
class Pace:
    """How many calls there are now, and how quickly agents answered over a while."""

    live: int
    median_ms: float | None
    p95_ms: float | None


async def over(db: Database, tenant_id: str, since: datetime, until: datetime, step: timedelta) -> Usage:
    """Sum up the calls that ended from *since* to before *until*, in stretches of *step* from *since* on."""
    async with db.tenant(tenant_id) as work:
        ended = await work.fetch(
            "SELECT date_bin($3, ended_at, $1) AS at, status, count(*) AS calls, sum(duration) AS seconds,"
            " sum(cost_inr) AS inr FROM calls WHERE ended_at >= $1 AND ended_at < $2 GROUP BY 1, 2",
            since, until, step,
        )  # fmt: skip
        costs = await work.fetch(
            "SELECT kind, provider, unit, sum(quantity) AS quantity, sum(inr) AS inr FROM costs"
            " WHERE ended_at >= $1 AND ended_at < $2 GROUP BY kind, provider, unit ORDER BY inr DESC, kind, provider",
            since, until,
        )  # fmt: skip
    by_status: dict[str, int] = {}
    series = [
        Stretch(from_=since + place * step, to=min(since + (place + 1) * step, until))
        for place in range(-((since - until) // step))
    ]
    for row in ended:
        by_status[row["status"]] = by_status.get(row["status"], 0) + row["calls"]
        place = (row["at"] - since) // step
        before = series[place]
        series[place] = attrs.evolve(
            before, calls=before.calls + row["calls"], minutes=round(before.minutes + (row["seconds"] or 0) / 60, 3),
            spend_inr=before.spend_inr + (row["inr"] or 0),
        )  # fmt: skip
    return Usage(
        by_status=by_status,
        minutes=round(sum(row["seconds"] or 0 for row in ended) / 60, 3),
        spend_inr=sum((one.spend_inr for one in series), Decimal("0.00")),
        costs=tuple(Spend(**row) for row in costs),
        series=tuple(series),
    )


async def pace(db: Database, tenant_id: str, since: datetime) -> Pace:
    """Tell how many calls are live, and how quick the turns of calls that ended since *since* were."""
    async with db.tenant(tenant_id) as work:
        live = await work.fetchval("SELECT count(*) FROM calls WHERE ended_at IS NULL AND status <> 'created'")
        row = await work.one(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY voice_to_voice_ms) AS median,"
            " percentile_cont(0.95) WITHIN GROUP (ORDER BY voice_to_voice_ms) AS p95 FROM call_metrics"
            " JOIN calls ON calls.id = call_id WHERE calls.ended_at >= $1",
            since,
        )
    return Pace(live=live, median_ms=row["median"], p95_ms=row["p95"])
