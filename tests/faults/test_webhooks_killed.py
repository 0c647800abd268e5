"""Webhooks through the worst: dispatchers killed and stopped, PostgreSQL killed, and one endpoint that hangs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from invorto.errors import StoreUnavailable
from invorto.model.ids import new_id
from invorto.model.record import OutboxEvent
from invorto.storage import ledger_rows
from invorto.storage.migrate import migrate
from invorto.storage.postgres import Database, open_database
from invorto.storage.system import Note
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.webhooks import signing
from tests.faults.servers import postgres_server
from tests.webhooks.house import (
    QUICK,
    SECRET,
    a_dispatcher,
    a_receivers_endpoint,
    deliveries,
    dispatching,
    settled,
)
from tests.webhooks.nouns import facts
from tests.webhooks.receiver import OK, Message, Receiver, kindly, open_receiver, silently

PROVE = bool(os.environ.get("PROVE"))
ROOT = Path(__file__).parents[2]
OFTEN = {
    "WEBHOOK_TIMEOUT": "1", "WEBHOOK_SCHEDULE": ",".join(str(place / 5) for place in range(50))
}  # fmt: skip
"""A second for each request, so that leases end in two, and many attempts."""


@pytest.fixture
def chance() -> random.Random:
    """Give a source of chance whose seed a failed run shows."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@attrs.frozen
