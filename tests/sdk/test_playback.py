"""What of the agent's audio is still to be played."""

from __future__ import annotations

from invorto_sdk.events import Audio, BargeIn, Mark
from invorto_sdk.playback import Playback


def test_audio_comes_out_as_it_went_in() -> None:
    """In pieces of any size, with each mark when all before it has been taken and played."""
    playback = Playback()
    for event in (Mark("", name="1"), Audio("", pcm=b"abcdef"), Mark("", name="2"), Audio("", pcm=b"gh")):
        playback.hear(event)
    assert playback.size == 8
    assert playback.take(4) == (b"abcd", ["1"])
    assert playback.take(4) == (b"ef", [])
    assert playback.take(4) == (b"gh", ["2"])
    assert playback.take(4) == (b"", [])
    assert playback.size == 0


def test_a_barge_in_drops_all_of_it() -> None:
    """Nothing that was not taken is ever played, nor its marks told."""
    playback = Playback()
    playback.hear(Audio("", pcm=b"abcdef"))
    playback.take(2)
    playback.hear(Mark("", name="2"))
    playback.hear(BargeIn("control.bargein"))
    assert playback.take(10) == (b"", [])
    assert playback.size == 0


def test_it_holds_so_much_and_no_more() -> None:
    """A reader who never takes anything costs a bound, and is told what was dropped."""
    playback = Playback(most=5)
    playback.hear(Audio("", pcm=b"abcd"))
    playback.hear(Audio("", pcm=b"ef"))
    assert (playback.size, playback.dropped) == (4, 2)
