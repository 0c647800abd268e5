"""WAV: what people have is read, and what is not sound is told in a sentence."""

from __future__ import annotations

import io
import os
import struct
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.audio.g711 import encode_alaw, encode_ulaw
from invorto.audio.wav import encode_wav, read_wav, write_wav
from invorto.errors import Invalid

SOUND = np.round(12_000 * np.sin(np.arange(800) / 7)).astype(np.int16)


def chunk(label: bytes, body: bytes, *, pad: bool = True) -> bytes:
    """Make a chunk, padded to an even size or not."""
    return label + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2 if pad else 0)


def fmt(tag: int = 1, channels: int = 1, rate: int = 8000, bits: int = 16, extra: bytes = b"") -> bytes:
    """Make the chunk that tells the format."""
    width = channels * bits // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * width, width, bits) + extra)


def riff(*chunks: bytes) -> bytes:
    """Make a file of chunks."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


PLAIN = riff(fmt(), chunk(b"data", SOUND.tobytes()))
EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + struct.pack("<H", 1) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
STEREO = np.stack((SOUND, np.zeros_like(SOUND)), axis=1)
WIDE = SOUND.astype(np.int32)
BITS_24 = (WIDE << 8).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]

READABLE = {
    "8 bits": (riff(fmt(bits=8), chunk(b"data", ((WIDE >> 8) + 128).astype(np.uint8).tobytes())), 256),
    "16 bits": (PLAIN, 0),
    "24 bits": (riff(fmt(bits=24), chunk(b"data", BITS_24.tobytes())), 0),
    "32 bits": (riff(fmt(bits=32), chunk(b"data", (WIDE << 16).tobytes())), 0),
    "float": (riff(fmt(3, bits=32), chunk(b"data", (SOUND / 32_768).astype("<f4").tobytes())), 0),
    "double": (riff(fmt(3, bits=64), chunk(b"data", (SOUND / 32_768).astype("<f8").tobytes())), 0),
    "µ-law": (riff(fmt(7, bits=8), chunk(b"data", encode_ulaw(SOUND))), 260),
    "A-law": (riff(fmt(6, bits=8), chunk(b"data", encode_alaw(SOUND))), 260),
    "extensible": (riff(fmt(0xFFFE, extra=EXTENSIBLE), chunk(b"data", SOUND.tobytes())), 0),
    "odd chunk before": (riff(chunk(b"LIST", b"abc"), fmt(), chunk(b"fact", b"x"), chunk(b"data", SOUND.tobytes())), 0),
    "odd chunk without its pad": (riff(fmt(), chunk(b"LIST", b"abc", pad=False), chunk(b"data", SOUND.tobytes())), 0),
    "junk after": (PLAIN + b"LIST" + os.urandom(33), 0),
    "streamed, size all ones": (PLAIN.replace(struct.pack("<4sI", b"data", 1600), b"data\xff\xff\xff\xff"), 0),
    "streamed, size zero": (PLAIN.replace(struct.pack("<4sI", b"data", 1600), b"data\0\0\0\0"), 0),
    "half a sample at the end": (riff(fmt(), chunk(b"data", SOUND.tobytes() + b"\1")), 0),
}  # fmt: skip


@pytest.mark.parametrize("name", READABLE, ids=lambda name: name.replace(" ", "-").replace("µ", "u"))
def test_what_people_have_is_read(name):
    """Every ordinary form gives the same sound, as exactly as its width allows."""
    content, error = READABLE[name]
    samples, rate = read_wav(content)
    assert rate == 8000
    assert samples.dtype == np.int16
    assert samples.size == SOUND.size
    assert np.abs(samples.astype(int) - SOUND).max() <= error


def test_channels_are_mixed():
    """Stereo becomes the mean of both sides."""
    samples, _ = read_wav(encode_wav(STEREO, 8000))
    assert np.abs(samples - SOUND / 2).max() <= 0.5


def test_loud_and_broken_floats_are_clipped():
    """Floats beyond full scale are clipped, and what is no number is silence."""
    body = np.array([2.0, -2.0, np.nan, np.inf, -np.inf, 0.5], "<f4").tobytes()
    assert read_wav(riff(fmt(3, bits=32), chunk(b"data", body)))[0].tolist() == [
        *(32_767, -32_768, 0, 32_767, -32_768, 16_384)
    ]


UNREADABLE = {
    "nothing": (b"", "is empty"),
    "noise": (os.urandom(400).replace(b"RIFF", b""), "is not a WAV file: convert it"),
    "a text": (b"hello, this is not sound at all", "is not a WAV file"),
    "an MP3": (b"ID3\x04" + bytes(100), "is an MP3 file"),
    "an Ogg": (b"OggS" + bytes(100), "is an Ogg file"),
    "a RIFF that is no WAV": (b"RIFF\x10\0\0\0AVI " + bytes(64), "is not a WAV file"),
    "cut off in its sound": (PLAIN[:-800], "cut off after 0.1 s of 0.1 s: copy or export it again"),
    "cut off in its header": (PLAIN[:30], "cut off"),
    "cut off before its sound": (PLAIN[:36], "holds no sound"),
    "no sound": (riff(fmt(), chunk(b"data", b"")), "holds no sound"),
    "sound before its format": (riff(chunk(b"data", SOUND.tobytes()), fmt()), "nothing of its format"),
    "ADPCM": (riff(fmt(2, bits=4), chunk(b"data", SOUND.tobytes())), "compressed in a way that is not read"),
    "no channel": (riff(fmt(channels=0), chunk(b"data", SOUND.tobytes())), "0 channels"),
    "nine channels": (riff(fmt(channels=9), chunk(b"data", SOUND.tobytes())), "9 channels"),
    "no rate": (riff(fmt(rate=0), chunk(b"data", SOUND.tobytes())), "0 samples a second"),
    "a rate of a million": (riff(fmt(rate=10**6), chunk(b"data", SOUND.tobytes())), "1000000 samples a second"),
}


@pytest.mark.parametrize("name", UNREADABLE, ids=lambda name: name.replace(" ", "-"))
def test_what_is_not_read_says_what_to_do(name):
    """A file that cannot be used is one sentence that names it and the way out."""
    content, sentence = UNREADABLE[name]
    with pytest.raises(Invalid, match=f"^greeting.wav .*{sentence}"):
        read_wav(content, "greeting.wav")


def test_a_path_that_cannot_be_read_says_why(tmp_path: Path):
    """A missing file and a folder are told apart, with the path."""
    with pytest.raises(Invalid, match=r"gone\.wav does not exist"):
        read_wav(tmp_path / "gone.wav")
    with pytest.raises(Invalid, match="is a folder"):
        read_wav(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match=r"beyond\.wav cannot be read \(Not a directory\): check the path"):
        read_wav(tmp_path / "file" / "beyond.wav")


def test_what_is_too_large_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file beyond the bound is refused, and no more than the bound is read."""
    monkeypatch.setattr("invorto.audio.wav.MOST_BYTES", 1000)
    write_wav(tmp_path / "long.wav", SOUND, 8000)
    with pytest.raises(Invalid, match="is larger than"):
        read_wav(tmp_path / "long.wav")


