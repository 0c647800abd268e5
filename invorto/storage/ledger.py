"""The ledger: what a call leaves is written in one transaction, or kept on disk until PostgreSQL is back."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable
from typing import NoReturn

import attrs
import structlog
import trio

from invorto.errors import Unavailable
from invorto.model.record import FinishedCall, OutboxEvent
from invorto.storage.pen import Outcome, Pen, Write, WriteNotes
from invorto.storage.replay import Replay
from invorto.storage.spool import Spool
from invorto.storage.system import Note

log = structlog.get_logger(__name__)

TICK = 0.1
"""Seconds that notes wait for one another, so that all calls' are one transaction."""
AWAY_TICK = 1.0
"""The same while PostgreSQL is away: a file a second and not ten, at the price of a second's notes in a crash."""
MOST_NOTES = 10_000
"""Notes in memory at most; they only pile up while PostgreSQL is away **and** the disk is full. The oldest go first."""
MOST_HELD = 100
"""Finished calls in memory at most, in the same case: some 10 MB."""
LOOK = 60.0
"""Seconds between two looks at the disk when nothing is known to be there: what a process that died has left."""


@attrs.frozen(kw_only=True)
class Deadlines:
    """How long the ledger's parts may take, seconds."""

    write: float = 5.0
    """One transaction while a call waits for it; after it PostgreSQL counts as away."""
    replay: float = 30.0
    """One transaction for which nobody waits."""
    keep: float = 5.0
    """To put a call on disk when its writer is cancelled."""
    last_write: float = 2.0
    """The last notes' transaction when the process stops; after it they go to disk."""
    close: float = 10.0
    first_pause: float = 0.5
    """Between the first two tries while PostgreSQL is away; it doubles."""
    longest_pause: float = 10.0


