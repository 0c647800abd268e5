"""What is on disk goes to PostgreSQL, the oldest first; what it will never take is set aside and holds up nothing."""

from __future__ import annotations

import msgspec

from invorto.errors import Unavailable
from invorto.model.record import FinishedCall
from invorto.storage.json_text import json_text
from invorto.storage.pen import Outcome, Pen
from invorto.storage.spool import Record, Spool
from invorto.storage.system import Note

FINISHED, NOTES = "finished", "notes"
"""The kinds of records."""
TRIES = 5
"""Refusals after which a record is set aside: a deadlock or a lock that timed out is over by then, bad data is not."""


class Replay:
    """The spool of a ledger, and how far it has been written."""

    def __init__(self, spool: Spool, pen: Pen, seconds: float) -> None:
        """Give each record *seconds* to be written: nobody waits for it."""
        self._spool, self._pen, self._seconds = spool, pen, seconds
        self._refusals: dict[str, int] = {}
        self._notes: set[str] = set()
        self.files = 0
        """How many records are on disk, as far as known."""

    @property
    def owes_notes(self) -> bool:
        """Whether notes that this process put on disk are unwritten: later ones have to queue behind them."""
        return bool(self._notes)

    async def keep(self, value: FinishedCall | list[Note]) -> None:
        """Put on disk; raises `Unavailable` where it cannot be."""
        kind = NOTES if isinstance(value, list) else FINISHED
        name = await self._spool.put(kind, json_text(value))
        self.files += 1
        if kind == NOTES:
            self._notes.add(name)

    async def catch_up(self) -> bool:
        """Write what is on disk; tell whether all of it is settled."""
        ours = set(self._notes)
        try:
            names = await self._spool.names()
            self._notes -= ours - set(names)  # another process of this folder was quicker
            self.files, settled = len(names), True
            for name in names:
                record = await self._spool.read(name)
                outcome = await self._write(record) if record else Outcome.WRITTEN
                if outcome is Outcome.AWAY:
                    return False
                settled &= await self._settle(name, outcome)
        except Unavailable:  # the disk, which has said so
            return False
        return settled

    async def _settle(self, name: str, outcome: Outcome) -> bool:
        if outcome is Outcome.REFUSED:
            self._refusals[name] = self._refusals.get(name, 0) + 1
            if self._refusals[name] < TRIES:
                return False
            await self._spool.set_aside(name, "PostgreSQL does not take it")
        else:
            await self._spool.remove(name)
        self._refusals.pop(name, None)
        self._notes.discard(name)
        self.files -= 1
        return True

    async def _write(self, record: Record) -> Outcome:
        try:
            match record.kind:
                case "finished":
                    return await self._pen.finish(msgspec.json.decode(record.body, type=FinishedCall), self._seconds)
                case "notes":
                    return await self._write_notes(msgspec.json.decode(record.body, type=list[Note]))
                case kind:
                    why = f"no kind of record is called {kind}"
        except msgspec.MsgspecError as error:  # from another version, or written by hand
            why = str(error)
        await self._spool.set_aside(record.name, why)
        return Outcome.WRITTEN

    async def _write_notes(self, notes: list[Note]) -> Outcome:
        """Write a batch; if it is refused, note by note, so that one bad note takes no other with it."""
        outcome = await self._pen.note(notes, self._seconds)
        if outcome is not Outcome.REFUSED or len(notes) == 1:
            return outcome
        for note in notes:
            outcome = await self._pen.note([note], self._seconds)
            if outcome is Outcome.AWAY:
                return outcome
            if outcome is Outcome.REFUSED:
                await self.keep([note])
        return Outcome.WRITTEN
