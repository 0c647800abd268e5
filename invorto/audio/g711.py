"""G.711: µ-law and A-law by table, made from the decision values of the recommendation.

Both laws are a sign and a magnitude: a row of decision values cuts the magnitudes into 128 intervals, and each interval
decodes to its middle. A magnitude on a border belongs to the interval above it, and magnitudes of negative samples are
one's complements, as in the ITU's software tools (G.191). Encoding 20 ms is one table look-up, and so is decoding
(``take`` is twice as quick as indexing).
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from invorto.audio import Samples

_SEGMENT: Final = 16
"""Intervals of one width; the next segment's are twice as wide."""

_ULAW_BORDERS: Final = tuple(
    4 * border for border in accumulate((1, *[2] * 15, *(4 << s for s in range(7) for _ in range(_SEGMENT))), initial=0)
)
"""Table 2a, in 16-bit units: 14 bits wide, so times four."""

_ALAW_BORDERS: Final = tuple(
    8 * border for border in accumulate((*[2] * 32, *(4 << s for s in range(6) for _ in range(_SEGMENT))), initial=0)
)
"""Table 1a, in 16-bit units: 13 bits wide, so times eight."""


def _encoder(borders: tuple[int, ...], code: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Make the 65,536 bytes that the bits of each sample stand for; *code* is by sign (positive first) and interval."""
    samples = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    magnitudes = np.where(samples < 0, ~samples, samples)
    intervals = np.minimum(np.searchsorted(borders, magnitudes, side="right") - 1, 127)
    return code[(samples < 0).astype(np.intp), intervals]


def _decoder(borders: tuple[int, ...], code: NDArray[np.uint8], smallest: int) -> NDArray[np.int16]:
    """Make the 256 samples; *smallest* is what the interval next to zero decodes to."""
    edges = np.array(borders)
    levels = (edges[:-1] + edges[1:]) // 2
    levels[0] = smallest
    table = np.empty(256, np.int16)
    table[code[0]], table[code[1]] = levels, -levels
    return table


_INTERVALS: Final = np.arange(128)
_ULAW_CODE: Final = np.stack((0xFF - _INTERVALS, 0x7F - _INTERVALS)).astype(np.uint8)
_ALAW_CODE: Final = np.stack(((_INTERVALS | 0x80) ^ 0x55, _INTERVALS ^ 0x55)).astype(np.uint8)

_FROM_ULAW: Final = _decoder(_ULAW_BORDERS, _ULAW_CODE, 0)
_FROM_ALAW: Final = _decoder(_ALAW_BORDERS, _ALAW_CODE, 8)
_TO_ULAW: Final = _encoder(_ULAW_BORDERS, _ULAW_CODE)
_TO_ALAW: Final = _encoder(_ALAW_BORDERS, _ALAW_CODE)


def decode_ulaw(data: bytes | bytearray | memoryview) -> Samples:
    """Make samples of µ-law bytes."""
    return _FROM_ULAW.take(_octets(data))


def encode_ulaw(samples: Samples) -> bytes:
    """Make µ-law bytes of samples; what is too loud is clipped."""
    return _TO_ULAW.take(samples.view(np.uint16)).tobytes()


def decode_alaw(data: bytes | bytearray | memoryview) -> Samples:
    """Make samples of A-law bytes."""
    return _FROM_ALAW.take(_octets(data))


def encode_alaw(samples: Samples) -> bytes:
    """Make A-law bytes of samples; what is too loud is clipped."""
    return _TO_ALAW.take(samples.view(np.uint16)).tobytes()


def _octets(data: bytes | bytearray | memoryview) -> NDArray[np.uint8]:
    octets: NDArray[Any] = np.frombuffer(data, np.uint8)
    return octets
