"""RFC 6455 without a socket: bytes in, messages out, and the bytes to send back.

Frames of audio are what a call is made of, so a whole, unfragmented message takes one short path and comes out as plain
``bytes`` or ``str``; only what is rare is an object. The rules of the file:

* `receive_data` takes bytes as they come, `next_event` gives what they make up, None when more are needed.
* The send verbs give the bytes to send, and have no other effect than to remember that a close was sent.
* The far end's faults raise `PeerError` with the code to close with, again on every later `next_event`.
* What is buffered is bounded: a message or a frame that says it is longer than the limit is refused by its header.
* No extensions: compression costs more than it saves on audio.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable

import attrs
from websockets.speedups import apply_mask

from invorto.errors import PeerError

MESSAGE_LIMIT = 65_536
"""Bytes of the longest message by default: ten times 200 ms of base64 audio at 16 kHz."""

NO_CODE = 1005
"""Stands for a close frame without a code; never on the wire."""

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_FIN, _RESERVED, _MASKED, _CONTROL = 0x80, 0x70, 0x80, 0x08
_WHOLE_TEXT, _WHOLE_BINARY = _FIN | _TEXT, _FIN | _BINARY
_WHOLE = frozenset({_WHOLE_TEXT, _WHOLE_BINARY})
_KNOWN = frozenset({_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG})
_SHORT = 126
_CONTROL_LIMIT = 125


@attrs.frozen
class Ping:
    """The far end asks whether we are there: answer with ``pong(payload)``."""

    payload: bytes


@attrs.frozen
class Pong:
    """The far end is there."""

    payload: bytes


@attrs.frozen
class Close:
    """The far end has closed; *code* is 1005 if it gave none. Nothing comes after it: answer with ``close(code)``."""

    code: int
    reason: str


type Event = bytes | str | Ping | Pong | Close
"""What comes in: a binary message, a text message, or one of the three that control."""


def may_close_with(code: int) -> bool:
    """Tell whether *code* may stand in a close frame (RFC 6455 7.4, and the registry as of 2024)."""
    return (1000 <= code <= 1014 and code not in {1004, 1005, 1006}) or 3000 <= code <= 4999


class Framing:
    """One side of one connection, after the handshake; a server's unless *client*."""

    __slots__ = (
        "_at", "_broken", "_client", "_data", "_decoder", "_joined", "_limit", "_mask", "_need", "_opcode",
        "close_sent", "closed",
    )  # fmt: skip

    def __init__(
        self,
        *,
        client: bool = False,
        limit: int = MESSAGE_LIMIT,
        mask: Callable[[], bytes] = lambda: os.urandom(4),
    ) -> None:
        self._client = client
        self._limit = limit
        self._mask = mask
        self._data: bytes | bytearray = b""
        self._at = 0  # what is before it has been used
        self._need = 2  # bytes from _at on that the next step takes, so that a slow drip is not parsed again and again
        self._opcode = _CONTINUATION  # of the message whose fragments are being put together
        self._joined = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.closed = False
        """Whether the far end has sent its close frame."""
        self.close_sent = False
        """Whether ours has been made."""
        self._broken: PeerError | None = None

    def receive_data(self, data: bytes) -> None:
        """Take what came over the wire; what comes after a close, or after a fault, is dropped."""
        if self.closed or self._broken is not None:
            return
        if self._at == len(self._data):
            self._data = data
        elif isinstance(self._data, bytearray):
            del self._data[: self._at]
            self._data += data
        else:
            self._data = bytearray(memoryview(self._data)[self._at :])
            self._data += data
        self._at = 0

    def next_event(self) -> Event | None:
        """Give the next thing that has come whole; None when more data is needed. Raises `PeerError`."""
        data, at = self._data, self._at
        if len(data) - at < self._need:
            if self._broken is not None:
                raise self._broken
            return None
        # The short path: a whole short or middling message from a client, and no other under way.
        opening = data[at]
        if opening in _WHOLE and not self._opcode and not self._client:
            size = data[at + 1] - _MASKED
            if 0 <= size <= _SHORT:
                start = at + 6
                if size == _SHORT:
                    size = data[at + 2] << 8 | data[at + 3] if len(data) - at >= 4 else 0
                    start = at + 8
                end = start + size
                if end <= len(data) and (size <= self._limit and (size >= _SHORT or start == at + 6)):
                    payload = apply_mask(data[start:end], data[start - 4 : start])
                    self._at = end
                    self._need = 2
                    if opening == _WHOLE_BINARY:
                        return payload
                    return self._decode(payload)
        return self._long_way()

    def _long_way(self) -> Event | None:
        """Do all that the short path does not."""
        try:
            while True:
                frame = self._frame()
                if frame is None:
                    return None
                opcode, final, payload = frame
                event = self._event(opcode, payload, final=final)
                if event is not None:
                    return event
        except PeerError as error:
            self._drop(error)
            raise

    def _frame(self) -> tuple[int, bool, bytes] | None:
        """Take one whole frame: opcode, whether it is final, payload. The header alone is enough to refuse it."""
        data, at = self._data, self._at
        self._need = 2
        if len(data) - at < 2:
            return None
        opcode, size = data[at] & 0x0F, data[at + 1] & 0x7F
        self._check(data[at], data[at + 1])
        start = at + (2 if size < _SHORT else 4 if size == _SHORT else 10)
        self._need = start - at
        if len(data) < start:
            return None
        if size >= _SHORT:
            least = _SHORT if size == _SHORT else 65_536
            size = int.from_bytes(data[at + 2 : start])
            if size < least or size >> 63:
                raise PeerError(1002, "a length is not in its shortest form")
        if not opcode & _CONTROL and len(self._joined) + size > self._limit:
            raise PeerError(1009, f"a message is longer than {self._limit} bytes")
        if not self._client:
            start += 4
        end = start + size
        self._need = end - at
        if len(data) < end:
            return None
        payload = data[start:end]
        self._at, self._need = end, 2
        payload = bytes(payload) if self._client else apply_mask(payload, data[start - 4 : start])
        return opcode, bool(data[at] & _FIN), payload

    def _check(self, first: int, second: int) -> None:
        """Refuse what must not be in the first two bytes of a frame, or not now."""
        opcode = first & 0x0F
        if first & _RESERVED:
            raise PeerError(1002, "reserved bits are set")
        if opcode not in _KNOWN:
            raise PeerError(1002, "unknown opcode")
        if bool(second & _MASKED) is self._client:
            raise PeerError(1002, "a server's frame is masked" if self._client else "a client's frame is not masked")
        if opcode & _CONTROL:
            if not first & _FIN:
                raise PeerError(1002, "a control frame is fragmented")
            if second & 0x7F > _CONTROL_LIMIT:
                raise PeerError(1002, "a control frame is too long")
        elif opcode == _CONTINUATION and not self._opcode:
            raise PeerError(1002, "a continuation of nothing")
        elif opcode != _CONTINUATION and self._opcode:
            raise PeerError(1002, "a message inside another")

    def _event(self, opcode: int, payload: bytes, *, final: bool) -> Event | None:
        """Say what a frame makes up; None if it is a part of a message."""
        if opcode == _PING:
            return Ping(payload)
        if opcode == _PONG:
            return Pong(payload)
        if opcode == _CLOSE:
            return self._close(payload)
        if opcode != _CONTINUATION:
            if final:
                return payload if opcode == _BINARY else self._decode(payload)
            self._opcode = opcode
        return self._join(payload, final=final)

    def _join(self, payload: bytes, *, final: bool) -> bytes | str | None:
        """Put a fragment to the others; text is checked as it comes."""
        self._joined += payload
        text = self._opcode == _TEXT
        if text:
            try:
                self._decoder.decode(payload, final)
            except UnicodeDecodeError:
                raise PeerError(1007, "text is not UTF-8") from None
        if not final:
            return None
        whole = str(self._joined, "utf-8") if text else bytes(self._joined)
        self._opcode, self._joined = _CONTINUATION, bytearray()
        return whole

    def _decode(self, payload: bytes) -> str:
        try:
            return str(payload, "utf-8")
        except UnicodeDecodeError:
            error = PeerError(1007, "text is not UTF-8")
            self._drop(error)
            raise error from None

    def _close(self, payload: bytes) -> Close:
        if len(payload) == 1:
            raise PeerError(1002, "half a close code")
        code = int.from_bytes(payload[:2]) if payload else NO_CODE
        if payload and not may_close_with(code):
            raise PeerError(1002, f"nobody closes with {code}")
        try:
            reason = str(payload[2:], "utf-8")
        except UnicodeDecodeError:
            raise PeerError(1007, "the reason is not UTF-8") from None
        self.closed = True
        self._drop()
        return Close(code, reason)

    def _drop(self, error: PeerError | None = None) -> None:
        self._broken = error
        self._data, self._at, self._need, self._joined = b"", 0, 2, bytearray()

    def binary(self, payload: bytes) -> bytes:
        """Frame a binary message."""
        return self._frame_of(_WHOLE_BINARY, payload)

    def text(self, message: str) -> bytes:
        """Frame a text message; a lone surrogate, which no peer could read, becomes a question mark."""
        return self._frame_of(_WHOLE_TEXT, message.encode("utf-8", "replace"))

    def ping(self, payload: bytes = b"") -> bytes:
        """Frame a ping of at most 125 bytes."""
        return self._frame_of(_FIN | _PING, payload[:_CONTROL_LIMIT])

    def pong(self, payload: bytes = b"") -> bytes:
        """Frame the answer to a ping."""
        return self._frame_of(_FIN | _PONG, payload[:_CONTROL_LIMIT])

    def close(self, code: int = 1000, reason: str = "") -> bytes:
        """Frame a close; a second one is empty. A code that must not be sent becomes none, a long reason is cut."""
        if self.close_sent:
            return b""
        self.close_sent = True
        if not may_close_with(code):
            return self._frame_of(_FIN | _CLOSE, b"")
        words = reason.encode("utf-8", "replace")[: _CONTROL_LIMIT - 2].decode("utf-8", "ignore").encode()
        return self._frame_of(_FIN | _CLOSE, code.to_bytes(2) + words)

    def _frame_of(self, opening: int, payload: bytes) -> bytes:
        size = len(payload)
        if self._client:
            key = self._mask()
            return _header(opening, _MASKED, size) + key + apply_mask(payload, key)
        return _header(opening, 0, size) + payload


def _header(opening: int, masked: int, size: int) -> bytes:
    if size < _SHORT:
        return bytes((opening, masked | size))
    if size < 65_536:
        return bytes((opening, masked | _SHORT, size >> 8, size & 0xFF))
    return bytes((opening, masked | 127)) + size.to_bytes(8)