class Ledger:
    """
    Writes finished calls and the facts of live ones, each once, however PostgreSQL and the process fail.

    `run` must run for notes to be written and for the disk to be replayed. What is replayed may have been written
    already: both writers leave alone what is there.
    """

    def __init__(self, write: Write, write_notes: WriteNotes, spool: Spool, deadlines: Deadlines | None = None) -> None:
        self._deadlines = deadlines or Deadlines()
        self._pen = Pen(write, write_notes)
        self._replay = Replay(spool, self._pen, self._deadlines.replay)
        self._notes: deque[Note] = deque()
        self._held: deque[FinishedCall] = deque()
        self._noted, self._kept = trio.Event(), trio.Event()
        self._noting = trio.Lock()
        self._closed = False
        self.lost = 0
        """Facts and calls given up: PostgreSQL away and the disk full for too long, or noted after the end."""

    @property
    def healthy(self) -> bool:
        """Whether PostgreSQL was there at the last try."""
        return self._pen.healthy

    @property
    def behind(self) -> int:
        """How many records wait to be written, on disk and in memory."""
        return self._replay.files + len(self._notes) + len(self._held)

    def note(self, call_id: str, tenant_id: str, event: OutboxEvent) -> None:
        """Put a fact of a live call into the outbox, without waiting; a call's facts are written in their order."""
        if self._closed:
            self._lose(1, "closed", [call_id])
            return
        self._notes.append(Note(call_id, tenant_id, event))
        self._noted.set()
        self._trim()

    async def finish(self, finished: FinishedCall) -> None:
        """
        Write a call that is over, after its notes; return when it is safe: in PostgreSQL, or on disk.

        Cancelled, it goes to disk first. Raises `Unavailable` where neither takes it; it stays in memory then and is
        tried again as long as the process lives. A second time changes nothing.
        """
        try:
            with contextlib.suppress(Unavailable):  # the end is worth more than what led to it
                await self._put_notes()
            if not self._direct or await self._finish(finished) is not Outcome.WRITTEN:
                await self._keep(finished)
        except trio.Cancelled:
            with trio.move_on_after(self._deadlines.keep, shield=True), contextlib.suppress(Unavailable):
                await self._keep(finished)
            raise

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Write notes each tick and replay the disk; when cancelled, write or keep the rest and `close`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_notes)
                task_status.started()
                await self._write_kept()
        finally:
            await self.close()  # noqa: ASYNC102 - it shields and bounds itself
        raise AssertionError  # pragma: no cover

    async def close(self) -> None:
        """Write what is in memory, or put it on disk, within a deadline; take no more notes; harmless twice."""
        self._closed = True
        with trio.move_on_after(self._deadlines.close, shield=True):
            with trio.move_on_after(self._deadlines.last_write), contextlib.suppress(Unavailable):
                await self._put_notes()
            if self._notes:
                self._pen.healthy = False
                with contextlib.suppress(Unavailable):
                    await self._put_notes()
            await self._let_go()
        calls = sorted({note.call_id for note in self._notes} | {call.call_id for call in self._held})
        left = len(self._notes) + len(self._held)
        self._notes.clear()
        self._held.clear()
        self._lose(left, "closed", calls)

    @property
    def _direct(self) -> bool:
        return self.healthy and not self._replay.owes_notes

    async def _finish(self, finished: FinishedCall) -> Outcome:
        return await self._pen.finish(finished, self._deadlines.write)

    async def _write_notes(self) -> NoReturn:
        while True:
            await self._noted.wait()
            await trio.sleep(TICK if self.healthy else AWAY_TICK)
            with contextlib.suppress(Unavailable):  # the disk has said so, and the notes are still here
                await self._put_notes()

    async def _write_kept(self) -> NoReturn:
        pause = self._deadlines.first_pause
        while True:
            self._kept = trio.Event()
            held = await self._let_go()
            if await self._replay.catch_up() and held:
                pause = self._deadlines.first_pause
                with trio.move_on_after(LOOK):
                    await self._kept.wait()
            else:
                await trio.sleep(pause)
                pause = min(2 * pause, self._deadlines.longest_pause)

    async def _put_notes(self) -> None:
        """Write the notes in memory, or put them on disk; those that are not safe then stay in memory."""
        async with self._noting:
            notes = list(self._notes)
            self._notes.clear()
            try:
                if notes and not (self._direct and await self._try_notes(notes)):
                    await self._keep_notes(notes)
                notes.clear()
            finally:
                self._notes.extendleft(reversed(notes))
                self._trim()
                if not self._notes and self._noted.is_set():  # else its writer waits for this one
                    self._noted = trio.Event()

    async def _try_notes(self, notes: list[Note]) -> bool:
        return await self._pen.note(notes, self._deadlines.write) is Outcome.WRITTEN

    async def _keep_notes(self, notes: list[Note]) -> None:
        full: Unavailable | None = None
        try:
            await self._replay.keep(notes)
        except Unavailable as error:
            full = error
        if full and not await self._try_notes(notes):
            raise full
        self._kept.set()

    async def _keep(self, finished: FinishedCall) -> None:
        try:
            await self._replay.keep(finished)
        except Unavailable:
            self._held.append(finished)
            if len(self._held) > MOST_HELD:
                self._lose(1, "disk_full", [self._held.popleft().call_id])
            raise
        finally:
            self._kept.set()

    async def _let_go(self) -> bool:
        """Put the calls held in memory on disk, or write them; tell whether none is left."""
        while self._held:
            finished = self._held[0]
            try:
                await self._replay.keep(finished)
            except Unavailable:
                if await self._finish(finished) is not Outcome.WRITTEN:
                    return False
            with contextlib.suppress(ValueError):  # it may have had to make room meanwhile
                self._held.remove(finished)
        return True

    def _trim(self) -> None:
        while len(self._notes) > MOST_NOTES:
            self._lose(1, "disk_full", [self._notes.popleft().call_id])

    def _lose(self, count: int, why: str, calls: Iterable[str]) -> None:
        if count:
            self.lost += count
            log.error("ledger_lost_records", why=why, calls=list(calls), lost=self.lost)
