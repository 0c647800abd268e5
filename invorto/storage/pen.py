"""One try at PostgreSQL: written, away for now, or refused; and whether it was there the last time."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio

from invorto.errors import StoreUnavailable
from invorto.model.record import FinishedCall
from invorto.storage.system import Note

log = structlog.get_logger(__name__)

type Write = Callable[[FinishedCall], Awaitable[bool]]
"""Writes a finished call in one transaction; False: it was over already, or another owner has it: nothing changed."""
type WriteNotes = Callable[[Sequence[Note]], Awaitable[None]]
"""Writes facts to the outbox in one transaction; those that are there already are left out."""


class Outcome(enum.Enum):
    """What became of a try."""

    WRITTEN = "written"
    AWAY = "away"
    """PostgreSQL is away or too slow; perhaps it is written all the same."""
    REFUSED = "refused"
    """It is there and does not take this."""


class Pen:
    """Writes with the two writers of the ledger, each time within a deadline."""

    def __init__(self, write: Write, write_notes: WriteNotes) -> None:
        self._write, self._write_notes = write, write_notes
        self.healthy = True
        """Whether PostgreSQL was there at the last try."""

    async def finish(self, finished: FinishedCall, seconds: float) -> Outcome:
        """Try to write a finished call within *seconds*."""

        async def write() -> None:
            if not await self._write(finished):
                log.info("call_was_over_already", call_id=finished.call_id)

        return await self._try(write, seconds, calls=[finished.call_id])

    async def note(self, notes: Sequence[Note], seconds: float) -> Outcome:
        """Try to write *notes* within *seconds*, all or none."""

        async def write() -> None:
            await self._write_notes(notes)

        return await self._try(write, seconds, calls=sorted({note.call_id for note in notes}))

    async def _try(self, write: Callable[[], Awaitable[None]], seconds: float, calls: list[str]) -> Outcome:
        try:
            with trio.fail_after(seconds):
                await write()
        except (StoreUnavailable, trio.TooSlowError) as error:
            if self.healthy:
                log.warning("ledger_lost", error=str(error) or f"no answer in {seconds:g} s")
            self.healthy = False
            return Outcome.AWAY
        except Exception:  # whatever is wrong with one call, it is kept, and the others go on
            log.exception("ledger_write_refused", calls=calls)
            return Outcome.REFUSED
        if not self.healthy:
            log.info("ledger_back")
        self.healthy = True
        return Outcome.WRITTEN
