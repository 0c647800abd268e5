"""The bytes under a voice socket: written at once if the kernel takes them, read when there are some.

A Trio socket is used through its descriptor, so that sending needs no ``await`` and reading costs one wake-up and one
system call. Any other stream (memory streams in tests) has the same port and waits in `Wire.drain` instead.
"""

from __future__ import annotations

import os
from typing import Protocol

import trio

from invorto.realtime.readers import Readers

CHUNK = 16_384
"""Bytes a read: most audio's 200 ms, and so little that a flood of tiny frames is a few milliseconds of work."""


class Gone(Exception):
    """The connection is closed or broken."""


class Wire(Protocol):
    """A connection; every verb raises `Gone` when it is no more, and none of them after `cut`."""

    def write(self, data: bytes) -> int:
        """Send what can be sent without waiting; how many bytes that was."""
        ...

    async def drain(self, data: bytes) -> int:
        """Wait until some of *data* can be sent, and send it; how many bytes that was."""
        ...

    async def read(self) -> bytes:
        """Wait for bytes; empty at the end."""
        ...

    async def end(self) -> None:
        """Tell the peer that nothing more comes from us; it may still send."""
        ...

    async def cut(self) -> None:
        """Close now, without waiting for anyone; harmless twice."""
        ...


def wire_of(stream: trio.abc.Stream, readers: Readers | None = None) -> Wire:
    """Choose how to use *stream*; it belongs to the wire from then on. A socket waits for bytes among *readers*."""
    return SocketWire(stream, readers or Readers()) if isinstance(stream, trio.SocketStream) else StreamWire(stream)


class SocketWire:
    """A kernel socket."""

    __slots__ = ("_fd", "_readers", "_stream")

    def __init__(self, stream: trio.SocketStream, readers: Readers) -> None:
        self._stream = stream
        self._fd = stream.socket.fileno()
        self._readers = readers
        readers.join(self._fd)

    def write(self, data: bytes) -> int:
        """Send what the kernel takes."""
        if self._fd < 0:
            raise Gone
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise Gone from error

    async def drain(self, data: bytes) -> int:
        """Wait until the kernel takes some."""
        if self._fd < 0:
            raise Gone
        try:
            await trio.lowlevel.wait_writable(self._fd)
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except (OSError, trio.ClosedResourceError) as error:
            raise Gone from error

    async def read(self) -> bytes:
        """Wait first, then read: audio is never there already, so trying first is a system call and an error wasted."""
        while self._fd >= 0:
            try:
                await self._readers.wait(self._fd)
                data = os.read(self._fd, CHUNK)  # the number is looked up again: it may have been cut in between
            except BlockingIOError:
                self._readers.drained(self._fd)
                continue
            except (OSError, trio.ClosedResourceError) as error:
                raise Gone from error
            if 0 < len(data) < CHUNK:
                self._readers.drained(self._fd)
            return data
        raise Gone

    async def end(self) -> None:
        """Shut our direction."""
        try:
            await self._stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error

    async def cut(self) -> None:
        """Close the socket; whoever waits for it is woken, and the number is never used again."""
        fd, self._fd = self._fd, -1
        self._readers.leave(fd)
        await trio.aclose_forcefully(self._stream)


class StreamWire:
    """Any Trio stream."""

    __slots__ = ("_stream",)

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Send nothing: all waits its turn."""
        del data
        return 0

    async def drain(self, data: bytes) -> int:
        """Send all of it."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error
        return len(data)

    async def read(self) -> bytes:
        """Wait for bytes."""
        try:
            return bytes(await self._stream.receive_some())
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Gone from error

    async def end(self) -> None:
        """Shut our direction where the stream can."""
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            try:
                await self._stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Gone from error

    async def cut(self) -> None:
        """Close the stream."""
        await trio.aclose_forcefully(self._stream)
