"""The ids of a call's events: ``<ms>-<n>``, made by the call's owner, never going back."""

from __future__ import annotations

import re

from invorto.errors import Fault, Invalid

type EventKey = tuple[int, int]
"""An event id taken apart: Unix milliseconds, and the number within them."""

_SHAPE = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_END = 2**64


def event_key(text: str, path: str = "$") -> EventKey:
    """Take an event id apart; `Invalid` names *path* unless it is ``<ms>-<n>`` of two numbers below 2⁶⁴."""
    shape = _SHAPE.fullmatch(text)
    key = (int(shape[1]), int(shape[2])) if shape else (_END, 0)
    if max(key) >= _END:
        message = "expected an event id such as 1733000000000-0"
        raise Invalid(f"{path}: {message}", [Fault(path, message)])
    return key


def event_id(key: EventKey) -> str:
    """Put an event id together."""
    return f"{key[0]}-{key[1]}"


class EventClock:
    """
    Names a call's events in the order in which they happen, without asking Redis.

    An id's milliseconds are the wall time at which the clock was made plus what has passed since, so a wall clock that
    is set back while the call lasts changes nothing. Give ``after``, the last id of what is there already, where the
    call had another owner before.
    """

    def __init__(self, wall: float, now: float, after: str = "0-0") -> None:
        """Start at Unix time *wall* in seconds, which is *now* on the clock of the calls to come."""
        self._offset = wall - now
        self._last = event_key(after)

    def next(self, now: float) -> str:
        """Give the next id, for something that happened *now*; greater than all before, even if *now* goes back."""
        millis = int((now + self._offset) * 1000)
        ms, n = self._last
        self._last = (millis, 0) if millis > ms else (ms, n + 1)
        return event_id(self._last)

    @property
    def last(self) -> str:
        """The last id given."""
        return event_id(self._last)
