"""What a call left as files that are made while they are sent: nothing of them is held in memory but the next piece."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import trio
from quart.wrappers.response import ResponseBody

from invorto.convert import unstructure
from invorto.model.record import TimelineEvent, Utterance
from invorto.storage.json_text import json_text

PIECE = 64 * 1024
type Pieces = AsyncGenerator[bytes]


class Sent(ResponseBody):
    """A body of *pieces*, which are closed with it."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    async def __aenter__(self) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] - quart names itself
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):  # a file that is only read is closed at once
            await self._pieces.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces


async def of_file(path: Path) -> Pieces:  # noqa: ASYNC900 - `Sent` closes it
    """Read a file."""
    async with await trio.open_file(path, "rb") as file:
        while piece := await file.read(PIECE):
            yield piece  # noqa: ASYNC119 - `Sent` closes it


async def of_text(text: bytes) -> Pieces:  # noqa: ASYNC900 - `Sent` closes it
    """Give what is there already."""
    await trio.lowlevel.checkpoint()
    yield text


async def of_events(read: Callable[[str | None], Awaitable[list[TimelineEvent]]]) -> Pieces:  # noqa: ASYNC900 - `Sent` closes it
    """Give a timeline page by page, an event a line."""
    after: str | None = None
    while page := await read(after):
        after = page[-1].id
        yield lines(page)


def lines(values: Iterable[TimelineEvent] | Iterable[Utterance]) -> bytes:
    """Write each value as a line of JSON."""
    return b"".join(json_text(unstructure(value)) + b"\n" for value in values)


class _Sink:
    """Where the archive writes; it cannot go back in it."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None:
        """There is nothing below."""

    def take(self) -> bytes:
        """Give what was written since the last time."""
        taken = bytes(self._written)
        self._written.clear()
        return taken


async def zipped(members: Iterable[tuple[str, Pieces]]) -> Pieces:  # noqa: ASYNC900 - `Sent` closes it
    """Make an archive of *members* as it goes; sound is stored as it is, all else compressed."""
    sink = _Sink()
    with ZipFile(sink, "w") as archive:  # pyright: ignore[reportArgumentType, reportCallIssue] - write is all it needs
        for name, pieces in members:
            info = ZipInfo(name)
            info.compress_type = ZIP_STORED if name.endswith(".wav") else ZIP_DEFLATED
            async with aclosing(pieces):
                with archive.open(info, "w", force_zip64=True) as member:
                    async for piece in pieces:
                        member.write(piece)
                        if made := sink.take():
                            yield made  # noqa: ASYNC119 - `Sent` closes it
    yield sink.take()
