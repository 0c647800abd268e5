"""A tenant's day may cost so much: then new calls are refused, and before that it is said once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import attrs
import pytest
import trio

from invorto.errors import LimitReached
from invorto.model.record import Cost
from invorto.realtime.allowance import Allowance
from invorto.realtime.slots import Caps
from invorto.storage import audit, ledger_rows, tenants
from invorto.storage.postgres import Database
from tests.journeys.house import BINARY, open_client, open_server, settings
from tests.storage.nouns import a_call, an_agent, finished

NOON = datetime(2026, 3, 1, 6, 30, tzinfo=UTC)
"""In Kolkata."""


async def cost(database: Database, inr: str, when: datetime, tenant_id: str = "t_default") -> None:
    """Have a call cost something."""
    agent = await an_agent(database, tenant_id, name=f"A{inr}{when.timestamp()}")
    price = Cost(kind="llm", provider="x", quantity=Decimal(1), unit="tokens", inr=Decimal(inr))
    call = await a_call(database, agent)
    await ledger_rows.write(database, attrs.evolve(finished(call, outbox=()), costs=(price,), ended_at=when))


async def test_the_days_money(database: Database) -> None:
    """Up to the cap calls begin; at 80 % it is written down once a day; the next day is a new one."""
    now = NOON
    call = await a_call(database, await an_agent(database))

    def allowance() -> Allowance:  # each its own node, or the same one a little later
        return Allowance(database, 100, lambda: now.timestamp())  # noqa: PLW0108 - it moves on

    await cost(database, "500", NOON - timedelta(hours=13))  # yesterday, there
    await cost(database, "79.99", NOON)
    await allowance().admit(call)
    assert (await audit.listing(database, "t_default"))[1] == 0
    await cost(database, "0.01", NOON)
    for _ in range(3):
        await allowance().admit(call)
    (warned,), count = await audit.listing(database, "t_default")
    assert (warned.action, count, warned.details["capInr"]) == ("usage.cap_near", 1, "100")
    await cost(database, "20", NOON)
    with pytest.raises(LimitReached) as refused:
        await allowance().admit(call)
    assert (refused.value.scope, refused.value.retry_after) == ("usage_cap", 3600)
    assert "₹ 100.00 of the ₹ 100.00" in str(refused.value)
    now = NOON + timedelta(hours=12)
    await allowance().admit(call)


async def test_what_a_tenant_says_itself(database: Database) -> None:
    """Its own cap and zone count before the installation's; 0 is no cap; so for its calls at once."""
    tenant = await tenants.create(database, "T", settings={"dailyCapInr": "10", "timezone": "UTC", "newer": 1})
    call = await a_call(database, await an_agent(database, tenant.id, name="x"))
    await cost(database, "10", NOON, tenant.id)
    with pytest.raises(LimitReached):
        await Allowance(database, 0, NOON.timestamp).admit(call)
    caps = Caps(everything=9, tenant=5)
    assert await Allowance(database, 0, NOON.timestamp).caps(call, caps) == caps
    await tenants.change(database, tenant.id, settings={"dailyCapInr": "0", "maxConcurrentCalls": 3})
    await Allowance(database, 1, NOON.timestamp).admit(call)
    assert (await Allowance(database, 1, NOON.timestamp).caps(call, caps)).tenant == 3


async def test_what_was_read_holds_for_a_moment(database: Database) -> None:
    """A burst of calls reads once, and a store that is away refuses nobody."""
    call = await a_call(database, await an_agent(database))
    allowance = Allowance(database, 100, NOON.timestamp)
    await allowance.admit(call)
    await cost(database, "500", NOON)
    await allowance.admit(call)
    allowance._known.clear()
    with pytest.raises(LimitReached):
        await allowance.admit(call)


async def test_a_socket_is_refused(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """At a real server: 4029 `quota_exceeded`, and before it an error that says what it cost; live calls go on."""
    environ = settings(postgres_url, redis_url, tmp_path, DAILY_COST_CAP_INR="100")
    async with open_server(environ) as server, open_client(server, "c-1", start=BINARY) as first:
        await first.until("tts.done")
        await cost(server.resources.database, "100", datetime.now(UTC))
        await trio.sleep(2.1)
        async with open_client(server, "c-2", start=BINARY) as client:
            assert await client.until_closed() == (4029, "quota_exceeded")
            (error,) = [event for event in client.events if event["t"] == "error"]
        assert (error["code"], error["scope"]) == ("usage_cap_exceeded", "usage_cap")
        assert 0 < error["retryAfter"] <= 3600
        assert first.closed is None
