"""The calls that are alive in this process: how many there may be, and how to reach one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from invorto.errors import Conflict, LimitReached, Unavailable

if TYPE_CHECKING:
    from invorto.model.call import EndReason
    from invorto.realtime.livecall import LiveCall

RETRY_AFTER = 5.0
"""Seconds after which a refused caller may try again: about when the next of many calls ends."""


class Capacity(Protocol):
    """Something that knows how many calls it can keep up with."""

    capacity: int | None
    """None: as many as come, or not known yet."""


@attrs.define
class LiveCalls:
    """One for each process; the node's own limit on calls."""

    limit: int
    engines: Capacity | None = None
    """The engines of this machine, which may hold fewer calls than the node."""
    draining: bool = False
    _calls: dict[str, LiveCall] = attrs.field(factory=dict)
    _seats: trio.CapacityLimiter = attrs.field(init=False)
    _seated: set[str] = attrs.field(factory=set[str])
    _engine_seats: set[str] = attrs.field(factory=set[str])
    _standing: set[str] = attrs.field(factory=set[str])
    """Calls beyond the limit, adopted from other nodes."""
    _leaving: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def __attrs_post_init__(self) -> None:
        self._seats = trio.CapacityLimiter(self.limit)

    @property
    def held(self) -> int:
        """How many seats are taken."""
        return len(self._seated)

    @property
    def standing(self) -> int:
        """How many of them are beyond the limit."""
        return len(self._standing)

    @property
    def full(self) -> bool:
        """Whether no further call would be let in."""
        return self.draining or self._seats.available_tokens < 1

    def get(self, call_id: str) -> LiveCall | None:
        """Find a live call of this process."""
        return self._calls.get(call_id)

    def ids(self) -> list[str]:
        """List the calls that are alive."""
        return list(self._calls)

    def sit(self, call_id: str, *, local_engines: bool = False, over: bool = False) -> None:
        """
        Take one of the node's seats for a call; `LimitReached` at once where there is none, never waiting.

        *over* the limit only for a call whose slot another node had reserved: it is in already, and counted. Whoever
        sits has to `rise`.
        """
        if self.draining and not over:
            raise Unavailable("this node is going away", "draining")
        if call_id in self._seated:
            raise Conflict("this call is being set up already", "call_exists")
        most = self.engines.capacity if local_engines and self.engines is not None else None
        if most is not None and len(self._engine_seats) >= most and not over:
            raise LimitReached("engine", most, len(self._engine_seats), RETRY_AFTER)
        try:
            self._seats.acquire_on_behalf_of_nowait(call_id)
        except trio.WouldBlock:
            if not over:
                raise LimitReached("node", self.limit, self.held, RETRY_AFTER) from None
            self._standing.add(call_id)
        if local_engines:
            self._engine_seats.add(call_id)
        self._seated.add(call_id)

    def rise(self, call_id: str) -> None:
        """Give back the seat of a call."""
        self._seated.remove(call_id)
        self._engine_seats.discard(call_id)
        if call_id in self._standing:
            self._standing.remove(call_id)
        else:
            self._seats.release_on_behalf_of(call_id)
        self._leaving.unpark_all()

    @contextmanager
    def registered(self, call: LiveCall) -> Generator[None]:
        """Make a call known for as long as the block lasts."""
        self._calls[call.id] = call
        self._leaving.unpark_all()
        try:
            yield
        finally:
            del self._calls[call.id]

    def holds(self, call_id: str) -> bool:
        """Tell whether a call has a seat, be it still on its way in or already on its way out."""
        return call_id in self._seated

    async def wait_settled(self, call_id: str) -> None:
        """Wait until a call that holds a seat is alive, or gone."""
        while self.holds(call_id) and self.get(call_id) is None:
            await self._leaving.park()

    async def wait_gone(self, call_id: str) -> None:
        """Wait until nothing is left of a call: its record is written."""
        while self.holds(call_id):
            await self._leaving.park()

    async def wait_empty(self) -> None:
        """Wait until no call holds a seat."""
        while self._seated:
            await self._leaving.park()

    def leave(self, reason: EndReason) -> None:
        """Have every call say goodbye and end."""
        for call in list(self._calls.values()):
            call.leave(reason)
