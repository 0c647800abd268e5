"""The ledger: a call that is over is kept once, whole and in order, whatever fails, and however it stops."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from invorto.errors import Invalid, StoreUnavailable, Unavailable
from invorto.model.call import CallStatus, EndReason
from invorto.model.record import (
    Cost,
    FinishedCall,
    OutboxEvent,
    Summary,
    TimelineEvent,
    TurnMetrics,
    Utterance,
)
from invorto.storage import ledger as module
from invorto.storage import ledger_rows
from invorto.storage.ledger import Ledger
from invorto.storage.postgres import Database
from invorto.storage.spool import Spool
from invorto.storage.system import Note
from tests.storage.nouns import a_call, an_agent
from tests.storage.nouns import finished as finished_of

WHEN = datetime(2026, 3, 1, 9, 30, 1, 234567, tzinfo=UTC)


class Books:
    """Stands in for PostgreSQL: what is written, in order, and ways to fail."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.transactions = 0
        self.calls: dict[str, FinishedCall] = {}
        self.away = self.deaf = False
        self.slow = 0.0
        self.refuses: set[str] = set()

    async def write(self, finished: FinishedCall) -> bool:
        async with self.transaction({finished.call_id}):
            if finished.call_id in self.calls:
                return False
            self.calls[finished.call_id] = finished
            self.written.append(f"end {finished.call_id}")
        return True

    async def note(self, notes: Sequence[Note]) -> None:
        async with self.transaction({note.event.event_id for note in notes}):
            self.written += [note.event.event_id for note in notes if note.event.event_id not in self.written]

    def transaction(self, what: set[str]) -> Transaction:
        return Transaction(self, what)


