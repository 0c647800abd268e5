"""Leases of tests: claims in a line, and the same nodes over a Redis or in memory."""

from __future__ import annotations

import attrs

from invorto.model.lease import Claim, Level, Phase
from invorto.storage.fake_leases import FakeLeases, LeaseBook
from invorto.storage.leases import Leases
from invorto.storage.redis import Commands

TTL = 30.0


def claim(
    call_id: str,
    *,
    ticket: str | None = None,
    everything: int = 0,
    tenant: tuple[str, int] = ("t_1", 0),
    campaign: tuple[str, int] | None = None,
    number: tuple[str, int] | None = None,
    phase: Phase = "live",
    floor: int = 0,
    spare: int = 0,
) -> Claim:
    """Make a claim."""
    levels = [Level("global", "", everything), Level("tenant", *tenant)]
    levels += [Level("campaign", *campaign)] if campaign else []
    levels += [Level("number", *number)] if number else []
    shown = ticket or f"ticket of {call_id}"
    return Claim(call_id=call_id, ticket=shown, levels=tuple(levels), phase=phase, floor=floor, spare=spare)


@attrs.frozen
class Nodes:
    """Nodes that share one place for leases."""

    redis: Commands | None
    book: LeaseBook | None
    ttl: float = TTL

    def node(self, name: str = "n_1") -> Leases | FakeLeases:
        """Give one of them."""
        if self.redis is not None:
            return Leases(self.redis, name, self.ttl)
        assert self.book is not None
        return FakeLeases(self.book, name, self.ttl)

    async def open(self, name: str = "n_1") -> Leases | FakeLeases:
        """Give one, with admission open."""
        node = self.node(name)
        await node.beat([])
        await node.open()
        return node

    async def forget(self) -> None:
        """Lose everything."""
        if self.redis is not None:
            await self.redis.call("FLUSHALL")
        if self.book is not None:
            self.book.forget()