class Worker:
    """A dispatcher in a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def serves(self) -> None:
        """Wait until it delivers."""
        assert self.process.stdout is not None
        with trio.fail_after(20):
            line = await trio.to_thread.run_sync(self.process.stdout.readline)
        assert line == b"delivers\n", self.log.read_text()

    @property
    def said(self) -> str:
        return self.log.read_text()


@contextmanager
def worker(url: str, folder: Path) -> Iterator[Worker]:
    """Run one; at the end it is killed."""
    log = folder / f"worker-{new_id('n')}"
    argv = [sys.executable, "-m", "tests.webhooks.worker", url]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), **OFTEN}
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            argv, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=sink
        ) as process,
    ):
        try:
            yield Worker(process, log)
        finally:
            process.kill()


async def keep_writing(database: Database, ids: list[str], pause: float) -> None:
    """Write facts until cancelled, each until it is known to be kept."""
    while True:
        event = OutboxEvent(type="stt.final", data={"n": len(ids)}, event_id=new_id("evt"))
        ids.append(event.event_id)
        with trio.CancelScope(shield=True):
            while True:
                try:
                    await ledger_rows.note(database, [Note(new_id("c"), DEFAULT_TENANT, event)])
                    break
                except StoreUnavailable:
                    await trio.sleep(0.05)
        await trio.sleep(pause)


def nothing_is_lost(receivers: list[Receiver], ids: list[str]) -> int:
    """Look that each receiver got each event, all verified; tell how many came twice."""
    twice = 0
    for receiver in receivers:
        came = Counter(message.id for message in receiver.messages)
        assert set(came) == set(ids)
        twice += sum(count - 1 for count in came.values())
        bodies = {(message.id, message.body) for message in receiver.messages}
        assert len(bodies) == len(ids), "the same id came with another body"
        for message in receiver.messages[:: max(1, len(receiver.messages) // 50)]:
            at = float(message.headers["webhook-timestamp"])
            assert signing.fault(SECRET, message.headers, message.body, at) is None
    return twice


async def test_dispatchers_killed_under_load(
    database: Database, postgres_url: str, tmp_path: Path, chance: random.Random
) -> None:
    """Of two dispatchers one after the other is killed at random moments: nothing is lost, and twice is the same id."""
    kills = 50 if PROVE else 3
    ids: list[str] = []

    async def briefly(_: Message, stream: trio.abc.Stream) -> None:
        await trio.sleep(chance.uniform(0, 0.03))
        await stream.send_all(OK)

    async with open_receiver(briefly) as one, open_receiver(kindly) as other:
        for receiver in (one, other):
            await a_receivers_endpoint(database, receiver.url)
        with ExitStack() as stack:
            running = [stack.enter_context(worker(postgres_url, tmp_path)) for _ in range(2)]
            for each in running:
                await each.serves()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep_writing, database, ids, 0.004)
                for number in range(kills):
                    await one.until(len(one.messages) + 1, 30)
                    await trio.sleep(chance.uniform(0, 0.2))
                    running[number % 2].tell(signal.SIGKILL)
                    running[number % 2] = stack.enter_context(worker(postgres_url, tmp_path))
                    await running[number % 2].serves()
                nursery.cancel_scope.cancel()
            await settled(database, 2 * len(ids), 60)
            assert all("Traceback" not in each.said for each in running)
        twice = nothing_is_lost([one, other], ids)
    rows = await deliveries(database)
    assert Counter(row.status for row in rows) == {"delivered": 2 * len(ids)}
    print(f"{kills} kills, {len(ids)} events to two endpoints, {twice} came twice")


async def test_a_dispatcher_that_sleeps_past_its_lease(database: Database, postgres_url: str, tmp_path: Path) -> None:
    """Stopped with a request in flight and gone on when another has delivered: its acknowledgement is refused."""
    async with open_receiver(silently) as receiver:
        await a_receivers_endpoint(database, receiver.url)
        with worker(postgres_url, tmp_path) as sleeper:
            await sleeper.serves()
            (event,) = await facts(database)
            await receiver.until(1)
            sleeper.tell(signal.SIGSTOP)
            receiver.behave = kindly
            async with dispatching(a_dispatcher(database, postgres_url, pace=QUICK, **OFTEN)):
                await receiver.until(2)
                (row,) = await settled(database, 1)
            assert (row.status, row.attempts, row.last_status) == ("delivered", 1, 200)
            sleeper.tell(signal.SIGCONT)
            with trio.fail_after(10):
                while "webhook_late" not in sleeper.said:
                    await trio.sleep(0.02)
        assert await deliveries(database) == [row]
        assert [message.id for message in receiver.messages] == [event, event]


async def test_postgres_killed_under_load(loop: None, chance: random.Random) -> None:
    """PostgreSQL is killed and started again while events are written and delivered: each arrives."""
    ids: list[str] = []
    with postgres_server() as (process, url):
        await migrate(url)
        async with open_database(url, 4) as database, open_database(url, 2) as theirs, open_receiver() as receiver:
            await a_receivers_endpoint(database, receiver.url)
            dispatchers = [a_dispatcher(each, url, pace=QUICK, **OFTEN) for each in (database, theirs)]
            async with dispatching(*dispatchers):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keep_writing, database, ids, 0.004)
                    for _ in range(10 if PROVE else 2):
                        await receiver.until(len(receiver.messages) + 20)
                        await trio.sleep(chance.uniform(0, 0.2))
                        process.kill()
                        await trio.sleep(chance.uniform(0, 0.5))
                        await trio.to_thread.run_sync(process.start)
                    await receiver.until(len(receiver.messages) + 20, 30)
                    nursery.cancel_scope.cancel()
                await settled(database, len(ids), 30)
            nothing_is_lost([receiver], ids)
            assert {row.status for row in await deliveries(database)} == {"delivered"}


async def test_one_of_a_hundred_hangs(database: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hundred endpoints of which one never answers, the ninety-nine get everything in the time of before."""
    monkeypatch.setattr("invorto.storage.webhooks.MOST", 200)
    rounds = 3

    async def take(receiver: Receiver) -> float:
        began, before = trio.current_time(), len(receiver.messages)
        await facts(database, rounds)
        await receiver.until(before + 99 * rounds, 60)
        return trio.current_time() - began

    async with open_receiver() as alive, open_receiver(silently) as dead:
        for _ in range(99):
            await a_receivers_endpoint(database, alive.url, events=("stt.final",))
        async with dispatching(a_dispatcher(database, postgres_url), finish=False):
            alone = min([await take(alive) for _ in range(2)])
            await a_receivers_endpoint(database, dead.url, events=("stt.final",))
            await facts(database, 100, type="call.ended")
            beside = min([await take(alive) for _ in range(2)])
            assert 1 <= dead.in_flight <= 10
    assert beside < 2 * alone + 1
