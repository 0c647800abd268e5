"""What a listener hears of audio that comes early, late, or is taken back."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from invorto.caller.ear import RATE, Ear, onset


def tone(seconds: float, value: int = 1000) -> np.ndarray:
    return np.full(round(seconds * RATE), value, np.int16)


def test_plays_one_thing_after_the_other() -> None:
    """Audio that is sent ahead waits for what came before it."""
    ear = Ear(10.0)
    ear.play(tone(1, 1), 10.5)
    ear.play(tone(1, 2), 10.6)
    heard = ear.heard()
    assert len(heard) == 2.5 * RATE
    assert [int(heard[round(at * RATE)]) for at in (0.4, 0.6, 1.4, 1.6, 2.4)] == [0, 1, 1, 2, 2]
    assert ear.cursor == 12.5


def test_what_comes_late_is_heard_late() -> None:
    """Nothing is played in the past: between two late pieces there is silence."""
    ear = Ear(0.0)
    ear.play(tone(0.1, 1), 1.0)
    ear.play(tone(0.1, 2), 2.0)
    heard = ear.heard()
    assert heard[round(1.5 * RATE)] == 0
    assert heard[round(2.05 * RATE)] == 2


def test_stop_drops_what_was_not_played() -> None:
    """After a barge-in what had been sent ahead is never heard, and the next audio plays at once."""
    ear = Ear(0.0)
    ear.play(tone(3, 1), 1.0)
    ear.play(tone(3, 2), 1.0)
    ear.stop(2.0)
    assert len(ear.heard()) == 2 * RATE
    ear.play(tone(1, 3), 2.5)
    assert ear.heard()[round(2.2 * RATE)] == 0
    assert ear.heard()[round(2.6 * RATE)] == 3


def test_stopping_in_silence_moves_nothing() -> None:
    """A clear when all had been played leaves what was heard as it is."""
    ear = Ear(0.0)
    ear.play(tone(1, 1), 0.0)
    ear.stop(5.0)
    assert len(ear.heard()) == RATE
    assert ear.cursor == 1.0
    assert len(Ear(0.0).heard()) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["play", "stop"]), st.floats(0, 0.5), st.integers(1, 8000)), max_size=20
    )
)  # fmt: skip
def test_never_plays_two_things_at_once(acts: list[tuple[str, float, int]]) -> None:
    """Whatever comes and is stopped, pieces lie one after the other on the call's clock."""
    ear, now = Ear(0.0), 0.0
    for act, later, length in acts:
        now += later
        if act == "play":
            ear.play(np.ones(length, np.int16), now)
        else:
            ear.stop(now)
        ends = [(at, at + len(samples)) for at, samples in ear.track]
        assert all(after[0] >= before[1] - 1 for before, after in itertools.pairwise(ends))


def test_onset_is_where_there_is_something_to_hear() -> None:
    """Hiss is no speech; silence alone has no onset."""
    hiss = np.random.default_rng(1).integers(-50, 50, RATE, np.int16)
    assert onset(hiss) == RATE
    assert onset(np.concatenate([hiss, tone(1)])) == RATE
    assert onset(np.zeros(0, np.int16)) == 0