@pytest.mark.parametrize("sound", [SOUND, STEREO], ids=["mono", "stereo"])
def test_others_read_what_is_written(tmp_path: Path, sound):
    """The standard library's reader agrees with every field."""
    write_wav(tmp_path / "out.wav", sound, 16_000)
    with wave.open(str(tmp_path / "out.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, sound.ndim, 2)
        assert file.readframes(10**6) == sound.tobytes()


@given(
    st.binary(max_size=4000).map(lambda raw: raw[: len(raw) // 2 * 2]), st.sampled_from([8000, 16_000, 22_050, 48_000])
)
def test_mono_comes_back_as_it_was(raw, rate):
    """Writing and reading gives every sample back, with its rate."""
    samples = np.frombuffer(raw, np.int16)
    if samples.size:
        back, told = read_wav(encode_wav(samples, rate))
        assert told == rate
        assert back.tolist() == samples.tolist()


@settings(max_examples=300)
@given(st.integers(0, len(PLAIN)), st.integers(0, 60), st.binary(max_size=8))
def test_garbage_is_invalid_and_nothing_else(cut, at, noise):
    """Whatever is cut or overwritten, it is read or `Invalid`: never another error."""
    content = bytearray(PLAIN[:cut])
    content[at : at + len(noise)] = noise
    with suppress(Invalid):
        samples, rate = read_wav(bytes(content))
        assert samples.size
        assert rate


def test_the_standard_library_writes_what_is_read():
    """A file of another writer is read to the sample."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(SOUND.tobytes())
    samples, rate = read_wav(buffer.getvalue())
    assert rate == 16_000
    assert samples.tolist() == SOUND.tolist()
