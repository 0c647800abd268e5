"""What should be looked at is flagged, once; how the caller sounded is summed up."""

from __future__ import annotations

from typing import Any

import pytest

from invorto.realtime.protocol import BargeIn, EmotionState, EmotionWindow, LlmDelta, ServerMessage, SttFinal
from invorto.realtime.watch import Watch


def seen(*messages: tuple[float, ServerMessage]) -> tuple[Watch, list[tuple[Any, ...]]]:
    """Let a watch see messages at their seconds; give it and what it raised."""
    raised: list[tuple[Any, ...]] = []
    watch = Watch(lambda *flag: raised.append(flag))
    for at, message in messages:
        watch.see(message, at)
    return watch, raised


def broke_in(turn: int) -> BargeIn:
    return BargeIn(turn=turn, played_ms=100, action="stop-tts")


def words(text: str) -> SttFinal:
    return SttFinal(text=text, ts=1.0, turn=3)


def state(label: str) -> EmotionState:
    return EmotionState(label=label, arousal=0.9, valence=-0.4, confidence=0.5)


@pytest.mark.parametrize(
    ("times", "flagged"),
    [((0.0, 10.0, 29.9), True), ((0.0, 10.0, 30.1), False), ((0.0, 20.0, 40.0, 45.0, 49.0), True), ((1.0, 2.0), False)],
    ids=["thrice in time", "too far apart", "the last three", "twice"],
)
def test_overlap(times: tuple[float, ...], *, flagged: bool) -> None:
    """Breaking in three times within half a minute is a risk."""
    watch, _ = seen(*((at, broke_in(n)) for n, at in enumerate(times)))
    assert (watch.raised == ["overlap_risk"]) is flagged


@pytest.mark.parametrize(
    ("text", "flagged"),
    [
        ("You idiot, shut up!", True), ("tu chutiya hai", True), ("This is BULLSHIT.", True),
        ("I live in Scunthorpe.", False), ("My name is Dickens, from Hellesdon.", False), ("", False),
        ("shut the door, and look up the shitake recipe", False),
    ],
)  # fmt: skip
def test_abuse(text: str, *, flagged: bool) -> None:
    """Abusive words of the caller are flagged, names that hold them are not."""
    _, raised = seen((4.0, words(text)))
    assert bool(raised) is flagged
    assert not raised or raised[0][:3] == ("toxicity", 3, 4.0)


def test_a_flag_is_raised_once() -> None:
    """However often its reason comes again, each flag comes once, in the order of their reasons."""
    watch, raised = seen(*((n, one) for n, one in enumerate([state("calm"), state("agitated"), words("idiot")] * 4)))
    assert watch.raised == [flag for flag, *_ in raised] == ["frustration_spike", "toxicity"]


def test_how_the_caller_sounded() -> None:
    """Seconds of speech, its mean level, and the states told; None where nobody listened."""
    silent, _ = seen((0.0, LlmDelta(text="x", turn=1)))
    assert silent.emotion() is None
    quiet, _ = seen((0.0, EmotionWindow(energy_db=-70.0, speaking=False)))
    assert quiet.emotion() == {"speakingSeconds": 0.0, "levelDb": None, "lastState": None, "states": {}}
    windows = [(0.0, EmotionWindow(energy_db=level, speaking=level > -50)) for level in (-20.0, -30.0, -60.0)]
    heard, _ = seen(*windows, (1.0, state("engaged")), (2.0, state("calm")), (3.0, state("engaged")))
    assert heard.emotion() == {
        "speakingSeconds": 0.5, "levelDb": -25.0, "lastState": "engaged", "states": {"engaged": 2, "calm": 1},
    }  # fmt: skip
