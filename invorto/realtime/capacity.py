"""Slots: one of this node's seats and a lease at every level, held for as long as a call lives."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import NoReturn

import attrs
import structlog
import trio
from prometheus_client import CollectorRegistry

from invorto.errors import InvortoError, LimitReached, StoreUnavailable, Unavailable
from invorto.model.call import Call, Direction, EndReason
from invorto.model.lease import Beat, Claim, Level, Phase, Renewal
from invorto.observability.capacity import CapacityMetrics
from invorto.realtime.live import RETRY_AFTER, LiveCalls
from invorto.realtime.slots import Caps, Deadlines, Leases, Slot

log = structlog.get_logger(__name__)


async def _somebody() -> bool:
    await trio.lowlevel.checkpoint()
    return False


@attrs.define(eq=False)
class Capacity:
    """
    The slots of one node, and their keeper.

    `run` renews every third of the leases' length; it must run for slots to last. While Redis is away live calls go on,
    and inbound and web calls are admitted up to this node's share of the global limit.
    """

    leases: Leases
    live: LiveCalls
    caps: Caps
    wall: Callable[[], float]
    """Unix time, seconds: makes epochs while Redis is away, and nothing else."""
    caps_of: Callable[[Call], Awaitable[Caps]] | None = None
    """Looks up what a call's tenant, campaign and number may, where it differs from *caps*."""
    allowed: Callable[[Call], Awaitable[None]] | None = None
    """Refuses a call whose tenant may have no more of them today: `LimitReached`."""
    nobody: Callable[[], Awaitable[bool]] = _somebody
    """Tells whether no call is held anywhere, as far as is written: then an empty Redis is a new one."""
    measures: CapacityMetrics = attrs.field(factory=lambda: CapacityMetrics(CollectorRegistry()))
    deadlines: Deadlines = attrs.field(factory=Deadlines)
    reached: bool = attrs.field(default=False, init=False)
    """Whether Redis answered the last time."""
    nodes: int = attrs.field(default=1, init=False)
    """How many nodes there were when Redis last answered."""
    opens_at: float = attrs.field(default=float("inf"), init=False)
    """When admission is open again, after Redis came back empty."""
    _slots: dict[str, Slot] = attrs.field(factory=dict, init=False)
    _owed: list[Claim] = attrs.field(factory=list, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def held(self) -> int:
        """How many slots this node holds, reservations among them."""
        return len(self._slots)

    @property
    def owed(self) -> int:
        """How many leases are still to be given back, since Redis was away when their calls ended."""
        return len(self._owed)

    @property
    def closed(self) -> float:
        """Seconds until admission is open again."""
        return max(0.0, min(self.opens_at - trio.current_time(), self.leases.ttl))

    def ids(self) -> frozenset[str]:
        """Name the calls whose slots this node holds."""
        return frozenset(self._slots)

    @asynccontextmanager
    async def slot(
        self, call: Call, *, local_engines: bool = False, adopting: bool = False, number: str | None = None
    ) -> AsyncGenerator[Slot]:
        """
        Hold a slot for *call* while the block lasts, or refuse at once.

        A reservation of this call is taken over: this node's own, or, *adopting*, another's, which may pass this node's
        limit. Raises `LimitReached` with the level, `Conflict` for a call that is live elsewhere, `Unavailable`
        (``capacity_unknown``) where nobody can know.
        """
        slot = await self._take(call, "live", local_engines=local_engines, over=adopting, number=number)
        try:
            yield slot
        finally:
            await self._give_back(slot)  # noqa: ASYNC102 - it shields and bounds itself

    async def reserve(self, call: Call, *, local_engines: bool = False, number: str | None = None) -> Slot:
        """
        Hold a slot for a call whose media is still to open, here or on another node, for a minute.

        Then it is given back by itself; errors are those of `slot`.
        """
        slot = await self._take(call, "reserved", local_engines=local_engines, over=False, number=number)
        slot.until = trio.current_time() + self.deadlines.reservation
        self._wake.set()
        return slot

    async def cancel(self, call_id: str) -> None:
        """Give back a reservation; harmless where there is none, or where the call is live."""
        slot = self._slots.get(call_id)
        if slot is not None and slot.claim.phase == "reserved":
            await self._give_back(slot)
        else:
            await trio.lowlevel.checkpoint()

    # -- taking and giving back -------------------------------------------------------------------

    async def _take(self, call: Call, phase: Phase, *, local_engines: bool, over: bool, number: str | None) -> Slot:
        mine = self._slots.get(call.id)
        if mine is not None and mine.claim.phase == "reserved":
            mine.claim, mine.until = attrs.evolve(mine.claim, phase=phase), float("inf")
            self._wake.set()  # the lease says so from the next renewal on, which is now
            await trio.lowlevel.checkpoint()
            return mine
        with self._measured():
            if self.allowed is not None and not over:
                await self.allowed(call)
            self.live.sit(call.id, local_engines=local_engines, over=over)
            try:
                claim = await self._claim(call, phase, number)
                slot = await self._lease(claim, call)
            except BaseException:
                self.live.rise(call.id)
                raise
        self._slots[call.id] = slot
        return slot

    @contextmanager
    def _measured(self) -> Generator[None]:
        """Time how long a slot takes, and count what is refused."""
        began = trio.current_time()
        try:
            yield
        except LimitReached as full:
            self.measures.refused(full.scope)
            raise
        except Unavailable as unknown:
            if unknown.code == "capacity_unknown":
                self.measures.refused("unknown")
            raise
        self.measures.acquire.observe(trio.current_time() - began)

    async def _claim(self, call: Call, phase: Phase, number: str | None) -> Claim:
        caps = self.caps if self.caps_of is None else await self.caps_of(call)
        levels = [Level("global", "", caps.everything), Level("tenant", call.tenant_id, caps.tenant)]
        if call.campaign_id is not None:
            levels.append(Level("campaign", call.campaign_id, caps.campaign))
        if number is not None and caps.number:
            levels.append(Level("number", number, caps.number))
        ticket = secrets.token_hex(8)
        return Claim(call_id=call.id, ticket=ticket, levels=tuple(levels), phase=phase, floor=call.epoch)

    async def _lease(self, claim: Claim, call: Call) -> Slot:
        if self.reached:
            try:
                with trio.fail_after(self.deadlines.take):
                    grant = await self.leases.take(claim)
                return Slot(attrs.evolve(claim, levels=grant.levels), grant.epoch)
            except (StoreUnavailable, trio.TooSlowError) as error:
                self._away(error)
            except Unavailable:
                self._wake.set()  # Redis is back empty: what this node holds is registered now
                raise
            except trio.Cancelled:
                self._owe(claim)
                raise
        try:
            self._share(call)
        except InvortoError:
            self._owe(claim)  # perhaps it was taken, and the answer was lost
            raise
        return Slot(claim, max(int(self.wall() * 1_000_000), call.epoch + 1), unleased=True)

    def _share(self, call: Call) -> None:
        """Admit without a lease what may be: inbound and web calls, up to this node's share."""
        if call.direction is Direction.OUTBOUND:
            raise Unavailable("it is not known how many calls there are", "capacity_unknown", RETRY_AFTER)
        share = self.caps.everything // max(self.nodes, 1)
        if self.caps.everything and self.live.held > share:  # this call has its seat already
            raise LimitReached("global", share, self.live.held - 1, RETRY_AFTER)

    async def _give_back(self, slot: Slot) -> None:
        if self._slots.get(slot.claim.call_id) is slot:
            del self._slots[slot.claim.call_id]
            released = False
            try:
                with trio.move_on_after(self.deadlines.release, shield=True):
                    await self.leases.release([slot.claim])
                    released = True
            except InvortoError as error:
                self._away(error)
            finally:
                if not released:
                    self._owe(slot.claim)
                self.live.rise(slot.claim.call_id)

    def _owe(self, claim: Claim) -> None:
        self._owed.append(claim)
        self._wake.set()

    # -- the keeper -------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Renew what this node holds, register it anew where Redis has lost it, and give back what is owed."""
        try:
            await self.beat()
            task_status.started()
            while True:
                with trio.move_on_after(self._pause()):
                    await (self._wake if self.reached else trio.Event()).wait()
                self._wake = trio.Event()
                await self.beat()
        finally:
            with trio.move_on_after(self.deadlines.release, shield=True):
                await self._close()

    def _pause(self) -> float:
        """Seconds until there is something to do: a third of a lease, the end of a reservation, another try."""
        third = self.leases.ttl / 3
        if not self.reached:
            return min(third, self.deadlines.again)
        ends = min((slot.until for slot in self._slots.values()), default=float("inf"))
        return max(0.0, min(third, ends - trio.current_time()))

    async def beat(self) -> bool:
        """Renew everything once; tells whether Redis was there."""
        now = trio.current_time()
        for slot in [slot for slot in self._slots.values() if slot.until <= now]:
            log.info("reservation_over", call_id=slot.claim.call_id)
            await self._give_back(slot)
        slots, owed = dict(self._slots), list(self._owed)
        try:
            with trio.fail_after(self.deadlines.beat):
                beat = await self.leases.beat([slot.holding for slot in slots.values()])
                # What ended meanwhile may have been taken again by this very renewal.
                owed += [slot.claim for id, slot in slots.items() if self._slots.get(id) is not slot]
                await self.leases.release(owed)
                if beat.opens_in and not slots and await self.nobody() and await self.leases.open():
                    beat = attrs.evolve(beat, opens_in=0.0)
        except (StoreUnavailable, trio.TooSlowError) as error:
            self._away(error)
            return False
        self._owed = [claim for claim in self._owed if claim not in owed]
        self._back(beat)
        for call_id, renewal in beat.renewals.items():
            slot = slots[call_id]
            if self._slots.get(call_id) is slot:
                await self._renewed(slot, renewal)
        return True

    async def _renewed(self, slot: Slot, renewal: Renewal) -> None:
        call_id = slot.claim.call_id
        if renewal == "taken" and slot.claim.phase == "reserved":
            log.info("reservation_adopted", call_id=call_id)
            del self._slots[call_id]  # the lease is another node's now: only the seat is given back
            self.live.rise(call_id)
        elif renewal in {"taken", "lost"}:
            self.measures.lost()
            log.warning("slot_lost", call_id=call_id, how=renewal, epoch=slot.epoch)
            if (call := self.live.get(call_id)) is not None:
                call.leave(EndReason.CAPACITY_LOST)
            elif slot.claim.phase == "reserved":
                await self._give_back(slot)
        else:
            if renewal == "registered":
                self.measures.registered()
            if renewal != "renewed":
                log.info("slot_taken_again", call_id=call_id, how=renewal, epoch=slot.epoch)
            slot.unleased = False

    async def _close(self) -> None:
        try:
            await self.leases.release([*self._owed, *(slot.claim for slot in self._slots.values())])
            await self.leases.leave()
        except InvortoError as error:
            log.warning("leases_left", error=str(error))

    def _away(self, error: Exception) -> None:
        if self.reached:
            log.warning("capacity_unknown", error=str(error) or "no answer", held=self.held, nodes=self.nodes)
        self.reached = False
        self._wake.set()

    def _back(self, beat: Beat) -> None:
        if not self.reached or beat.fresh:
            log.info("capacity_known", nodes=beat.nodes, opens_in=beat.opens_in, held=self.held)
        self.reached, self.nodes = True, beat.nodes
        self.opens_at = trio.current_time() + beat.opens_in
