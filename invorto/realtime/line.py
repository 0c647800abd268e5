"""The port between a conversation and its far end: a browser, a client, or a carrier's media socket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from invorto.realtime.protocol import ClientMessage, ServerMessage
from invorto.speech.ports import Samples


@attrs.frozen
class HungUp:
    """The far end is gone; *code* is the socket's close code, None when it was lost without one."""

    code: int | None = None


type Inbound = ClientMessage | HungUp
"""What is waited for: a message that passed its limits, or the end."""
type Hear = Callable[[Samples, float], None]
"""Takes decoded audio at the line's rate, and when it came, in Trio time; it must not write to it."""


class Line(Protocol):
    """One call's far end. Everything but receiving, transferring and closing is synchronous: it waits for no peer."""

    rate: int
    """Samples a second, both ways."""
    lead: float
    """How many seconds of audio may be sent ahead of what plays."""
    marks: bool
    """Whether the far end echoes marks when they have been played."""

    async def receive(self, hear: Hear) -> Inbound:
        """
        Wait for a message or the end; until then audio goes to *hear*, fifty times a second and without a hop.

        After `HungUp` nothing comes. Bad input is answered here and never returned.
        """
        ...

    def play(self, samples: Samples, *, turn: int) -> None:
        """Send audio to be played after what was sent before; with ``tell`` in order."""
        ...

    def mark(self, name: str, *, turn: int, text: str) -> None:
        """Ask for an echo when all audio sent so far has been played; nothing where there are no marks."""
        ...

    def clear(self) -> None:
        """Make the far end drop what it has not played yet; what it returns for dropped marks does not count."""
        ...

    def tell(self, message: ServerMessage, event_id: str) -> None:
        """Send an event to a client that understands it; nothing on a carrier's line."""
        ...

    async def transfer(self, to: str, mode: str) -> None:
        """Hand the far end over; `NotSupported` where it cannot be."""
        ...

    async def send_digits(self, digits: str, method: str) -> None:
        """Send DTMF to the far end; `NotSupported` where it cannot be."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye and close; bounded in time, harmless twice."""
        ...
