"""What one node has of each endpoint: claims, and the requests that are in flight (bookkeeping, without waiting)."""

from __future__ import annotations

import attrs
import trio

from invorto.outgoing.client import Client
from invorto.storage.webhook_queue import IN_FLIGHT, SICK, Claim, Receiver


@attrs.define(eq=False)
class Lane:
    """One endpoint's."""

    in_flight: trio.CapacityLimiter
    room: int
    """Claims that the queue gives at a time."""
    greedy: bool = False
    """Whether the next one may be waiting for the end of any of them."""
    held: int = 0
    failures: int = 0
    """In a row, as far as this node saw."""

    @property
    def full(self) -> bool:
        """Whether it is of no use to ask for more."""
        return self.held >= self.room

    def ended(self, *, ok: bool) -> None:
        """Take note of how an attempt ended: after some failures there is one request at a time, until one arrives."""
        self.failures = 0 if ok else self.failures + 1
        if ok:
            self.in_flight.total_tokens = IN_FLIGHT
        elif self.failures >= SICK:
            self.in_flight.total_tokens = 1


class Lanes:
    """All endpoints' of which this node holds claims."""

    def __init__(self) -> None:
        self._lanes: dict[str, Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def full(self) -> list[str]:
        """The endpoints that have as much as they may."""
        return [name for name, lane in self._lanes.items() if lane.full]

    def take(self, receiver: Receiver) -> Lane:
        """Give an endpoint's lane for one more claim."""
        lane = self._lanes.get(receiver.id)
        if lane is None:
            lane = self._lanes[receiver.id] = Lane(trio.CapacityLimiter(receiver.in_flight), receiver.room)
        if not lane.failures:
            lane.in_flight.total_tokens = receiver.in_flight
        lane.room = max(receiver.room, 1)
        lane.greedy = receiver.fifo
        lane.held += 1
        return lane

    def give_back(self, webhook_id: str) -> bool:
        """Take note that a claim is over; tell whether the queue may have more for the endpoint now."""
        lane = self._lanes[webhook_id]
        was_full = lane.full
        lane.held -= 1
        if not lane.held:
            del self._lanes[webhook_id]
        return lane.greedy or was_full or lane.held == lane.room // 2


@attrs.frozen(kw_only=True)
class Flight:
    """A delivery on its way."""

    claim: Claim
    receiver: Receiver
    lane: Lane
    client: Client
    until: float
    """When the claim ends, in Trio's time."""
