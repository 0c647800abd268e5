"""Leases in memory, for tests in virtual time and as the model that the script is held to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from invorto.errors import Conflict, LimitReached, StoreUnavailable, Unavailable
from invorto.model.lease import Beat, Claim, Counts, Grant, Holding, Level, Owner, Renewal

_SECOND = 1_000_000


@attrs.define
class _Lease:
    claim: Claim
    node: str
    epoch: int
    ends: int


@attrs.define
class LeaseBook:
    """What the Redis of a test would keep; *clock* gives seconds, and is Redis's."""

    clock: Callable[[], float] = trio.current_time
    away: bool = False
    """Nobody can reach it."""
    leases: dict[str, _Lease] = attrs.field(factory=dict)
    nodes: dict[str, int] = attrs.field(factory=dict)
    promised: dict[str, int] = attrs.field(factory=dict)
    opens: int | None = None
    last: int = 0
    most: dict[tuple[str, str], int] = attrs.field(factory=lambda: defaultdict(int))
    """The most slots ever held at each level."""

    @property
    def now(self) -> int:
        """Microseconds."""
        return round(self.clock() * _SECOND)

    def forget(self) -> None:
        """Come back empty."""
        self.leases.clear()
        self.nodes.clear()
        self.promised.clear()
        self.opens, self.last = None, 0

    def sweep(self) -> None:
        """Forget what ran out."""
        self.leases = {call: lease for call, lease in self.leases.items() if lease.ends > self.now}

    def count(self, level: Level) -> int:
        """Count what is held at a level."""
        name, now = (level.scope, level.id), self.now
        return sum(name in _names(lease.claim) and lease.ends > now for lease in self.leases.values())

    def full(self, claim: Claim, spare: int) -> tuple[Level, int] | None:
        """Give the first level without room, and what is held there."""
        for level in claim.levels:
            held, kept = self.count(level), 0
            if level.scope == "global":
                others = ((id, slots) for id, slots in self.promised.items() if id != claim.tenant_id)
                kept = spare + sum(max(0, slots - self.count(Level("tenant", id, 0))) for id, slots in others)
            if level.limit and held + kept >= level.limit:
                return level, held
        return None

    def put(self, claim: Claim, node: str, epoch: int, ttl: float) -> None:
        """Keep a lease."""
        self.leases[claim.call_id] = _Lease(claim, node, epoch, self.now + round(ttl * _SECOND))
        self.last = max(self.last, epoch)
        for level in claim.levels:
            self.most[level.scope, level.id] = max(self.most[level.scope, level.id], self.count(level))


def _names(claim: Claim) -> set[tuple[str, str]]:
    return {(level.scope, level.id) for level in claim.levels}


