"""Where speech begins and pauses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.speech.gate import Gate, Thresholds
from invorto.speech.ports import SpeechBegan, SpeechPaused

WINDOW = 0.032


def verdicts(probabilities: list[float], barge_in: float = 0.064) -> list[tuple[str, int]]:
    """Run windows through a gate: name and window number of each verdict's `at`."""
    gate, found = Gate(barge_in), list[tuple[str, int]]()
    for number, probability in enumerate(probabilities):
        verdict = gate.step(probability, 100 + number * WINDOW, 100 + (number + 1) * WINDOW)
        if verdict is not None:
            found.append((type(verdict).__name__, round((verdict.at - 100) / WINDOW)))
    return found


@pytest.mark.parametrize(
    ("name", "probabilities", "expected"),
    [
        ("silence", [0.1] * 20, []),
        ("one loud window is a click", [0, 0, 0.9, 0, 0], []),
        ("two are speech, from the first", [0, 0, 0.9, 0.9], [("SpeechBegan", 2)]),
        ("between the thresholds nothing begins", [0.45] * 20, []),
        ("between the thresholds it goes on", [0.6, 0.4, 0.4, 0.4, 0.4, 0.4], [("SpeechBegan", 0)]),
        ("a consonant's stop is no pause", [0.9, 0.9, 0.1, 0.1, 0.9, 0.9], [("SpeechBegan", 0)]),
        (
            "three silent windows are a pause, at the last sound",
            [0.9] * 4 + [0.1] * 3,
            [("SpeechBegan", 0), ("SpeechPaused", 4)],
        ),
        (
            "and again",
            [0.9] * 2 + [0.0] * 3 + [0.9] * 2 + [0.0] * 3,
            [("SpeechBegan", 0), ("SpeechPaused", 2), ("SpeechBegan", 5), ("SpeechPaused", 7)],
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_table(name: str, probabilities: list[float], expected: list[tuple[str, int]]) -> None:
    """Speech begins at its onset once it has lasted, and pauses at its end once silence has."""
    assert verdicts(probabilities) == expected


@pytest.mark.parametrize(("barge_in", "windows"), [(0.02, 1), (0.064, 2), (0.096, 3), (0.2, 7), (1.0, 32)])
def test_barge_in_decides_how_long(barge_in: float, windows: int) -> None:
    """An agent's `bargeInMs` is how much speech it takes, to the window."""
    assert verdicts([0.9] * (windows - 1), barge_in=barge_in) == []
    assert verdicts([0.9] * windows, barge_in=barge_in) == [("SpeechBegan", 0)]


def test_audio_that_stops_is_a_pause() -> None:
    """A caller who mutes while speaking does not hold the floor for ever."""
    gate = Gate()
    gate.step(0.9, 0, 0.032)
    gate.step(0.9, 0.032, 0.064)
    assert gate.silence(0.1) is None
    assert gate.silence(0.5) == SpeechPaused(0.064)
    assert gate.silence(0.9) is None


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=300), st.floats(0.02, 0.5))
def test_verdicts_alternate_in_time(probabilities: list[float], barge_in: float) -> None:
    """Whatever is heard: beginnings and pauses in turn, in the order of time, none from the future."""
    gate, last, now = Gate(barge_in=barge_in), None, 0.0
    for probability in probabilities:
        verdict = gate.step(probability, now, now + WINDOW)
        now += WINDOW
        if verdict is None:
            continue
        assert isinstance(verdict, SpeechPaused if isinstance(last, SpeechBegan) else SpeechBegan)
        assert verdict.at <= now
        assert last is None or verdict.at >= last.at
        assert gate.speaking == isinstance(verdict, SpeechBegan)
        if isinstance(verdict, SpeechPaused):
            assert now - verdict.at >= Thresholds().pause - 0.001
        last = verdict
