"""A finished call is kept whole, once, and by its newest owner."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import attrs
import pytest
import trio

from invorto.errors import Conflict, Invalid, NotFound
from invorto.model.call import ENDS, MOVES, Call, CallStatus, EndReason
from invorto.model.ids import new_id
from invorto.model.record import Cost, OutboxEvent, Utterance
from invorto.storage import calls, ledger_rows, tenants
from invorto.storage.postgres import Database
from invorto.storage.system import Note
from tests.storage.nouns import BEGAN, a_call, an_agent, finished

TABLES = ("call_results", "transcripts", "costs", "call_metrics", "timelines", "outbox")


async def an_active_call(db: Database) -> Call:
    """Keep a call whose media is open, with epoch 1."""
    call = await a_call(db, await an_agent(db, name=new_id("m")))
    return await calls.activate(db, call.tenant_id, call.id, node_id="n_1", epoch=1, started_at=BEGAN)


async def rows(db: Database, call: Call) -> dict[str, int]:
    """Count what is kept of a call, table by table."""
    async with db.tenant(call.tenant_id) as work:
        return {
            table: await work.fetchval(f"SELECT count(*) FROM {table} WHERE call_id = $1", call.id) for table in TABLES
        }


async def facts(db: Database, call: Call) -> list[tuple[int, str, str]]:
    """Give the numbers, types and ids of a call's facts, in their order."""
    async with db.tenant(call.tenant_id) as work:
        found = await work.fetch("SELECT seq, type, event_id FROM outbox WHERE call_id = $1 ORDER BY seq", call.id)
    return [(row["seq"], row["type"], row["event_id"]) for row in found]


async def test_everything_of_a_call_is_kept(database: Database) -> None:
    """What a call leaves behind is read as it was written: words, costs to the paisa, figures, timeline, consent."""
    call = await an_active_call(database)
    record = finished(call)
    assert await ledger_rows.write(database, record)

    kept = await calls.detail(database, call.tenant_id, call.id)
    assert kept["call"] == attrs.evolve(
        call, status=CallStatus.COMPLETED, end_reason=EndReason.HANGUP, ended_at=record.ended_at, duration=61.5,
        cost_inr="0.55",
    )  # fmt: skip
    assert kept["costs"] == record.costs
    assert kept["metrics"] == record.metrics
    assert kept["summary"] == record.summary
    assert kept["usage"] == record.usage
    assert kept["consent"] == record.consent
    assert kept["recording"] == record.recording
    assert kept["agent"] == {"prompt": "You are kind."}
    assert await calls.transcript(database, call.tenant_id, call.id) == record.transcript
    assert await calls.timeline(database, call.tenant_id, call.id) == list(record.timeline)
    assert await facts(database, call) == [
        (1, "call.ended", record.outbox[0].event_id),
        (2, "agent.summary", record.outbox[1].event_id),
    ]


async def test_written_twice_is_kept_once(database: Database) -> None:
    """Replaying a call from the spool, after a commit of which nobody knew, changes nothing."""
    call = await an_active_call(database)
    record = finished(call)
    assert await ledger_rows.write(database, record)
    before = await rows(database, call)
    assert not await ledger_rows.write(database, record)
    assert not await ledger_rows.write(database, attrs.evolve(record, epoch=99, status=CallStatus.FAILED))
    assert await rows(database, call) == before


async def test_old_owner_changes_nothing(database: Database) -> None:
    """A node that lost its call to another cannot end it."""
    call = await an_active_call(database)
    async with database.tenant(call.tenant_id) as work:
        await work.execute("UPDATE calls SET epoch = 7 WHERE id = $1", call.id)
    assert not await ledger_rows.write(database, finished(call, epoch=6))
    assert sum((await rows(database, call)).values()) == 0
    assert (await calls.get(database, call.tenant_id, call.id)).status is CallStatus.ACTIVE
    assert await ledger_rows.write(database, finished(call, epoch=7))


async def test_one_of_many_ends_wins(database: Database) -> None:
    """However many nodes end a call at once, with whatever epochs, it gets one terminal state and one set of facts."""
    for _ in range(5):
        call = await an_active_call(database)
        won: list[int] = []

        async def end(epoch: int, call: Call = call, won: list[int] = won) -> None:
            status = (CallStatus.COMPLETED, CallStatus.FAILED)[epoch % 2]
            if await ledger_rows.write(database, finished(call, epoch=epoch, status=status)):
                won.append(epoch)

        async with trio.open_nursery() as nursery:
            for epoch in range(8):
                nursery.start_soon(end, epoch)

        assert len(won) == 1
        assert won[0] >= call.epoch
        ended = await calls.get(database, call.tenant_id, call.id)
        assert (ended.epoch, ended.status.terminal) == (won[0], True)
        assert [kind for _, kind, _ in await facts(database, call)] == ["call.ended", "agent.summary"]
        assert (await rows(database, call))["transcripts"] == 3


@pytest.mark.parametrize("before", [status for status in CallStatus if not status.terminal])
async def test_ends_follow_the_table_of_moves(database: Database, before: CallStatus) -> None:
    """A call ends only as its state allows; what is refused says so and leaves no row behind."""
    agent = await an_agent(database)
    for end in sorted(set(ENDS.values())):
        call = await a_call(database, agent, status=before)
        record = finished(call, status=end)
        if end in MOVES[before]:
            assert await ledger_rows.write(database, record)
        else:
            with pytest.raises(Conflict, match=f"{before} cannot become {end}"):
                await ledger_rows.write(database, record)
            assert sum((await rows(database, call)).values()) == 0
            assert (await calls.get(database, call.tenant_id, call.id)).status is before


