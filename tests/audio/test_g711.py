"""G.711: every value of both laws, against the ITU's own steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.audio.g711 import decode_alaw, decode_ulaw, encode_alaw, encode_ulaw

EVERY_SAMPLE = np.arange(-32_768, 32_768).astype(np.int16)
EVERY_BYTE = bytes(range(256))


def ulaw_byte(sample: int) -> int:
    """Compress as the standard describes it: a biased magnitude, its segment, and four bits below its leading one."""
    magnitude = min((~sample if sample < 0 else sample) // 4 + 33, 0x1FFF)
    segment = magnitude.bit_length() - 5
    mantissa = (magnitude >> segment) & 15
    return (0x7F if sample < 0 else 0xFF) - ((segment - 1) * 16 + mantissa)


def ulaw_sample(byte: int) -> int:
    """Expand to the middle of the interval."""
    segment, mantissa = (~byte >> 4) & 7, ~byte & 15
    magnitude = ((2 * mantissa + 33) << segment) - 33
    return 4 * (magnitude if byte & 0x80 else -magnitude)


def alaw_byte(sample: int) -> int:
    """Compress to a segment and four bits below its leading one, with every other bit turned."""
    magnitude = (~sample if sample < 0 else sample) // 16
    segment = max(0, magnitude.bit_length() - 4)
    code = magnitude if not segment else (segment << 4) + ((magnitude >> (segment - 1)) & 15)
    return (code | (0 if sample < 0 else 0x80)) ^ 0x55


def alaw_sample(byte: int) -> int:
    """Expand to the middle of the interval."""
    code = byte ^ 0x55
    segment, mantissa = (code >> 4) & 7, code & 15
    magnitude = 2 * mantissa + 1 if not segment else (2 * mantissa + 33) << (segment - 1)
    return 8 * (magnitude if code & 0x80 else -magnitude)


def test_every_sample_becomes_the_standards_ulaw_byte():
    """All 65,536 samples are compressed as the standard says."""
    assert encode_ulaw(EVERY_SAMPLE) == bytes(ulaw_byte(int(sample)) for sample in EVERY_SAMPLE)


def test_every_sample_becomes_the_standards_alaw_byte():
    """All 65,536 samples are compressed as the standard says."""
    assert encode_alaw(EVERY_SAMPLE) == bytes(alaw_byte(int(sample)) for sample in EVERY_SAMPLE)


def test_every_ulaw_byte_becomes_the_standards_sample():
    """All 256 bytes are expanded as the standard says."""
    assert decode_ulaw(EVERY_BYTE).tolist() == [ulaw_sample(byte) for byte in EVERY_BYTE]


def test_every_alaw_byte_becomes_the_standards_sample():
    """All 256 bytes are expanded as the standard says."""
    assert decode_alaw(EVERY_BYTE).tolist() == [alaw_sample(byte) for byte in EVERY_BYTE]


@pytest.mark.parametrize(
    ("decode", "vectors"),
    [
        (decode_ulaw, {0x00: -32_124, 0x80: 32_124, 0xFF: 0, 0x7F: 0, 0xFE: 8, 0x8F: 16_764, 0xF0: 120}),
        (decode_alaw, {0xD5: 8, 0x55: -8, 0xAA: 32_256, 0x2A: -32_256, 0xD4: 24, 0x80: 5504}),
    ],
    ids=["ulaw", "alaw"],
)
def test_values_that_phones_agree_on(decode, vectors):
    """The ends, the zeros and some between are what the published tables hold."""
    assert {byte: int(decode(bytes([byte]))[0]) for byte in vectors} == vectors


def test_what_was_decoded_encodes_to_itself():
    """A hop through us changes no byte but µ-law's negative zero, which becomes the positive one."""
    assert encode_alaw(decode_alaw(EVERY_BYTE)) == EVERY_BYTE
    assert encode_ulaw(decode_ulaw(EVERY_BYTE)) == EVERY_BYTE.replace(b"\x7f", b"\xff")


@given(st.lists(st.integers(-32_768, 32_767), max_size=400), st.integers(1, 3))
def test_any_run_of_samples_survives_within_a_step(values, step):
    """What comes back is within half a step of what went in, also of a slice; a step is 1/16 of value and bias."""
    samples = np.array(values, np.int16)[::step]
    for encode, decode, least in ((encode_ulaw, decode_ulaw, 8), (encode_alaw, decode_alaw, 16)):
        back = decode(encode(samples))
        assert back.dtype == np.int16
        allowed = np.maximum((np.abs(samples.astype(int)) + 132) / 32, least)
        clipped = np.clip(samples.astype(int), -32_256, 32_256)
        assert (np.abs(back.astype(int) - clipped) <= allowed).all()


@pytest.mark.parametrize("decode", [decode_ulaw, decode_alaw], ids=["ulaw", "alaw"])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview], ids=["bytes", "bytearray", "memoryview"])
def test_any_buffer_is_decoded(decode, kind):
    """Bytes decode as they come from the socket, without a copy first; none decode to none."""
    assert decode(kind(b"\xff\xd5")).size == 2
    assert decode(kind(b"")).size == 0
