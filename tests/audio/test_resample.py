"""Resampling: nothing is added, nothing moves, however it comes in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.audio.rates import hearing_rate
from invorto.audio.resample import Resampler, resample

PAIRS = [
    (8000, 16_000), (16_000, 8000), (8000, 22_050), (22_050, 8000), (22_050, 16_000), (22_050, 24_000),
    (22_050, 48_000), (24_000, 16_000), (48_000, 16_000), (48_000, 8000), (8000, 48_000), (44_100, 16_000),
    (24_000, 48_000), (16_000, 24_000), (11_025, 8000),
]  # fmt: skip
AMPLITUDE = 20_000


def tone(frequency: float, rate: int, length: float = 0.5) -> np.ndarray:
    """Make a sine."""
    return np.round(AMPLITUDE * np.sin(2 * np.pi * frequency * np.arange(round(rate * length)) / rate)).astype(np.int16)


def spectrum(samples: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Give frequencies and levels relative to AMPLITUDE, of what lies between the ends."""
    inner = samples[rate // 20 : -(rate // 20)].astype(float)
    window = np.blackman(inner.size)
    levels = np.abs(np.fft.rfft(inner * window)) / (window.sum() / 2) / AMPLITUDE
    return np.fft.rfftfreq(inner.size, 1 / rate), 20 * np.log10(levels + 1e-12)


@pytest.mark.parametrize(("src", "dst"), PAIRS, ids=str)
def test_nothing_is_added(src, dst):
    """Aliases and images of any tone are more than 50 dB down; the tone itself, where it fits, keeps its level."""
    fits = min(src, dst) / 2
    for frequency in np.linspace(100, src / 2 - 50, 25):
        if fits * 0.85 < frequency < fits:
            continue  # the filter's slope
        frequencies, levels = spectrum(resample(tone(frequency, src), src, dst), dst)
        own = np.abs(frequencies - frequency) < 20
        if frequency <= fits * 0.85:
            assert levels[own].max() == pytest.approx(0, abs=1.2), frequency  # the window's own error included
        levels[own & (frequency < fits)] = -200
        assert levels.max() < -50, f"{frequency:.0f} Hz gives {levels.max():.1f} dB"


@pytest.mark.parametrize(("src", "dst"), PAIRS, ids=str)
def test_nothing_moves(src, dst):
    """A tone comes out in phase: each output sample is the input's value at that very time."""
    frequency = 440.0
    out = resample(tone(frequency, src), src, dst)
    times = np.arange(out.size) / dst
    inner = slice(dst // 20, -(dst // 20))
    expected = AMPLITUDE * np.sin(2 * np.pi * frequency * times)
    assert np.abs(out - expected)[inner].max() < AMPLITUDE * 0.003


@pytest.mark.parametrize(("src", "dst"), PAIRS, ids=str)
def test_it_comes_out_within_the_stated_delay(src, dst):
    """Once `delay` more has gone in, everything before has come out; less never does."""
    resampler = Resampler(src, dst)
    out = resampler.push(tone(440, src)).size
    assert out == pytest.approx((0.5 - resampler.delay) * dst, abs=dst / src + 1)
    assert resampler.delay <= 0.0035


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.integers(0, 3000),
    st.lists(st.integers(0, 700), max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_any_cut_gives_the_same(pair, size, cuts, seed):
    """However a stream is cut into pushes, empty ones too, the output is the same, and as long as it must be."""
    src, dst = pair
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, size).astype(np.int16)
    resampler, out, at = Resampler(src, dst), [], 0
    for length in [*cuts, size]:
        out.append(resampler.push(samples[at : at + length]))
        at += length
    streamed = np.concatenate((*out, resampler.flush()))
    assert streamed.size == -(-size * dst // src)
    assert streamed.tolist() == resample(samples, src, dst).tolist()


def test_a_flushed_stream_begins_anew():
    """After `flush` the same object takes another stream as if it were new."""
    resampler, sound = Resampler(8000, 16_000), tone(300, 8000)
    first = np.concatenate((resampler.push(sound), resampler.flush()))
    second = np.concatenate((resampler.push(sound), resampler.flush()))
    assert first.tolist() == second.tolist()


def test_loud_edges_are_clipped_not_wrapped():
    """A square wave at full scale overshoots in any filter, and must not turn its sign."""
    square = np.where(np.arange(8000) // 40 % 2, 32_767, -32_768).astype(np.int16)
    out = resample(square, 8000, 16_000)
    assert out.max() == 32_767
    assert (np.abs(np.diff(out[out.size // 4 : out.size // 2].astype(int))) < 62_000).all()


def test_the_same_rate_is_passed_through():
    """Where nothing is to be done nothing is copied."""
    sound = tone(300, 8000)
    assert Resampler(8000, 8000).push(sound) is sound
    assert Resampler(8000, 8000).delay == 0
    assert Resampler(8000, 8000).flush().size == 0
    assert resample(sound, 8000, 8000) is sound


def test_memory_is_flat_over_an_hour():
    """What a stream keeps does not grow with what has passed through."""
    resampler, frame = Resampler(22_050, 8000), tone(300, 22_050, 0.02)
    for _ in range(2000):
        resampler.push(frame)
    assert resampler._kept.size < 400


@pytest.mark.parametrize("rate", [0, -8000, 3999, 192_001])
def test_a_rate_that_is_none_is_refused(rate):
    """Rates that no speech has are a mistake that is told at once."""
    with pytest.raises(ValueError, match="not a rate of speech"):
        Resampler(8000, rate)
    with pytest.raises(ValueError, match="not a rate of speech"):
        Resampler(rate, 8000)


def test_calls_are_heard_at_a_rate_the_detector_has():
    """Every rate of a call is listened to at 8 or 16 kHz."""
    assert [hearing_rate(rate) for rate in (8000, 16_000, 24_000, 48_000)] == [8000, 16_000, 16_000, 16_000]