async def test_call_of_another_tenant_is_not_there(database: Database) -> None:
    """A call can be ended in its own tenant only, and one that was never created is said to be missing."""
    call = await an_active_call(database)
    other = await tenants.create(database, "Other")
    with pytest.raises(NotFound):
        await ledger_rows.write(database, finished(call, tenant_id=other.id))
    with pytest.raises(NotFound):
        await ledger_rows.write(database, finished(call, call_id="c_missing"))
    assert (await calls.get(database, call.tenant_id, call.id)).status is CallStatus.ACTIVE


async def test_half_a_call_is_never_kept(database: Database) -> None:
    """What fails half-way, or is cancelled at any moment, leaves the call as it was, and it can be written later."""
    call = await an_active_call(database)
    record = finished(call)
    bad = Utterance(role="user", text="a\0b", began=0, ended=1, turn=1)
    with pytest.raises(Invalid):
        await ledger_rows.write(database, attrs.evolve(record, transcript=(*record.transcript, bad)))
    assert sum((await rows(database, call)).values()) == 0
    delay, done = 0.0, False
    while not done:
        delay += 0.0005
        with trio.move_on_after(delay):
            done = await ledger_rows.write(database, record)
        kept = await rows(database, call)
        over = (await calls.get(database, call.tenant_id, call.id)).status.terminal
        assert set(kept.values()) == {0} if not over else 0 not in kept.values()
        if over:
            break
    assert not await ledger_rows.write(database, record)


async def test_costs_are_rounded_once(database: Database) -> None:
    """The sum is rounded to the paisa, half up, and not its parts."""
    call = await an_active_call(database)
    part = Cost(kind="tts", provider="x", quantity=Decimal("10.5"), unit="characters", inr=Decimal("0.0049"))
    last = attrs.evolve(part, inr=Decimal("0.0003"))
    assert await ledger_rows.write(database, finished(call, costs=(part,) * 3 + (last,)))
    assert (await calls.get(database, call.tenant_id, call.id)).cost_inr == "0.02"  # 0.0150


async def test_call_that_left_nothing_is_kept(database: Database) -> None:
    """A call that ended before a word was said has its end, and costs nothing."""
    call = await a_call(database, await an_agent(database))
    empty = finished(
        call, transcript=(), costs=(), metrics=(), summary=None, recording=None, timeline=(), consent=None, outbox=(),
        usage={}, status=CallStatus.NO_ANSWER, reason=EndReason.NO_ANSWER, duration=0.0,
        ended_at=BEGAN + timedelta(0),
    )  # fmt: skip
    assert await ledger_rows.write(database, empty)
    kept = await calls.detail(database, call.tenant_id, call.id)
    assert (kept["call"].cost_inr, kept["summary"], kept["usage"]) == ("0.00", None, {})
    assert await calls.transcript(database, call.tenant_id, call.id) == ()


async def test_notes_are_numbered_in_their_call(database: Database) -> None:
    """Facts of calls that go on get the next numbers of their call, in order, and the end's come after them."""
    one, two = await an_active_call(database), await an_active_call(database)

    def note(call: Call, kind: str) -> Note:
        return Note(call.id, call.tenant_id, OutboxEvent(type=kind, data={"n": [kind]}, event_id=new_id("evt")))

    first = [note(one, "a"), note(two, "b"), note(one, "c")]
    await ledger_rows.note(database, first)
    await ledger_rows.note(database, [])
    await ledger_rows.note(database, [*first, note(one, "d")])  # replayed, with something new
    assert await ledger_rows.write(database, finished(one))
    assert [(seq, kind) for seq, kind, _ in await facts(database, one)] == [
        (1, "a"), (2, "c"), (3, "d"), (4, "call.ended"), (5, "agent.summary"),
    ]  # fmt: skip
    assert [(seq, kind) for seq, kind, _ in await facts(database, two)] == [(1, "b")]


async def test_notes_of_many_writers_do_not_collide(database: Database) -> None:
    """Nodes that note facts of the same calls at once wait for each other, and no number is given twice."""
    live = [await an_active_call(database) for _ in range(4)]

    async def tell(order: list[Call]) -> None:
        for _ in range(5):
            events = [OutboxEvent(type="x", data={}, event_id=new_id("evt")) for _ in order]
            await ledger_rows.note(
                database, [Note(call.id, call.tenant_id, event) for call, event in zip(order, events, strict=True)]
            )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell, live)
        nursery.start_soon(tell, live[::-1])
        nursery.start_soon(tell, live[2:] + live[:2])
    for call in live:
        assert [seq for seq, _, _ in await facts(database, call)] == list(range(1, 16))


async def test_note_of_a_call_without_a_row_is_kept(database: Database) -> None:
    """A fact is not lost because its call's row is not there yet; it has no number then."""
    event = OutboxEvent(type="x", data={}, event_id=new_id("evt"))
    await ledger_rows.note(database, [Note("c_later", "t_default", event)])
    async with database.tenant("t_default") as work:
        assert await work.fetchval("SELECT seq FROM outbox WHERE event_id = $1", event.event_id) is None
        assert await work.fetchval("SELECT count(*) FROM outbox") == 1
