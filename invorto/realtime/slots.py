"""What slots are made of: where leases are kept, the limits, and how long all of it may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from invorto.model.lease import Beat, Claim, Grant, Holding


class Leases(Protocol):
    """Where leases are kept: `invorto.storage.leases.Leases`, and a fake in memory."""

    ttl: float
    """Seconds that a lease lasts unless it is renewed."""

    async def take(self, claim: Claim) -> Grant:
        """Take a lease at every level, or none."""
        ...

    async def release(self, claims: Sequence[Claim]) -> int:
        """Give back what is theirs still."""
        ...

    async def beat(self, holdings: Sequence[Holding]) -> Beat:
        """Renew all that this node holds."""
        ...

    async def open(self) -> bool:
        """Open admission where nobody has registered a call."""
        ...

    async def leave(self) -> None:
        """Say that this node is gone."""
        ...


@attrs.frozen(kw_only=True)
class Caps:
    """How many calls there may be at each level; 0: as many as come."""

    everything: int = 0
    tenant: int = 0
    campaign: int = 0
    number: int = 0


@attrs.frozen(kw_only=True)
class Deadlines:
    """How long Redis may take, seconds."""

    take: float = 1.0
    """For a caller who waits; after it Redis counts as away."""
    release: float = 2.0
    """At the end of a call; what is not given back then, the keeper gives back later."""
    beat: float = 4.0
    again: float = 1.0
    """Between two tries while Redis is away."""
    reservation: float = 60.0
    """Until the media of a reserved call must be open, on whatever node."""


@attrs.define(eq=False)
class Slot:
    """A seat of this node and a lease, for one call."""

    claim: Claim
    epoch: int
    """Fences the call's writes."""
    unleased: bool = False
    """Admitted while Redis was away, and not registered yet."""
    until: float = float("inf")
    """When a reservation ends."""

    @property
    def holding(self) -> Holding:
        """What is renewed."""
        return Holding(claim=self.claim, epoch=self.epoch, unleased=self.unleased)
