"""Emotion: windows that are exact, a verdict that does not flicker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.audio import levels
from invorto.realtime.emotion import EmotionWindows, StateJudge
from invorto.realtime.protocol import EmotionState, EmotionWindow

RATE = 8000


def noise(level: float, seconds: float) -> np.ndarray:
    """Make sound of a level in dBFS: a square wave."""
    value = round(levels.FULL_SCALE * 10 ** (level / 20))
    return np.where(np.arange(round(seconds * RATE)) // 8 % 2, value, -value).astype(np.int16)


def listen(*pieces: np.ndarray, **settings) -> list:
    told: list = []
    windows = EmotionWindows(RATE, told.append, **settings)
    for piece in pieces:
        for begin in range(0, piece.size, 160):
            windows.push(piece[begin : begin + 160])
    return told


def test_each_window_tells_its_level():
    """Every 250 ms the level of exactly those 250 ms is told, to a tenth of a decibel."""
    told = listen(noise(-20, 1.0), noise(-40, 0.25), np.zeros(RATE // 4, np.int16))
    assert [window.energy_db for window in told] == [-20.0] * 4 + [-40.0, levels.SILENCE]


def test_speaking_needs_windows_that_agree():
    """`speaking` turns with the second window over the threshold, back with the second below it; one is not enough."""
    told = listen(*(noise(level, 0.25) for level in (-60, -30, -60, -30, -30, -60, -30, -60, -60, -60)))
    assert [window.speaking for window in told] == [False] * 4 + [True] * 4 + [False] * 2


def test_settings_change_what_is_told():
    """Window, threshold and hold are the installation's to choose."""
    told = listen(noise(-45, 1), window_ms=100, threshold_db=-40, min_hold=1)
    assert len(told) == 10
    assert not any(window.speaking for window in told)
    assert listen(noise(-45, 1), window_ms=100, threshold_db=-50, min_hold=1)[0].speaking


@given(st.lists(st.integers(0, 5000), max_size=20))
def test_any_cut_tells_the_same(sizes):
    """However audio comes in, empty or many windows at once, the windows are the same."""
    samples = np.random.default_rng(1).integers(-9000, 9000, 40_000).astype(np.int16)
    told: list = []
    windows, at = EmotionWindows(RATE, told.append), 0
    for size in [*sizes, samples.size]:
        windows.push(samples[at : at + size])
        at += size
    assert len(told) == samples.size // 2000
    expected = [round(levels.rms(samples[begin : begin + 2000]), 1) for begin in range(0, 40_000, 2000)]
    assert [window.energy_db for window in told] == pytest.approx(expected, abs=0.11)


def test_states_are_off_unless_asked_for():
    """Without the flag only windows are told; with it states come beside them."""
    sounds = [noise(-30, 3), np.zeros(RATE * 4, np.int16)]
    assert {type(message) for message in listen(*sounds)} == {EmotionWindow}
    assert {type(message) for message in listen(*sounds, states=True)} == {EmotionWindow, EmotionState}


def judge(judge: StateJudge, level: float, seconds: float, *, speaking: bool = True) -> list[EmotionState]:
    steps = [judge.step(level, speaking=speaking) for _ in range(round(seconds / 0.25))]
    return [state for state in steps if state is not None]


def test_a_raised_voice_is_heard_as_agitation():
    """A caller who becomes 10 dB louder than usual is agitated, and calms down again; silence is its own state."""
    states = StateJudge(0.25)
    assert [state.label for state in judge(states, -30, 10)][-1] in {"calm", "engaged"}
    (agitated,) = judge(states, -20, 4)
    assert agitated.label == "agitated"
    assert agitated.arousal > 0.7
    assert agitated.valence < 0
    assert 0 < agitated.confidence < 1
    assert judge(states, -30, 6)[-1].label in {"calm", "engaged"}
    assert judge(states, -80, 8, speaking=False)[-1].label == "silent"


def test_what_flickers_is_not_told():
    """Nothing that lasts less than 1.2 s changes the state."""
    states = StateJudge(0.25)
    judge(states, -30, 20)
    before = states.state
    for _ in range(10):
        assert judge(states, -12, 0.5) == []
        assert judge(states, -30, 4) == []
    assert states.state == before


def test_a_state_comes_after_its_time():
    """A new state is told once, not before 1.2 s of it."""
    states = StateJudge(0.25)
    assert judge(states, -30, 1.0) == []
    assert len(judge(states, -30, 0.5)) == 1
