"""The queue of analyses on PostgreSQL: written with the call, claimed by one, over in one transaction."""

from __future__ import annotations

import attrs

from invorto.model.call import Call
from invorto.model.ids import new_id
from invorto.model.record import OutboxEvent, Summary
from invorto.storage import analyses, calls, ledger_rows
from invorto.storage.postgres import Database
from tests.storage.nouns import BEGAN, a_call, an_agent, finished

MADE = Summary(outcome="completed", reason="r", next_steps=("a",), text="By a model.")
ANALYSIS = {"by": "llm", "disposition": "resolved"}


async def a_finished_call(db: Database) -> Call:
    """Keep a call that is over and is to be analysed."""
    call = await a_call(db, await an_agent(db, name=new_id("m")))
    call = await calls.activate(db, call.tenant_id, call.id, node_id="n_1", epoch=1, started_at=BEGAN)
    assert await ledger_rows.write(db, finished(call, order={"x": 1}, analysis={"by": "rules"}))
    return call


async def claims_of(db: Database, call: Call, lease: float = 60.0) -> list[analyses.Claimed]:
    """Claim what is due, and give what is of *call*: other tests leave calls too."""
    return [one for one in await analyses.claim(db, 100, lease) if one.call_id == call.id]


def fact() -> OutboxEvent:
    """Make what is told."""
    return OutboxEvent(type="agent.summary", data={"analysis": ANALYSIS}, event_id=new_id("evt"))


async def test_an_analysis_from_end_to_end(database: Database) -> None:
    """The rules' analysis is there with the call; the model's replaces it, and is told under the call's next number."""
    call = await a_finished_call(database)
    assert (await calls.detail(database, call.tenant_id, call.id))["analysis"] == {"by": "rules"}
    (claimed,) = await claims_of(database, call)
    assert (claimed.asked, claimed.attempts, claimed.tenant_id) == ({"x": 1}, 1, call.tenant_id)
    assert await analyses.settle(database, claimed, summary=MADE, analysis=ANALYSIS, fact=fact())
    kept = await calls.detail(database, call.tenant_id, call.id)
    assert kept["summary"] == MADE
    assert kept["analysis"] == ANALYSIS
    async with database.tenant(call.tenant_id) as work:
        rows = await work.fetch("SELECT type, seq FROM outbox WHERE call_id = $1 ORDER BY seq", call.id)
    assert [tuple(row) for row in rows] == [("call.ended", 1), ("agent.summary", 2), ("agent.summary", 3)]
    assert await claims_of(database, call, 0.0) == []


async def test_it_is_one_s_at_a_time(database: Database) -> None:
    """While the lease lasts nobody else has it; after it, as after a restart, the next one does, and counts."""
    call = await a_finished_call(database)
    (first,) = await claims_of(database, call, lease=0.0)
    (second,) = await claims_of(database, call)
    assert second.attempts == 2
    assert await claims_of(database, call) == []
    assert not await analyses.settle(database, first, summary=MADE, analysis=ANALYSIS, fact=fact())
    assert await analyses.settle(database, second, summary=None, analysis=None, fact=fact())
    assert not await analyses.settle(database, second, summary=MADE, analysis=ANALYSIS, fact=fact())
    kept = await calls.detail(database, call.tenant_id, call.id)
    assert kept["summary"] == finished(call).summary
    assert kept["analysis"] is None


async def test_written_again_it_is_queued_once(database: Database) -> None:
    """A ledger that does not know whether its commit came through does no harm."""
    call = await a_call(database, await an_agent(database, name=new_id("m")))
    call = await calls.activate(database, call.tenant_id, call.id, node_id="n_1", epoch=1, started_at=BEGAN)
    record = finished(call, order={"x": 1})
    assert await ledger_rows.write(database, record)
    assert not await ledger_rows.write(database, attrs.evolve(record, order={"x": 2}))
    (claimed,) = await claims_of(database, call)
    assert claimed.asked == {"x": 1}
