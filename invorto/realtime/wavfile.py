"""A WAV file that grows and is whole at every moment; blocking, so for a thread.

Data is written at its own place before the header counts it: a process that is killed leaves a file that every player
reads, and a disk that was full for a while leaves silence where nothing could be written.
"""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Final

import numpy as np

from invorto.audio.wav import HEADER_SIZE, header
from invorto.errors import Invalid

MOST_DATA: Final = 2**32 - 1 - HEADER_SIZE
"""Bytes that a WAV file can count: 37 hours at 8 kHz in stereo, six at 48 kHz."""


class WavFile:
    """The file at *path*, which must be new (else ``-2`` is added to its name, and so on); made at the first write."""

    def __init__(self, path: Path, rate: int, channels: int) -> None:
        self.path, self.rate, self.channels = path, rate, channels
        self.size = 0
        """Samples of a channel that the header counts."""
        self._fd: int | None = None
        self._closed = False
        self._lock = threading.Lock()  # a write that was abandoned at a deadline may still be under way

    def write(self, at: int, left: bytes, right: bytes, until: int) -> None:
        """Write both sides from sample *at* on, filled up with silence to *until*; `OSError` as it comes."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, "the recording is closed")
            fd = self._open() if self._fd is None else self._fd
            width = self.channels * 2
            if until * width > MOST_DATA:
                raise OSError(errno.EFBIG, "a WAV file cannot be longer")
            data = _stereo(left, right) if self.channels == 2 else _mono(left, right)
            _write(fd, data, HEADER_SIZE + at * width)
            if os.fstat(fd).st_size < HEADER_SIZE + until * width:
                os.ftruncate(fd, HEADER_SIZE + until * width)
            self.size = max(self.size, until)
            _write(fd, header(self.rate, self.channels, self.size * width), 0)

    def close(self) -> None:
        """Close it; harmless twice, and where it was never made."""
        with self._lock:
            self._closed = True
            if self._fd is not None:
                fd, self._fd = self._fd, None
                os.close(fd)
                if not self.size:
                    self.path.unlink(missing_ok=True)  # not even its header could be written

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stem, number = self.path.stem, 1
        while self._fd is None:
            try:
                self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                number += 1
                self.path = self.path.with_name(f"{stem}-{number}{self.path.suffix}")
        _write(self._fd, header(self.rate, self.channels, 0), 0)
        return self._fd


def repair(path: Path) -> float:
    """Make the header of a recording that was cut off agree with what is there; gives its seconds, or `Invalid`."""
    with path.open("r+b") as file:
        head = file.read(HEADER_SIZE)
        if len(head) < HEADER_SIZE or (head[:4], head[8:16], head[36:40]) != (b"RIFF", b"WAVEfmt ", b"data"):
            raise Invalid(f"{path} is not a recording of ours: it stays as it is")
        channels, rate = int.from_bytes(head[22:24], "little"), int.from_bytes(head[24:28], "little")
        width = channels * 2
        if not rate or not width:
            raise Invalid(f"{path} is not a recording of ours: it stays as it is")
        size = min((file.seek(0, os.SEEK_END) - HEADER_SIZE) // width, MOST_DATA // width)
        file.truncate(HEADER_SIZE + size * width)
        file.seek(0)
        file.write(header(rate, channels, size * width))
        return size / rate


def _stereo(left: bytes, right: bytes) -> bytes:
    """Put two sides side by side; the one that is shorter is silent at its end."""
    both = np.zeros((max(len(left), len(right)) // 2, 2), "<i2")
    for channel, side in enumerate((left, right)):
        both[: len(side) // 2, channel] = np.frombuffer(side, np.int16)
    return both.tobytes()


def _mono(left: bytes, right: bytes) -> bytes:
    """Add two sides; what is too loud is clipped."""
    total = np.zeros(max(len(left), len(right)) // 2, np.int32)
    for side in (left, right):
        total[: len(side) // 2] += np.frombuffer(side, np.int16)
    return np.clip(total, -32_768, 32_767).astype("<i2").tobytes()


def _write(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
