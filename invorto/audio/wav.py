"""WAV files: reads what people have, writes what everybody reads.

Reading takes PCM of 8 to 32 bits, floats, µ-law and A-law, with any number of channels up to eight (mixed to one),
chunks of odd sizes, sizes that a recorder which streamed never filled in, and junk at the end. Everything else is
`Invalid` with a sentence that says what to do.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import numpy as np

from invorto.audio.g711 import decode_alaw, decode_ulaw
from invorto.audio.rates import HIGHEST, LOWEST
from invorto.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from invorto.audio import Samples

HEADER_SIZE: Final = 44
MOST_BYTES: Final = 256 * 1024 * 1024
"""What is read at once: more than two hours at 16 kHz. Whole recordings are streamed, not read."""

_PCM, _FLOAT, _ALAW, _ULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_UNKNOWN_SIZES: Final = (0, 0xFFFF_FFFF)
_OTHERS: Final = {
    b"ID3": "an MP3", b"\xff\xfb": "an MP3", b"\xff\xf3": "an MP3", b"OggS": "an Ogg", b"fLaC": "a FLAC",
    b"RIFX": "a big-endian WAV", b"RF64": "an RF64", b"FORM": "an AIFF", b"#!AMR": "an AMR", b"\x1aE\xdf\xa3": "a WebM",
}  # fmt: skip
_CONVERT: Final = "convert it first, for example with `ffmpeg -i IN -c:a pcm_s16le -ac 1 OUT.wav`"


@attrs.frozen
class _Format:
    tag: int
    channels: int
    rate: int
    bits: int

    @property
    def width(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8


def header(rate: int, channels: int, data_size: int) -> bytes:
    """Make the 44 bytes in front of *data_size* bytes of 16-bit PCM."""
    width = channels * 2
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(
            b"RIFF",
            36 + data_size,
            b"WAVE",
            b"fmt ",
            16,
            _PCM,
            channels,
            rate,
            rate * width,
            width,
            16,
            b"data",
            data_size,
        ),
    )


def encode_wav(samples: Samples, rate: int) -> bytes:
    """Make a WAV file of *samples*, of shape ``(n,)`` for mono or ``(n, channels)``."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    data = samples.astype("<i2").tobytes()
    return header(rate, channels, len(data)) + data


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """Write *samples* as `encode_wav` does; `OSError` as it comes."""
    path.write_bytes(encode_wav(samples, rate))


def read_wav(source: Path | bytes, name: str = "the audio") -> tuple[Samples, int]:
    """Read a file, or the bytes of one that messages call *name*: its samples, as mono, and its rate; or `Invalid`."""
    if isinstance(source, Path):
        name, source = str(source), _bytes(source)
    try:
        return _read(source)
    except Invalid as error:
        raise Invalid(f"{name} {error}") from None


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise Invalid(f"{path} does not exist: check the path") from None
    except IsADirectoryError:
        raise Invalid(f"{path} is a folder: name the WAV file in it") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read ({error.strerror}): check the path and its permissions") from None
    return content


def _read(content: bytes) -> tuple[Samples, int]:
    if not content:
        raise Invalid("is empty: record or copy it again")
    if len(content) > MOST_BYTES:
        raise Invalid(f"is larger than {MOST_BYTES // 2**20} MB: cut it into shorter files")
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        kind = next((kind for magic, kind in _OTHERS.items() if content[: len(magic)] == magic), None)
        raise Invalid(f"is {kind} file, not a WAV: {_CONVERT}" if kind else f"is not a WAV file: {_CONVERT}")
    shape: _Format | None = None
    for label, size, body in _chunks(content):
        if label == b"fmt ":
            shape = _format(body)
        elif label == b"data":
            if shape is None:
                raise Invalid("says nothing of its format before its sound: export it again as a WAV")
            if size not in _UNKNOWN_SIZES and len(body) < size:
                held, told = len(body) / shape.width / shape.rate, size / shape.width / shape.rate
                raise Invalid(f"is cut off after {held:.1f} s of {told:.1f} s: copy or export it again")
            return _samples(body, shape), shape.rate
    raise Invalid("holds no sound: it may be cut off; copy or export it again")


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """Give each chunk's label, the size that it claims and what there is of it."""
    at = 12
    while at + 8 <= len(content):
        label, size = struct.unpack_from("<4sI", content, at)
        at += 8
        rest = label == b"data" and size in _UNKNOWN_SIZES
        end = len(content) if rest else min(at + size, len(content))
        yield label, size, content[at:end]
        # chunks begin at even places; some programs forget the byte that sees to it
        at = end if content[end : end + 4] in {b"data", b"fmt "} else end + size % 2


def _format(body: bytes) -> _Format:
    if len(body) < 16:
        raise Invalid("is cut off within its header: copy or export it again")
    tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        (tag,) = struct.unpack_from("<H", body, 24)
    if (tag, bits) not in _DECODERS:
        raise Invalid(f"is compressed in a way that is not read (format {tag}, {bits} bits): {_CONVERT}")
    if not 1 <= channels <= 8 or block != channels * bits // 8:
        raise Invalid(f"claims {channels} channels of {bits} bits in {block} bytes: {_CONVERT}")
    if not LOWEST <= rate <= HIGHEST:
        raise Invalid(f"has {rate} samples a second, expected {LOWEST} to {HIGHEST}: {_CONVERT}")
    return _Format(tag, channels, rate, bits)


def _samples(body: bytes, shape: _Format) -> Samples:
    whole = len(body) // shape.width * shape.width
    if not whole:
        raise Invalid("holds no sound: record or export it again")
    values: NDArray[Any] = _DECODERS[shape.tag, shape.bits](body[:whole])
    if shape.channels > 1:
        values = values.reshape(-1, shape.channels).mean(axis=1, dtype=np.float64)
    if values.dtype == np.int16:
        return values
    return np.clip(np.rint(values), -32_768, 32_767).astype(np.int16)


def _pcm8(body: bytes) -> NDArray[Any]:
    return (np.frombuffer(body, np.uint8).astype(np.int16) - 128) << 8


def _pcm16(body: bytes) -> NDArray[Any]:
    return np.frombuffer(body, "<i2").astype(np.int16)


def _pcm24(body: bytes) -> NDArray[Any]:
    octets = np.frombuffer(body, np.uint8).reshape(-1, 3)
    low, middle = octets[:, 0].astype(np.float64), octets[:, 1].astype(np.float64)
    return octets[:, 2].astype(np.int8) * 256.0 + middle + low / 256


def _pcm32(body: bytes) -> NDArray[Any]:
    return np.frombuffer(body, "<i4") / 65_536.0


def _float32(body: bytes) -> NDArray[Any]:
    return np.nan_to_num(np.frombuffer(body, "<f4").astype(np.float64), posinf=1, neginf=-1) * 32_768


def _float64(body: bytes) -> NDArray[Any]:
    return np.nan_to_num(np.frombuffer(body, "<f8"), posinf=1, neginf=-1) * 32_768


_DECODERS: Final = {
    (_PCM, 8): _pcm8,
    (_PCM, 16): _pcm16,
    (_PCM, 24): _pcm24,
    (_PCM, 32): _pcm32,
    (_FLOAT, 32): _float32,
    (_FLOAT, 64): _float64,
    (_ALAW, 8): decode_alaw,
    (_ULAW, 8): decode_ulaw,
}
