"""The route of a call's recording: a file that is read as it is sent, whole or in a range."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio
from quart import Response, request
from quart.wrappers.response import ResponseBody
from quart_trio.wrappers import TrioResponse
from werkzeug.http import parse_range_header

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.problems import Refused
from invorto.api.routing import Routes
from invorto.errors import NotFound, NotSupported
from invorto.storage import calls

_PIECE = 64 * 1024
"""Bytes read at a time: two seconds of stereo at 8 kHz, and all that a slow listener holds in memory."""


class Excerpt(ResponseBody):
    """The bytes of a file from *begin* to before *end*."""

    def __init__(self, path: Path, begin: int, end: int) -> None:
        self._path, self._at, self._end = path, begin, end
        self._file: Any = None

    async def __aenter__(self) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride] - quart names itself
        self._file = await trio.open_file(self._path, "rb")
        await self._file.seek(self._at)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):  # closing a file that is only read does not wait for anybody
            await self._file.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece: bytes = await self._file.read(min(_PIECE, self._end - self._at))
        if not piece:
            raise StopAsyncIteration
        self._at += len(piece)
        return piece


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """
    Give the bytes that a ``Range`` header asks for; None for all of them.

    A header that is none, or that asks for several ranges, counts as absent, as HTTP allows. `Refused` (416) for a
    range that begins behind the end.
    """
    asked = parse_range_header(header)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    begin, end = asked.ranges[0]
    if end is not None and end <= begin:
        return None
    if begin < 0:
        begin = max(0, size + begin)  # the last so many
    if begin >= size:
        raise Refused(416, "range_not_satisfiable", f"the recording has {size} bytes")
    return begin, size if end is None else min(end, size)


def locate(folder: Path, kept: str) -> tuple[Path, int]:
    """Find a recording's file and its size; `NotSupported` for one that is elsewhere, `NotFound` outside the folder."""
    if "://" in kept and not kept.startswith("file://"):
        raise NotSupported("this recording is not on this host: ask for its artifacts")
    path = Path(folder, kept.removeprefix("file://")).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise NotFound("there is no recording of this call, or it is gone")
    return path, path.stat().st_size


async def send_recording(folder: Path, kept: str, call_id: str) -> Response:
    """Answer with the recording that is *kept*, or the range of it that the request asks for."""
    path, size = await trio.to_thread.run_sync(locate, folder, kept)
    headers = {
        "Content-Type": "audio/wav",
        "Content-Disposition": f'inline; filename="{call_id}.wav"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
    }
    part = asked_range(request.headers.get("Range"), size)
    begin, end = part or (0, size)
    headers["Content-Length"] = str(end - begin)
    if part:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    response = TrioResponse(Excerpt(path, begin, end), 206 if part else 200, headers)
    response.timeout = None  # a long recording over a slow line; who does not read at all is cut off below us
    return response


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the route."""
    routes = Routes("recordings", gate, "/v1/calls")

    @routes.get(
        "/<call_id>/recording", needs="analyst", gives=bytes, kinds=["audio/wav"], also=[206],
        errors=["not_supported", "range_not_satisfiable"],
    )  # fmt: skip
    async def read(caller: Caller, call_id: str) -> Response:
        """Give a call's recording, whole or in a range."""
        kept = (await calls.detail(deps.database, caller.tenant_id, call_id))["recording"]
        if kept is None:
            raise NotFound("there is no recording of this call")
        return await send_recording(deps.recordings, kept, call_id)

    return routes
