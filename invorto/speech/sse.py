"""Server-sent events out of a stream of bytes, however it is cut: only what they carry as ``data``."""

from __future__ import annotations

from collections.abc import Iterator

LARGEST = 1024 * 1024
"""Bytes of one event: what is longer is no answer of a model."""


class Events:
    """One stream; pure."""

    def __init__(self, most: int = LARGEST) -> None:
        self._most = most
        self._line = bytearray()
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take some bytes and give the data of each event that is whole; `ValueError` where one has no end."""
        self._line += data
        if b"\n" not in data and b"\r" not in data:
            self._bound()
            return
        *lines, rest = bytes(self._line).replace(b"\r\n", b"\n").split(b"\n")
        self._line = bytearray(rest)
        for line in lines:
            yield from self._take(line.rstrip(b"\r"))
        self._bound()

    def _take(self, line: bytes) -> Iterator[bytes]:
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size += len(value)
        elif self._data:
            event = b"\n".join(self._data)
            self._data, self._size = [], 0
            yield event

    def _bound(self) -> None:
        if len(self._line) + self._size > self._most:
            raise ValueError(f"an event of more than {self._most} bytes")
