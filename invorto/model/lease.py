"""The nouns of capacity: what a call claims, at which levels, and what it is answered."""

from __future__ import annotations

from typing import Literal

import attrs

type Scope = Literal["global", "tenant", "campaign", "number"]
type Phase = Literal["reserved", "live"]
"""Reserved: its media is not open yet, and the node where it opens adopts it."""


@attrs.frozen
class Level:
    """One limit that a call counts against; *limit* 0 is no limit, and the call is counted all the same."""

    scope: Scope
    id: str
    limit: int


@attrs.frozen(kw_only=True)
class Claim:
    """What a node asks a slot for; *ticket* is this attempt's own, so that asking again is not asking twice."""

    call_id: str
    ticket: str
    levels: tuple[Level, ...]
    """All are taken or none; the global one is first."""
    phase: Phase = "live"
    floor: int = 0
    """The newest epoch that is known of the call: the lease's is above it."""
    spare: int = 0
    """Slots of the global limit that this call must leave to others."""

    @property
    def tenant_id(self) -> str:
        """Whose call it is."""
        return next((level.id for level in self.levels if level.scope == "tenant"), "")

    @property
    def campaign_id(self) -> str | None:
        """The campaign that it belongs to."""
        return next((level.id for level in self.levels if level.scope == "campaign"), None)


@attrs.frozen(kw_only=True)
class Grant:
    """A lease that was taken."""

    epoch: int
    """Microseconds of Redis's time, at least the last one + 1."""
    levels: tuple[Level, ...]
    """Where it is counted: as it was reserved, where it is adopted."""
    adopted_from: str | None = None
    """The node that had reserved it."""


@attrs.frozen(kw_only=True)
class Holding:
    """A lease as its node remembers it, for renewal."""

    claim: Claim
    epoch: int
    unleased: bool = False
    """Admitted while Redis was away: to be registered whether there is room or not."""


type Renewal = Literal["renewed", "retaken", "registered", "taken", "lost"]
"""*retaken*: it was gone, and there was room. *registered*: it was gone, and is counted whatever the limits say.
*taken*: another node has it now. *lost*: it was gone, and there is no room."""


@attrs.frozen(kw_only=True)
class Beat:
    """What Redis answered to a node's renewal of all its leases."""

    opens_in: float
    """Seconds until admission opens again; 0: it is open."""
    fresh: bool
    """Whether Redis had come back empty, or as another process, and this was the first to notice."""
    nodes: int
    """Nodes that renewed within the lease's length, this one among them."""
    renewals: dict[str, Renewal]
    """By call."""


@attrs.frozen(kw_only=True)
class Owner:
    """Which node holds a call, and since which epoch."""

    node_id: str
    epoch: int
    phase: Phase
    tenant_id: str
    expires_in: float
    """Seconds; negative: it has run out, and nobody has swept it yet."""
    campaign_id: str | None = None


@attrs.frozen(kw_only=True)
class Counts:
    """How many slots are held now."""

    everything: int
    tenants: dict[str, int]
    campaigns: dict[str, int]
    numbers: dict[str, int]
    nodes: tuple[str, ...]
    """Those that renewed within the lease's length."""
    opens_in: float
