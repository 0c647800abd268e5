"""The agent's own voice coming back: found by level and correlation, and nobody else's taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from invorto.audio import g711
from invorto.audio.echo import ALIKE, DELAY, WINDOW, Echo
from tests.speech.sound import NAMES, noise, recorded, silence

RATE = 8000
FRAME = RATE // 50


def room(samples: np.ndarray, seed: int) -> np.ndarray:
    """Let a voice sound in a room of 0.2 s, whose direct sound is 3 dB over all the rest."""
    size = RATE // 5
    tail = np.random.default_rng(seed).standard_normal(size) * np.exp(-6.9 * np.arange(size) / size)
    tail *= 10 ** (-3 / 20) / np.sqrt(np.square(tail).sum())
    tail[0] += 1.0
    return np.convolve(samples.astype(np.float64), tail)[: len(samples)]


def back(samples: np.ndarray, delay: float, gain: float, seed: int) -> np.ndarray:
    """Give what a telephone on a table makes of a voice: later, weaker, in a room, in µ-law."""
    late = np.concatenate((silence(RATE, delay), room(samples, seed) * gain))[: len(samples)]
    return g711.decode_ulaw(
        g711.encode_ulaw((late + noise(RATE, len(late) / RATE, 15, seed)[: len(late)]).astype(np.int16))
    )


def _loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.square(samples.astype(np.float64)).mean()))


def likenesses(played: np.ndarray, heard: np.ndarray, rate: int = RATE) -> list[float]:
    """Play and hear in frames of 20 ms; give the likeness wherever there is a voice to be heard."""
    echo, frame, found = Echo(rate), rate // 50, list[float]()
    for at in range(0, min(len(played), len(heard)) - frame, frame):
        echo.played(played[at : at + frame], at / rate + 0.2)  # handed over 200 ms ahead
        now = (at + frame) / rate
        echo.heard(heard[at : at + frame], now)
        if at > rate // 2 and _loudness(heard[at - 8 * frame : at + frame]) > _loudness(heard) / 4:
            found.append(echo.likeness(now))
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("delay", "gain"), [(0.25, 0.5), (0.4, 0.25), (0.7, 0.125)])
def test_what_comes_back_is_known(name: str, delay: float, gain: float):
    """Six to eighteen decibels weaker, up to half a second later and in a room, 19 looks of 20 know the agent."""
    voice = recorded(name, RATE)
    found = likenesses(voice, back(voice, delay, gain, seed=3))
    assert len(found) > 20
    assert sum(each >= ALIKE for each in found) >= 0.95 * len(found)


@pytest.mark.parametrize(("mine", "other"), [(a, b) for a in NAMES for b in NAMES if a != b])
def test_another_voice_is_not_taken_for_it(mine: str, other: str):
    """Somebody who speaks while the agent does is not alike, but for two looks in a hundred."""
    found = likenesses(recorded(mine, RATE), recorded(other, RATE) // 2)
    assert sum(each >= ALIKE for each in found) <= 0.02 * len(found)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_every_rate_serves(rate: int):
    """Browsers' rates are compared as phones' are."""
    voice = recorded(NAMES[0], rate)[: 2 * rate]
    late = np.concatenate((silence(rate, 0.3), voice // 4))[: len(voice)]
    found = likenesses(voice, late, rate)
    assert sum(each >= 0.9 for each in found) >= 0.9 * len(found)


def test_what_is_louder_is_no_echo():
    """The same words at twice the level are somebody's who speaks along."""
    voice = recorded(NAMES[0], RATE) // 4
    assert max(likenesses(voice, np.concatenate((silence(RATE, 0.3), voice * 2)))) == 0.0


def test_nothing_is_alike_without_both():
    """Before the agent speaks, before anything is heard, and in silence there is no likeness, and nothing fails."""
    echo, voice = Echo(RATE), recorded(NAMES[0], RATE)[:FRAME]
    echo.heard(voice, 0.02)
    assert echo.likeness(0.02) == 0.0
    echo.played(voice, 0.02)
    assert echo.likeness(0.02) == 0.0  # what was heard before there was anything to come back is not kept
    echo.heard(voice[:40], 0.04)
    assert echo.likeness(0.04) == 0.0  # five milliseconds tell nothing
    echo.heard(silence(RATE, WINDOW), 0.3)
    assert echo.likeness(0.3) == 0.0
    quiet = Echo(RATE)
    quiet.played(silence(RATE, WINDOW), 0.0)
    quiet.heard(silence(RATE, WINDOW), 0.2)
    assert quiet.likeness(0.2) == 0.0


def test_what_was_cut_never_comes_back():
    """After a hush only what had been played by then can be heard again."""
    voice = recorded(NAMES[0], RATE)
    later, heard = voice[2 * RATE : 3 * RATE], voice[int(2.5 * RATE) : int(2.5 * RATE) + int(WINDOW * RATE)]
    for cut, alike in ((None, True), (0.25, False)):
        echo = Echo(RATE)
        echo.played(later[: RATE // 2], 0.0)
        echo.played(later[RATE // 2 :], 0.5)
        if cut is not None:
            echo.cut(cut)
        echo.heard(heard, 0.8)
        assert (echo.likeness(0.8) >= ALIKE) is alike
    echo.cut(-1.0)
    assert echo.likeness(0.8) == 0.0


def test_nothing_is_kept_once_nothing_can_come_back():
    """A second after the agent's last word a caller's audio is not even looked at, and the agent's is let go."""
    echo, voice = Echo(RATE), recorded(NAMES[0], RATE)
    echo.played(voice[:RATE], 0.0)
    echo.heard(voice[:FRAME], 1.0)
    echo.heard(voice[:FRAME], 1.0 + DELAY + WINDOW + 0.01)
    echo.heard(voice[:FRAME], 9.0)
    assert echo.likeness(9.0) == 0.0
    echo.played(voice[:FRAME], 20.0)
    echo.played(voice[:FRAME], 30.0)
    echo.heard(voice[:FRAME], 30.1)
    assert echo.likeness(30.1) > 0.0
