"""The client's side of the voice socket for a load: frames made beforehand, and a parser that looks at little."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from websockets.speedups import apply_mask

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


def frame(opcode: int, payload: bytes) -> bytes:
    """Make a masked frame; a frame of audio is made once and sent many times, so its mask is the same each time."""
    mask, size = os.urandom(4), len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + mask + apply_mask(payload, mask)


def handshake(target: str, key: str) -> bytes:
    """Make the request that opens a voice socket."""
    lines = (
        f"GET {target} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Sec-WebSocket-Protocol: invorto.v1, {key}", "", "",
    )  # fmt: skip
    return "\r\n".join(lines).encode()


class Incoming:
    """Cuts what a server sends into frames; a server does not mask."""

    def __init__(self) -> None:
        self._data = b""
        self.status: int | None = None
        """Of the answer to the handshake, once it has come."""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes; gives the opcode and payload of each frame that is complete."""
        data = self._data + data if self._data else data
        at, end = 0, len(data)
        if self.status is None:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                self._data = data
                return
            self.status = int(data[9:12])
            at = head + 4
        while end - at >= 2:
            size, body = data[at + 1] & 127, at + 2
            if size == 126:
                body += 2
                size = int.from_bytes(data[at + 2 : body]) if end >= body else end
            elif size == 127:
                body += 8
                size = int.from_bytes(data[at + 2 : body]) if end >= body else end
            if end < body + size:
                break
            yield data[at] & 15, data[body : body + size]
            at = body + size
        self._data = data[at:]
