"""Frames by the thousand: what counts is how many there are, where they hold next to nothing."""

from __future__ import annotations

from trio.testing import MockClock

from tests.realtime.test_web import everything, handshake, line


async def test_a_flood_of_tiny_frames_is_bounded(autojump_clock: MockClock) -> None:
    """Frames of one sample pass no more often than those of a browser's audio clock at twice its speed."""
    web = line(*[b"\0\0"] * 10_000, asked=handshake(48_000))
    assert len(await everything(web)) - 1 == 2_000
    assert web.dropped == 20.0


async def test_a_browsers_own_frames_are_none_too_small(autojump_clock: MockClock) -> None:
    """128 samples at 48 kHz, as an audio worklet gives them, count for what they are."""
    web = line(*[bytes(256)] * 1_875, asked=handshake(48_000))
    assert len(await everything(web)) - 1 == 1_875
    assert web.dropped == 0
