"""Levels: what a meter would show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from invorto.audio import levels


def sine(amplitude: float, rate: int = 8000) -> np.ndarray:
    """Make a second of 1 kHz."""
    return np.round(amplitude * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)).astype(np.int16)


def test_full_scale_is_zero_decibels():
    """A square wave at full scale is 0 dBFS in both measures."""
    square = np.full(160, -32_768, np.int16)
    assert levels.rms(square) == 0
    assert levels.peak(square) == 0


def test_a_sine_is_three_decibels_below_its_peak():
    """A sine at half scale has its peak at −6.02 and its level at −9.03 dBFS."""
    assert levels.peak(sine(16_384)) == pytest.approx(-6.02, abs=0.01)
    assert levels.rms(sine(16_384)) == pytest.approx(-9.03, abs=0.01)


@pytest.mark.parametrize("samples", [np.zeros(160, np.int16), np.empty(0, np.int16)], ids=["silence", "nothing"])
def test_silence_is_a_number(samples):
    """Silence and nothing at all are the least level, never minus infinity or an error."""
    assert levels.rms(samples) == levels.peak(samples) == levels.SILENCE


def test_the_faintest_sound_is_above_silence():
    """One step of 16 bits is told from silence."""
    assert levels.rms(np.ones(160, np.int16)) == pytest.approx(-90.31, abs=0.01)


def test_energies_of_frames_add_up():
    """A window made of frames has the level of the whole."""
    whole = sine(3000)
    parts = sum(levels.energy(whole[begin : begin + 160]) for begin in range(0, whole.size, 160))
    assert math.isclose(levels.decibels(parts, whole.size), levels.rms(whole), abs_tol=1e-4)