@attrs.frozen
class Transaction:
    books: Books
    what: set[str]

    async def __aenter__(self) -> None:
        self.books.transactions += 1
        await trio.sleep(self.books.slow)
        if self.books.away:
            raise StoreUnavailable
        if self.what & self.books.refuses:
            raise Invalid("text holds a character that cannot be kept")

    async def __aexit__(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        if self.books.deaf:
            raise StoreUnavailable


def over(call_id: str, **fields: object) -> FinishedCall:
    """Make a call that is over."""
    given: dict[str, object] = {
        "call_id": call_id, "tenant_id": "t_1", "epoch": 3, "status": CallStatus.COMPLETED, "reason": EndReason.HANGUP,
        "started_at": WHEN, "ended_at": WHEN, "duration": 61.25,
    }  # fmt: skip
    return FinishedCall(**{**given, **fields})  # pyright: ignore[reportArgumentType]


def fact(event_id: str, **data: object) -> OutboxEvent:
    return OutboxEvent(type="stt.final", data=data, event_id=event_id)


@pytest.fixture
def books():
    """Give a stand-in for PostgreSQL."""
    return Books()


@pytest.fixture
def spool(tmp_path):
    """Give an empty spool."""
    return Spool(tmp_path / "spool", threads=False)


@pytest.fixture
def ledger(books, spool):
    """Give a ledger that does not run yet."""
    return Ledger(books.write, books.note, spool)


async def run_for(ledger: Ledger, seconds: float) -> None:
    with trio.move_on_after(seconds):
        await ledger.run()


# -- finishing ------------------------------------------------------------------------------------


async def test_finished_call_is_written_at_once(ledger: Ledger, books: Books, spool: Spool):
    """A call that is over is in PostgreSQL when `finish` returns, and nothing is left on disk."""
    await ledger.finish(over("c_1"))
    await ledger.finish(over("c_1"))
    assert books.written == ["end c_1"]
    assert await spool.names() == []
    assert ledger.healthy
    assert ledger.behind == 0


async def test_facts_are_written_in_a_tick_after_another_call_s_end(autojump_clock, ledger: Ledger, books: Books):
    """A call that ends while no fact waits takes nothing from the others: theirs are still written within a tick."""
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await trio.sleep(1)
        await ledger.finish(over("c_1"))
        ledger.note("c_2", "t_1", fact("evt_1"))
        await trio.sleep(0.2)
        assert books.written == ["end c_1", "evt_1"]
        nursery.cancel_scope.cancel()


async def test_away_goes_to_disk_and_is_written_later(autojump_clock, ledger: Ledger, books: Books, spool: Spool):
    """While PostgreSQL is away calls end as ever; when it is back they are written in the order they ended."""
    books.away = True
    for number in range(5):
        await ledger.finish(over(f"c_{number}"))
    assert books.transactions == 1  # known to be away: nobody waits for it again
    assert not ledger.healthy
    assert ledger.behind == 5
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await trio.sleep(30)
        assert books.written == []
        books.away = False
        await trio.sleep(10.1)
        assert books.written == [f"end c_{number}" for number in range(5)]
        assert ledger.behind == 0
        assert ledger.healthy
        await ledger.finish(over("c_9"))
        assert books.written[-1] == "end c_9"
        nursery.cancel_scope.cancel()
    assert await spool.names() == []


async def test_tries_are_spaced(autojump_clock, ledger: Ledger, books: Books):
    """A PostgreSQL that is away is not hammered: 0.5 s, doubling to 10 s."""
    books.away = True
    await ledger.finish(over("c_1"))
    await run_for(ledger, 60)
    assert 7 <= books.transactions <= 12


async def test_replayed_after_a_restart(autojump_clock, ledger: Ledger, books: Books, spool: Spool, tmp_path):
    """What was on disk when the process died is written by the next one, exactly as it was."""
    books.away = True
    whole = over(
        "c_1",
        transcript=(Utterance(role="user", text="नमस्ते ₹ 🙂", began=0.1, ended=2.25, turn=1, confidence=0.1),),
        costs=(Cost(kind="stt", provider="p", quantity=Decimal("1.0250"), unit="minutes", inr=Decimal("0.4350")),),
        metrics=(TurnMetrics(turn=1, eou_ms=221.5),),
        summary=Summary(outcome="o", reason="r", next_steps=("a", "b")),
        timeline=(TimelineEvent(id="1-0", kind="k", payload={"a": [1, None, {"b": 1.5}]}, timestamp=1),),
        consent={"given": True},
        outbox=(fact("evt_1", q="x"),),
        recording="a/b.wav",
        usage={"tokens": 3},
    )
    await ledger.finish(whole)
    ledger.note("c_2", "t_1", fact("evt_2"))
    await ledger.close()
    books.away = False
    await run_for(Ledger(books.write, books.note, Spool(tmp_path / "spool", threads=False)), 1)
    assert books.calls["c_1"] == whole
    assert books.written == ["end c_1", "evt_2"]
    assert await spool.names() == []


async def test_written_and_kept_is_written_once(autojump_clock, ledger: Ledger, books: Books):
    """When PostgreSQL took a call and its answer got lost, the replay changes nothing."""
    books.deaf = True
    await ledger.finish(over("c_1"))
    assert ledger.behind == 1
    books.deaf = False
    await run_for(ledger, 2)
    assert books.written == ["end c_1"]
    assert ledger.behind == 0


async def test_slow_postgres_counts_as_away(autojump_clock, ledger: Ledger, books: Books):
    """A PostgreSQL that does not answer holds no call longer than its deadline."""
    books.slow = 20.0
    began = trio.current_time()
    await ledger.finish(over("c_1"))
    assert trio.current_time() - began == pytest.approx(5)
    assert not ledger.healthy
    await ledger.finish(over("c_2"))
    assert trio.current_time() - began == pytest.approx(5)
    await run_for(ledger, 100)
    assert books.written == ["end c_1", "end c_2"]


async def test_cancelled_at_every_step_it_is_safe(books: Books, tmp_path):
    """Wherever the one who finishes a call is cut off, the call is in PostgreSQL or on disk."""
    for step in range(1, 50):
        books.written.clear()
        books.calls.clear()
        spool = Spool(tmp_path / str(step))
        ledger = Ledger(books.write, books.note, spool)
        ledger.note("c_1", "t_1", fact("evt_1"))
        instrument = CancelAt(step)
        trio.lowlevel.add_instrument(instrument)
        with instrument.scope:
            await ledger.finish(over("c_1"))
        trio.lowlevel.remove_instrument(instrument)
        assert "end c_1" in books.written or await spool.names(), step
        await ledger.close()
        await run_for(Ledger(books.write, books.note, spool), 0.05)
        assert sorted(books.written) == ["end c_1", "evt_1"], step
        if instrument.left > 0:
            break
    else:
        pytest.fail("there were more steps")
    assert step > 3


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when this task is about to take its n-th step."""

    def __init__(self, step: int) -> None:
        self.left, self.scope, self.task = step, trio.CancelScope(), trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def test_refused_call_is_kept_and_holds_up_nothing(autojump_clock, ledger: Ledger, books: Books, spool: Spool):
    """A call that PostgreSQL will never take is set aside for a person; those after it are written."""
    books.refuses = {"c_bad"}
    with capture_logs() as logs:
        await ledger.finish(over("c_bad"))
        await ledger.finish(over("c_1"))
        await run_for(ledger, 60)
    assert books.written == ["end c_1"]
    assert await spool.names() == []
    [aside] = spool._folder.glob("*.bad")
    assert b"c_bad" in aside.read_bytes()
    assert ledger.behind == 0
    assert any(entry["event"] == "spool_record_set_aside" for entry in logs)


async def test_passing_refusal_is_tried_again(autojump_clock, ledger: Ledger, books: Books):
    """A deadlock is not the end of a call's record."""
    books.refuses = {"c_1"}
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await ledger.finish(over("c_1"))
        await trio.sleep(1)
        books.refuses.clear()
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert books.written == ["end c_1"]


async def test_torn_and_foreign_records_hold_up_nothing(autojump_clock, ledger: Ledger, books: Books, spool: Spool):
    """A spoilt file, one of another version and one of another kind are set aside, and the rest is replayed."""
    for kind, body in (("finished", b"{}"), ("notes", b'[{"call_id":5}]'), ("later", b"{}"), ("finished", b"\xff")):
        await spool.put(kind, body)
    torn = await spool.put("finished", b"{}")
    (spool._folder / torn).write_bytes(b"torn")
    books.away = True
    await ledger.finish(over("c_1"))
    books.away = False
    await run_for(ledger, 5)
    assert books.written == ["end c_1"]
    assert len(list(spool._folder.glob("*.bad"))) == 5
    assert await spool.names() == []


async def test_what_postgres_keeps_in_no_text_loses_no_call(ledger: Ledger, books: Books, spool: Spool):
    """Half a surrogate in a payload reaches the disk as text and can be read back."""
    books.away = True
    text = "a\ud800b\0c \\u0000 \\\0"
    await ledger.finish(over("c_1", usage={"q": text, "n": float("nan")}))
    books.away = False
    await run_for(ledger, 0.2)
    assert books.calls["c_1"].usage == {"q": "a?b?c \\u0000 \\?", "n": None}


@pytest.mark.parametrize("then", ["disk", "postgres"])
async def test_nowhere_to_go_is_said_and_tried_again(
    *, autojump_clock, ledger: Ledger, books: Books, spool: Spool, monkeypatch, then
):
    """With PostgreSQL away and the disk full the caller hears so; the call is safe as soon as either is back."""
    books.away = True
    monkeypatch.setattr(spool, "_put", _full)
    with pytest.raises(Unavailable, match="No space left"):
        await ledger.finish(over("c_1"))
    assert ledger.behind == 1
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await trio.sleep(30)
        if then == "disk":
            monkeypatch.undo()
            await trio.sleep(11)
            assert len(await spool.names()) == 1
        books.away = False
        await trio.sleep(11)
        assert books.written == ["end c_1"]
        assert ledger.behind == 0
        assert ledger.lost == 0
        nursery.cancel_scope.cancel()


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


async def test_facts_with_nowhere_to_go_keep_their_order(
    *, autojump_clock, ledger: Ledger, books: Books, spool: Spool, monkeypatch
):
    """With PostgreSQL away and the disk full facts wait in memory, in their order, and PostgreSQL alone is enough."""
    books.away, books.slow = True, 0.5
    monkeypatch.setattr(spool, "_put", _full)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        ledger.note("c_1", "t_1", fact("evt_1"))
        await trio.sleep(0.3)  # it is being tried
        ledger.note("c_1", "t_1", fact("evt_2"))
        await trio.sleep(20)
        books.away = False
        await trio.sleep(5)
        assert books.written == ["evt_1", "evt_2"]
        assert (ledger.behind, ledger.lost) == (0, 0)
        nursery.cancel_scope.cancel()


async def test_what_is_lost_is_counted_and_named(
    autojump_clock, ledger: Ledger, books: Books, spool: Spool, monkeypatch
):
    """With both away until the end, the log names each call that was lost."""
    monkeypatch.setattr(module, "MOST_HELD", 2)
    books.away = True
    monkeypatch.setattr(spool, "_put", _full)
    with capture_logs() as logs:
        for number in range(4):
            with pytest.raises(Unavailable):
                await ledger.finish(over(f"c_{number}"))
        ledger.note("c_9", "t_1", fact("evt_1"))
        await ledger.close()
    lost = [entry["calls"] for entry in logs if entry["event"] == "ledger_lost_records"]
    assert lost == [["c_0"], ["c_1"], ["c_2", "c_3", "c_9"]]
    assert ledger.lost == 5


# -- notes ----------------------------------------------------------------------------------------


async def test_notes_are_one_transaction_a_tick(autojump_clock, ledger: Ledger, books: Books):
    """However many calls have facts, PostgreSQL sees ten transactions a second, and none when there are none."""
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        for number in range(40):
            ledger.note(f"c_{number % 7}", "t_1", fact(f"evt_{number}"))
            await trio.sleep(0.03)
        await trio.sleep(3600)
        assert books.transactions == 10
        nursery.cancel_scope.cancel()
    assert books.written == [f"evt_{number}" for number in range(40)]


async def test_facts_come_before_the_end(ledger: Ledger, books: Books):
    """A receiver hears what happened in a call before it hears that the call is over."""
    ledger.note("c_1", "t_1", fact("evt_1"))
    ledger.note("c_1", "t_1", fact("evt_2"))
    await ledger.finish(over("c_1"))
    assert books.written == ["evt_1", "evt_2", "end c_1"]


async def test_order_holds_through_an_outage(autojump_clock, ledger: Ledger, books: Books):
    """Facts and ends keep their order on their way over the disk, also those that come while it is replayed."""
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        books.slow = 0.4  # the replay of an outage takes longer than a tick
        expected: list[str] = []
        for number in range(400):
            books.away = 100 < number < 200 or 250 < number < 260
            ledger.note("c_1", "t_1", fact(f"evt_{number}"))
            expected.append(f"evt_{number}")
            await trio.sleep(0.05)
        await ledger.finish(over("c_1"))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert books.written == [*expected, "end c_1"]
    assert ledger.behind == 0


async def test_notes_while_away_are_few_files(autojump_clock, ledger: Ledger, books: Books, spool: Spool):
    """An outage of a minute leaves a file a second, not one for each fact."""
    books.away = True
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        for number in range(600):
            ledger.note("c_1", "t_1", fact(f"evt_{number}"))
            await trio.sleep(0.1)
        assert len(await spool.names()) <= 61
        nursery.cancel_scope.cancel()


async def test_one_bad_note_takes_no_other_with_it(autojump_clock, ledger: Ledger, books: Books, spool: Spool):
    """A fact that PostgreSQL will never take is set aside alone."""
    books.refuses = {"evt_3"}
    for number in range(6):
        ledger.note(f"c_{number}", "t_1", fact(f"evt_{number}"))
    await run_for(ledger, 120)
    assert sorted(books.written) == ["evt_0", "evt_1", "evt_2", "evt_4", "evt_5"]
    [aside] = spool._folder.glob("*.bad")
    assert b"evt_3" in aside.read_bytes()
    assert b"evt_2" not in aside.read_bytes()
    assert await spool.names() == []


async def test_notes_in_memory_are_bounded(ledger: Ledger, books: Books, spool: Spool, monkeypatch):
    """With nowhere to write, memory stays bounded: the oldest facts go, counted."""
    monkeypatch.setattr(module, "MOST_NOTES", 10)
    books.away = True
    monkeypatch.setattr(spool, "_put", _full)
    for number in range(25):
        ledger.note("c_1", "t_1", fact(f"evt_{number}"))
    assert (ledger.behind, ledger.lost) == (10, 15)
    monkeypatch.undo()
    books.away = False
    await ledger.finish(over("c_1"))
    assert books.written == [*(f"evt_{number}" for number in range(15, 25)), "end c_1"]


@pytest.mark.parametrize("fault", ["none", "away", "slow"])
async def test_stopping_keeps_what_is_in_memory(*, autojump_clock, ledger: Ledger, books: Books, spool: Spool, fault):
    """What was noted just before the process stops is written or on disk, within the deadline; later is counted."""
    books.away, books.slow = fault == "away", 100.0 if fault == "slow" else 0.0
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        ledger.note("c_1", "t_1", fact("evt_1"))
        nursery.cancel_scope.cancel()
    assert trio.current_time() <= 2.1
    ledger.note("c_1", "t_1", fact("evt_2"))
    assert ledger.lost == 1
    books.away, books.slow = False, 0.0
    await run_for(Ledger(books.write, books.note, spool), 1)
    assert books.written == ["evt_1"]


async def test_two_processes_share_a_folder(autojump_clock, books: Books, spool: Spool, tmp_path):
    """Worker processes of a node replay one folder together, and each record is written once."""
    books.away = True
    ledger = Ledger(books.write, books.note, spool)
    for number in range(30):
        await ledger.finish(over(f"c_{number}"))
        ledger.note(f"c_{number}", "t_1", fact(f"evt_{number}"))
    books.away, books.slow = False, 0.01
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_for, ledger, 30)
        nursery.start_soon(run_for, Ledger(books.write, books.note, Spool(tmp_path / "spool", threads=False)), 30)
    assert len(books.written) == 60
    assert len(set(books.written)) == 60
    assert await spool.names() == []


