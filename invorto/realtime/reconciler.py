"""The reconciler: compares leases, rows and what this node holds, and ends the calls of nodes that are lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

import attrs
import structlog
import trio

from invorto.convert import ANSWERS, structure
from invorto.errors import Invalid, InvortoError
from invorto.model.agent import AgentConfig
from invorto.model.agent_document import resolve
from invorto.model.call import Call
from invorto.model.lease import Owner
from invorto.model.record import FinishedCall, TimelineEvent
from invorto.observability.metrics import Metrics
from invorto.realtime.capacity import Capacity
from invorto.realtime.drift import Stuck, disagreements
from invorto.realtime.lost import Salvaged, lost_call
from invorto.realtime.promises import guaranteed
from invorto.realtime.wavfile import repair
from invorto.storage import calls, system
from invorto.storage.leases import Leases
from invorto.storage.postgres import Database
from invorto.storage.system import LiveCall
from invorto.storage.timeline import Timeline

log = structlog.get_logger(__name__)

EVERY = 30.0
"""Seconds between two looks."""
PAGE = 1000
"""Leases, rows or events that are read at once."""
MOST_CALLS = 20_000
"""Live calls that are compared; more are compared when those have ended."""
LOOK = 20.0
"""Seconds that a look may take."""


class Ledger(Protocol):
    """Where what a call leaves is kept."""

    async def finish(self, finished: FinishedCall) -> None:
        """Keep it; returns when it is safe."""
        ...


@attrs.frozen(kw_only=True)
class Truth:
    """What is written of calls that go on."""

    rows: list[LiveCall]
    owners: dict[str, Owner]


@attrs.define(eq=False, kw_only=True)
class Reconciler:
    """
    One for each node; any of them may finish a call whose node is lost, and one of them does.

    A row that goes on without a lease for *patience* seconds, seen so by this node without a break, is claimed with a
    higher epoch and finished. While Redis is away, or nodes register what they hold, nothing is known and nothing done.
    """

    node_id: str
    database: Database
    leases: Leases
    capacity: Capacity
    ledger: Ledger
    timeline: Timeline
    recordings: Path
    metrics: Metrics
    patience: float
    """Seconds: the length of a lease, and the time that a dropped socket has to come back."""
    usd_inr: float
    address: str = ""
    every: float = EVERY
    _missing: dict[tuple[str, int], float] = attrs.field(factory=dict, init=False)
    """When a call was first seen without a lease, by its id and epoch."""
    _last: frozenset[tuple[str, str]] = attrs.field(factory=frozenset[tuple[str, str]], init=False)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Look every thirty seconds, or when a lost call is due."""
        task_status.started()
        while True:
            with trio.move_on_after(LOOK):  # noqa: ASYNC912 - it asks both stores
                await self.look()
            await trio.sleep(self._pause())

    def _pause(self) -> float:
        now = trio.current_time()
        due = min((since + self.patience - now for since in self._missing.values()), default=self.every)
        return min(self.every, max(due, self.every / 10))

    async def look(self) -> list[str]:
        """Compare once; gives the calls that were finished. Errors of a store are a reason to look later."""
        if not self._certain():
            self._missing.clear()
            return []
        try:
            await self.leases.promise(await guaranteed(self.database))
            truth = await read_truth(self.database, self.leases)
            self.metrics.capacity.counted((await self.leases.counts()).everything, self.capacity.caps.everything)
        except InvortoError as error:
            log.info("reconciling_put_off", error=str(error))
            self._missing.clear()
            return []
        if not self._certain():
            self._missing.clear()
            return []
        stuck = disagreements(truth.rows, truth.owners, self.capacity.ids())
        self._tell(stuck)
        return await self._finish_lost(truth, stuck)

    def _certain(self) -> bool:
        return self.capacity.reached and self.capacity.opens_at <= trio.current_time()

    def _tell(self, stuck: Iterable[Stuck]) -> None:
        """Count and log what disagrees in two looks: in one, a call may just be beginning or ending."""
        names = {(one.call_id, one.problem): one for one in stuck}
        again = [one for name, one in names.items() if name in self._last]
        self._last = frozenset(names)
        self.metrics.capacity.drift(one.problem for one in again)
        for one in again[:20]:
            log.warning("capacity_drift", call_id=one.call_id, problem=one.problem, node=one.node_id)

    async def _finish_lost(self, truth: Truth, stuck: Iterable[Stuck]) -> list[str]:
        now = trio.current_time()
        rows = {row.id: row for row in truth.rows}
        lost = [rows[one.call_id] for one in stuck if one.problem == "no_lease"]
        self._missing = {(row.id, row.epoch): self._missing.get((row.id, row.epoch), now) for row in lost}
        done: list[str] = []
        for row in lost:
            if now - self._missing[row.id, row.epoch] < self.patience:
                continue
            try:
                if await self._finish(row):
                    done.append(row.id)
            except InvortoError as error:
                log.warning("lost_call_left", call_id=row.id, error=str(error))
        return done

    async def _finish(self, row: LiveCall) -> bool:
        if await self.leases.owner_of(row.id) is not None or not self._certain():
            return False  # its node is there after all
        epoch = await system.claim(self.database, row, self.node_id)
        if epoch is None:
            return False
        detail = await calls.detail(self.database, row.tenant_id, row.id)
        call = attrs.evolve(detail["call"], epoch=epoch)
        events = await self._events(row.id)
        record = lost_call(
            call, _agent(detail["agent"] or {}), events,
            recording=await self._salvage(call), usd_inr=self.usd_inr, address=self.address,
        )  # fmt: skip
        await self.ledger.finish(record)
        self.timeline.append(call.id, record.timeline[-1])
        await self.timeline.expire(call.id)
        self.metrics.call_ended(record)
        log.warning("lost_call_ended", call_id=call.id, node=row.node_id, events=len(events))
        return True

    async def _events(self, call_id: str) -> list[TimelineEvent]:
        events: list[TimelineEvent] = []
        while page := await self.timeline.read(call_id, after=events[-1].id if events else None, count=PAGE):
            events += page
        return events

    async def _salvage(self, call: Call) -> Salvaged | None:
        """Repair the recording's header, where there is a recording on this machine."""
        name = f"{call.tenant_id}/{call.id}.wav"
        try:
            seconds, rate = await trio.to_thread.run_sync(_repaired, self.recordings / name)
        except (OSError, Invalid):
            return None
        return Salvaged(path=name, seconds=seconds, rate=rate)


def _agent(document: Mapping[str, Any]) -> AgentConfig:
    """Make the configuration of what was kept: whole where the call had begun, else what its agent says."""
    try:
        return structure(document, AgentConfig, ANSWERS)
    except Invalid:
        return resolve(document, {})


def _repaired(path: Path) -> tuple[float, int]:
    seconds = repair(path)
    with path.open("rb") as file:
        return seconds, int.from_bytes(file.read(28)[24:28], "little")


async def read_truth(database: Database, leases: Leases) -> Truth:
    """Read all rows of live calls, and all leases; `StoreUnavailable` where either store is away."""
    owners: dict[str, Owner] = {}
    while page := await leases.page(None, len(owners), PAGE):
        before = len(owners)
        owners |= dict(page)
        if len(page) < PAGE or len(owners) == before:
            break
    rows = await system.live_calls(database, MOST_CALLS)
    # A call may have begun after its lease was looked for, and before its row was.
    absent = [row.id for row in rows if row.id not in owners]
    for at in range(0, len(absent), PAGE):
        owners |= await leases.owners(absent[at : at + PAGE])
    return Truth(rows=rows, owners=owners)
