"""What a call tells, in the order in which it is named."""

from __future__ import annotations

from invorto.model.event_ids import EventClock, event_key
from invorto.realtime.protocol import BargeIn, SttFinal
from invorto.realtime.teller import Teller
from tests.realtime.stage import Books


def test_a_flag_comes_after_what_raised_it() -> None:
    """Ids go up on the timeline, which takes no other: neither a barge-in nor words are lost for what they lead to."""
    books, at = Books(), iter(range(100))
    teller = Teller("c_1", "t_1", books, books, EventClock(1_700_000_000.0, 0.0), lambda: float(next(at)))
    for turn in range(3):
        teller.tell(BargeIn(turn=turn, played_ms=100, action="stop-tts"))
    teller.tell(SttFinal(text="You idiot!", ts=1.0, turn=3))
    keys = [event_key(event.id) for event in books.events]
    assert keys == sorted(set(keys))
    assert books.kinds() == ["bargein.detected"] * 3 + ["qa.flags", "stt.final", "qa.flags"]