async def test_what_another_process_wrote_is_owed_no_more(
    autojump_clock, ledger: Ledger, books: Books, spool: Spool, tmp_path
):
    """A process whose facts on disk were written by another goes back to writing without the disk."""
    books.away = True
    ledger.note("c_1", "t_1", fact("evt_1"))
    await ledger.finish(over("c_1"))
    books.away = False
    await run_for(Ledger(books.write, books.note, Spool(tmp_path / "spool", threads=False)), 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await ledger.finish(over("c_2"))
        await trio.sleep(20)
        await ledger.finish(over("c_3"))
        assert await spool.names() == []
        assert books.written == ["evt_1", "end c_1", "end c_2", "end c_3"]
        nursery.cancel_scope.cancel()


# -- on PostgreSQL --------------------------------------------------------------------------------


async def test_on_postgres(database: Database, tmp_path):
    """Facts and the end of a real call become rows, numbered in their order, once."""
    spool = Spool(tmp_path)
    call = await a_call(database, await an_agent(database), status=CallStatus.ACTIVE, epoch=1)
    ledger = Ledger(
        functools.partial(ledger_rows.write, database), functools.partial(ledger_rows.note, database), spool
    )
    ledger.note(call.id, call.tenant_id, fact("evt_1", text="one"))
    ledger.note(call.id, call.tenant_id, fact("evt_2", text="nul \0 and \ud800"))
    whole = finished_of(call, outbox=(OutboxEvent(type="call.ended", data={}, event_id="evt_3"),))
    whole = attrs.evolve(whole, usage={"odd": "\0"})
    await ledger.finish(whole)
    await ledger.finish(whole)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            while ledger.behind:
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
    async with database.tenant(call.tenant_id) as work:
        rows = await work.fetch("SELECT seq, event_id, data FROM outbox ORDER BY seq")
        assert [(row["seq"], row["event_id"]) for row in rows] == [(1, "evt_1"), (2, "evt_2"), (3, "evt_3")]
        assert rows[1]["data"] == {"text": "nul ? and ?"}
        assert await work.fetchval("SELECT usage FROM call_results") == {"odd": "?"}
        assert await work.fetchval("SELECT status FROM calls") == "completed"
    assert await spool.names() == []
    assert not list(spool._folder.iterdir())