class FakeLeases:
    """One node's view of a `LeaseBook`; what each method does is told by `invorto.storage.leases.Leases`."""

    def __init__(self, book: LeaseBook, node_id: str, ttl: float) -> None:
        self.book, self.node_id, self.ttl = book, node_id, ttl
        self.cut = False
        """This node alone cannot reach it."""

    async def take(self, claim: Claim) -> Grant:
        """Take a lease at every level, or none."""
        book = await self._reach()
        if book.opens is None:
            raise Unavailable("not known yet", "capacity_unknown", self.ttl)
        if book.opens > book.now:
            raise Unavailable("not known yet", "capacity_unknown", (book.opens - book.now) / _SECOND)
        book.sweep()
        held = book.leases.get(claim.call_id)
        if held is not None and held.claim.ticket == claim.ticket:
            book.put(attrs.evolve(held.claim, phase=claim.phase), held.node, held.epoch, self.ttl)
            return Grant(epoch=held.epoch, levels=held.claim.levels)
        if held is not None and held.node != self.node_id and held.claim.phase != "reserved":
            raise Conflict(f"this call is live on {held.node}", "call_elsewhere")
        if held is None and (refusal := book.full(claim, claim.spare)):
            level, count = refusal
            raise LimitReached(level.scope, level.limit, count, 5.0)
        epoch = max(book.now, book.last + 1, claim.floor + 1, held.epoch + 1 if held else 0)
        kept = attrs.evolve(claim, levels=held.claim.levels) if held else claim
        book.put(kept, self.node_id, epoch, self.ttl)
        return Grant(
            epoch=epoch, levels=kept.levels, adopted_from=held.node if held and held.node != self.node_id else None
        )

    async def release(self, claims: Sequence[Claim]) -> int:
        """Give back what is theirs still."""
        book = await self._reach()
        released = 0
        for claim in claims:
            held = book.leases.get(claim.call_id)
            if held is not None and held.claim.ticket == claim.ticket:
                del book.leases[claim.call_id]
                released += 1
        return released

    async def beat(self, holdings: Sequence[Holding]) -> Beat:
        """Renew."""
        book = await self._reach()
        fresh = book.opens is None
        if book.opens is None:
            book.opens = book.now + round(self.ttl * _SECOND)
        book.sweep()
        book.nodes = {node: ends for node, ends in book.nodes.items() if ends > book.now}
        book.nodes[self.node_id] = book.now + round(self.ttl * _SECOND)
        renewals: dict[str, Renewal] = {one.claim.call_id: self._renew(one) for one in holdings}
        opens_in = max(0, book.opens - book.now) / _SECOND
        return Beat(opens_in=opens_in, fresh=fresh, nodes=len(book.nodes), renewals=renewals)

    def _renew(self, one: Holding) -> Renewal:
        book, held = self.book, self.book.leases.get(one.claim.call_id)
        if held is not None:
            same = held.claim.ticket == one.claim.ticket
            if not same and held.epoch >= one.epoch:
                return "taken"
            kept = attrs.evolve(one.claim, levels=held.claim.levels)
            book.put(kept, self.node_id, held.epoch if same else one.epoch, self.ttl)
            return "renewed"
        forced = one.unleased or (book.opens or 0) > book.now
        if not forced and book.full(one.claim, 0):
            return "lost"
        book.put(one.claim, self.node_id, one.epoch, self.ttl)
        return "registered" if forced else "retaken"

    async def open(self) -> bool:
        """Open admission where nobody has registered a call."""
        book = await self._reach()
        if book.opens is None or book.leases:
            return False
        book.opens = book.now
        return True

    async def leave(self) -> None:
        """Be gone."""
        (await self._reach()).nodes.pop(self.node_id, None)

    async def promise(self, slots: Mapping[str, int]) -> None:
        """Keep slots free."""
        (await self._reach()).promised = dict(slots)

    async def owner_of(self, call_id: str) -> Owner | None:
        """Tell which node holds a call."""
        owner = (await self.owners([call_id])).get(call_id)
        return owner if owner is not None and owner.expires_in > 0 else None

    async def owners(self, call_ids: Sequence[str]) -> dict[str, Owner]:
        """Tell who holds calls."""
        book = await self._reach()
        return {call: self._owner(book.leases[call]) for call in call_ids if call in book.leases}

    async def page(self, tenant_id: str | None, skip: int, most: int) -> list[tuple[str, Owner]]:
        """Give some of the calls that hold a slot."""
        book = await self._reach()
        found = [(call, lease) for call, lease in book.leases.items() if tenant_id in {None, lease.claim.tenant_id}]
        found.sort(key=lambda pair: (pair[1].ends, pair[0]))
        return [(call, self._owner(lease)) for call, lease in found if lease.ends > book.now][skip : skip + most]

    async def counts(self) -> Counts:
        """Count what is held."""
        book = await self._reach()
        book.sweep()
        held: dict[str, dict[str, int]] = {"global": {}, "tenant": {}, "campaign": {}, "number": {}}
        for lease in book.leases.values():
            for scope, id in _names(lease.claim):
                held[scope][id] = held[scope].get(id, 0) + 1
        return Counts(
            opens_in=max(0, (book.opens or book.now) - book.now) / _SECOND, everything=len(book.leases),
            tenants=held["tenant"], campaigns=held["campaign"], numbers=held["number"], nodes=tuple(book.nodes),
        )  # fmt: skip

    def _owner(self, lease: _Lease) -> Owner:
        left = (lease.ends - self.book.now) / _SECOND
        claim = lease.claim
        return Owner(
            node_id=lease.node, epoch=lease.epoch, phase=claim.phase, tenant_id=claim.tenant_id, expires_in=left,
            campaign_id=claim.campaign_id,
        )  # fmt: skip

    async def _reach(self) -> LeaseBook:
        await trio.lowlevel.checkpoint()
        if self.book.away or self.cut:
            raise StoreUnavailable("the leases of this test are away")
        return self.book
