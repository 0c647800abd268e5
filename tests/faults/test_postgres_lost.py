"""PostgreSQL killed, stopped and back: calls end as ever, and each is in the ledger once and whole."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import attrs
import pytest
import trio

from invorto.model.call import Call, CallStatus
from invorto.model.ids import new_id
from invorto.model.record import OutboxEvent
from invorto.storage import ledger_rows
from invorto.storage.ledger import Deadlines, Ledger
from invorto.storage.migrate import migrate
from invorto.storage.postgres import Database, open_database
from invorto.storage.spool import Spool
from tests.faults.servers import postgres_server
from tests.storage.nouns import a_call, an_agent, finished

QUICK = Deadlines(write=0.4, replay=3, last_write=0.3, close=6, first_pause=0.1, longest_pause=0.3)


@pytest.fixture
def chance():
    """Give a source of chance whose seed a failed run shows."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture
def server():
    """Give a PostgreSQL of this test's own and its URL."""
    with postgres_server() as given:
        yield given


def a_ledger(database: Database, folder: Path) -> Ledger:
    write = functools.partial(ledger_rows.write, database)
    return Ledger(write, functools.partial(ledger_rows.note, database), Spool(folder), QUICK)


async def live_calls(database: Database, count: int) -> list[Call]:
    agent = await an_agent(database)
    return [await a_call(database, agent, status=CallStatus.ACTIVE, epoch=1) for _ in range(count)]


async def speak_and_end(ledger: Ledger, call: Call, order: list[str], pause: float) -> None:
    """Note three facts of a call, end it, and remember the order."""
    for number in range(3):
        event_id = f"{call.id}-{number}"
        ledger.note(call.id, call.tenant_id, OutboxEvent(type="stt.final", data={"n": number}, event_id=event_id))
        order.append(event_id)
        await trio.sleep(pause)
    end = OutboxEvent(type="call.ended", data={}, event_id=f"{call.id}-end")
    order.append(end.event_id)
    await ledger.finish(attrs.evolve(finished(call), outbox=(end,)))


async def check(database: Database, calls: list[Call], order: list[str]) -> None:
    """Look that each call is over, whole, and its facts are numbered in their order without a gap."""
    async with database.tenant(calls[0].tenant_id) as work:
        for call in calls:
            row = await work.fetchrow("SELECT status, outbox_seq FROM calls WHERE id = $1", call.id)
            assert row is not None
            assert (row["status"], row["outbox_seq"]) == ("completed", 4)
            assert await work.fetchval("SELECT count(*) FROM transcripts WHERE call_id = $1", call.id) == 3
            assert await work.fetchval("SELECT count(*) FROM call_results WHERE call_id = $1", call.id) == 1
            facts = await work.fetch("SELECT seq, event_id FROM outbox WHERE call_id = $1 ORDER BY seq", call.id)
            assert [fact["seq"] for fact in facts] == [1, 2, 3, 4]
            assert [fact["event_id"] for fact in facts] == [name for name in order if name.startswith(call.id)]


async def caught_up(ledger: Ledger) -> None:
    with trio.fail_after(20):
        while ledger.behind:
            await trio.sleep(0.05)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_calls_that_end_while_postgres_goes_and_comes(loop, server, tmp_path, chance, how):
    """PostgreSQL is killed, or stalls, while 60 calls speak and end: each ends in its time, and is kept once."""
    process, url = server
    await migrate(url)
    order: list[str] = []
    longest = 0.0

    async def hold(call: Call) -> None:
        nonlocal longest
        await trio.sleep(chance.uniform(0, 3))
        began = trio.current_time()
        await speak_and_end(ledger, call, order, chance.uniform(0, 0.05))
        longest = max(longest, trio.current_time() - began)

    async with open_database(url, 4) as database:
        calls = await live_calls(database, 60)
        ledger = a_ledger(database, tmp_path)
        async with trio.open_nursery() as back:
            await back.start(ledger.run)
            async with trio.open_nursery() as front:
                for call in calls:
                    front.start_soon(hold, call)
                for _ in range(2):
                    await trio.sleep(0.5)
                    process.kill() if how == "killed" else process.stop()
                    await trio.sleep(0.7)
                    await trio.to_thread.run_sync(process.start if how == "killed" else process.go_on)
            await caught_up(ledger)
            assert ledger.healthy
            back.cancel_scope.cancel()
        await check(database, calls, order)
    assert longest < 6
    assert ledger.lost == 0
    assert not list(tmp_path.iterdir())


async def test_process_ends_while_postgres_is_away(loop, server, tmp_path):
    """The process stops with PostgreSQL gone: in its time, and the next process writes what it left."""
    process, url = server
    await migrate(url)
    order: list[str] = []
    async with open_database(url, 4) as database:
        calls = await live_calls(database, 5)
        ledger = a_ledger(database, tmp_path)
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            process.stop()
            for call in calls:
                await speak_and_end(ledger, call, order, 0.01)
            late = OutboxEvent(type="stt.final", data={}, event_id=new_id("evt"))
            ledger.note("c_late", calls[0].tenant_id, late)
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began < 6
        assert ledger.lost == 0
        process.kill()
    await trio.to_thread.run_sync(process.start)
    async with open_database(url, 4) as database:
        again = a_ledger(database, tmp_path)
        async with trio.open_nursery() as nursery:
            await nursery.start(again.run)
            with trio.fail_after(20):
                while list(tmp_path.iterdir()):
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        await check(database, calls, order)
        async with database.tenant(calls[0].tenant_id) as work:
            assert await work.fetchval("SELECT count(*) FROM outbox WHERE event_id = $1", late.event_id) == 1


async def test_finishing_cut_off_at_random_moments(loop, postgres_url, tmp_path, chance):
    """Sixty calls whose end is cancelled at random moments are all in the ledger, each once."""
    order: list[str] = []
    async with open_database(postgres_url, 4) as database:
        calls = await live_calls(database, 60)
        ledger = a_ledger(database, tmp_path)
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            for call in calls:
                end = OutboxEvent(type="call.ended", data={}, event_id=f"{call.id}-end")
                order.append(end.event_id)
                with trio.move_on_after(chance.uniform(0, 0.012)):
                    await ledger.finish(attrs.evolve(finished(call), outbox=(end,)))
            await caught_up(ledger)
            nursery.cancel_scope.cancel()
        async with database.tenant(calls[0].tenant_id) as work:
            assert await work.fetchval("SELECT count(*) FROM calls WHERE status = 'completed'") == 60
            assert await work.fetchval("SELECT count(*) FROM outbox") == 60
            assert await work.fetchval("SELECT count(*) FROM transcripts") == 180
