"""A simulated caller's socket: opens it, sends frames that were made beforehand, hands on what comes."""

from __future__ import annotations

import errno
import os
import socket
import struct

from ops.bench.frames import CLOSE, PING, PONG, TEXT, Incoming, frame, handshake
from ops.bench.loop import Loop

CHUNK = 262_144


class Socket:
    """One voice socket; subclasses say what to do with its frames and its end."""

    def __init__(self, loop: Loop, port: int, target: str, key: str, *, buffer: int | None = None) -> None:
        self._loop = loop
        self._socket = socket.socket()
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._fd = self._socket.fileno()
        self._incoming = Incoming()
        self._open = False
        self.over = False
        self.blocked = 0
        """Frames that the kernel did not take: the server does not read."""
        loop.watch(self._fd, self._read)
        self.send(handshake(target, key))

    # -- for the caller ---------------------------------------------------------------------------

    def opened(self) -> None:
        """Note that the first frame came."""

    def told(self, message: bytes) -> None:
        """Take a text message."""

    def heard(self) -> None:
        """Take note of a frame of audio."""

    def ended(self) -> None:
        """Note that the connection is over, however that came."""

    # -- sending ----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send what the kernel takes, which is all of it as long as the server reads."""
        if self.over:
            return
        try:
            if os.write(self._fd, data) < len(data):
                self.hang_up()  # half a frame cannot be mended
        except BlockingIOError:
            self.blocked += 1
        except OSError:
            self._end()

    def say(self, message: str) -> None:
        """Send a text message."""
        self.send(frame(TEXT, message.encode()))

    # -- ways to go -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close as the protocol wants it; the server's answer ends it."""
        self.send(frame(CLOSE, struct.pack("!H", 1000)))

    def hang_up(self) -> None:
        """Close the connection without a word."""
        self._end()

    def reset(self) -> None:
        """Close it so that the server meets an error."""
        if not self.over:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._end()

    def half_close(self) -> None:
        """Say that nothing more comes from here, and go on reading."""
        if not self.over:
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise

    def stop_reading(self) -> None:
        """Leave what comes where it is."""
        if not self.over:
            self._loop.forget(self._fd)

    # -- receiving --------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end()
            return
        for opcode, payload in self._incoming.feed(data):
            if not self._open:
                self._begin()
            if opcode == TEXT:
                self.told(payload)
            elif opcode == PING:
                self.send(frame(PONG, payload))
            elif opcode == CLOSE:
                self.send(frame(CLOSE, payload[:2]))
                self._end()
                return
            else:
                self.heard()
            if self.over:
                return

    def _begin(self) -> None:
        self._open = True
        self.opened()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            self._loop.forget(self._fd)
            self._socket.close()
            self.ended()
