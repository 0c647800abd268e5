"""Events of a call's timeline, numbered, as short as a test wants them."""

from __future__ import annotations

from collections.abc import Sequence

from invorto.config import TimelineSettings
from invorto.model.event_ids import event_key
from invorto.model.record import TimelineEvent
from invorto.storage.timeline import Timeline

SETTINGS = TimelineSettings(default_count=5, max_count=250, ttl_hours=2.0)


def event(number: int, kind: str = "stt.final", **payload: object) -> TimelineEvent:
    """Make the event with the id ``1000-number``."""
    return TimelineEvent(id=f"1000-{number}", kind=kind, payload=payload or {"n": number}, timestamp=1000 + number)


def numbers(events: Sequence[TimelineEvent]) -> list[int]:
    return [event_key(item.id)[1] for item in events]


async def fill(timeline: Timeline, count: int, call: str = "c_1") -> None:
    for number in range(1, count + 1):
        timeline.append(call, event(number, "even" if number % 2 == 0 else "odd"))
    await timeline.flush()
