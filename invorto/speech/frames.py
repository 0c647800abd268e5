"""What passes between the server and an engine's process: MessagePack behind its length, pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

LARGEST = 16 * 1024 * 1024
"""Bytes of one frame: half a minute of audio is 1 MB, so more is a broken stream."""

_LENGTH = struct.Struct("<I")


class Ask(msgspec.Struct, tag="a", array_like=True):
    """Do something: less *urgent* work waits for more urgent, 0 first."""

    id: int
    urgent: int
    what: str
    body: Any


class Drop(msgspec.Struct, tag="d", array_like=True):
    """Never mind: nobody reads the answer to this any more."""

    id: int


class Ready(msgspec.Struct, tag="r", array_like=True):
    """The engine is loaded."""

    about: Any


class Piece(msgspec.Struct, tag="p", array_like=True):
    """Some of an answer; *last*: the end of it, with nothing in it."""

    id: int
    body: Any
    last: bool


class Failed(msgspec.Struct, tag="f", array_like=True):
    """It could not be done; id 0: the engine could not be loaded."""

    id: int
    message: str


type Order = Ask | Drop
type Report = Ready | Piece | Failed

_ENCODER = msgspec.msgpack.Encoder()


def pack(message: Order | Report) -> bytes:
    """Make a frame."""
    body = _ENCODER.encode(message)
    return _LENGTH.pack(len(body)) + body


class Unpacker[T]:
    """Messages out of a stream of bytes, however it is cut."""

    def __init__(self, kind: Any) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind)
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[T]:
        """Take in some bytes and give the messages that are whole; `ValueError` if they are none."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > LARGEST:
                raise ValueError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield self._decoder.decode(body)


ORDERS = Ask | Drop
REPORTS = Ready | Piece | Failed
