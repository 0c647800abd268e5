"""A folder of records that outlive the process: written whole or not at all, read back in the order they came."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import structlog
import trio

from invorto.errors import Unavailable, UsageError

log = structlog.get_logger(__name__)

MOST_BYTES = 256 * 2**20
"""The largest record: a day's call with a timeline of a million events."""
_MAGIC = b"invorto-spool-1"
_STALE = 600.0
"""Seconds after which a half-written file belongs to nobody: writing one takes milliseconds."""


@attrs.frozen
class Record:
    """What was put: *kind* is one word that says how to read *body*."""

    name: str
    kind: str
    body: bytes


class Spool:
    """
    Keeps records as files of *folder*, named by the time at which they came.

    Several processes may share the folder: each name is used once, and a file that another has removed is no error.
    """

    def __init__(self, folder: Path, now_ns: Callable[[], int] = time.time_ns, *, threads: bool = True) -> None:
        """
        Make the folder where it is missing; `UsageError` if it cannot be written in.

        Without *threads* the disk is waited for in place: for tests in virtual time, which leaps while a thread works.
        """
        self._folder, self._now_ns, self._threads = folder, now_ns, threads
        self._limiter = trio.CapacityLimiter(2)  # a disk that hangs does not take all threads of the process
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
            names = self._names()
            with (folder / f".probe-{os.getpid()}").open("wb"):
                pass
            (folder / f".probe-{os.getpid()}").unlink(missing_ok=True)
        except OSError as error:
            text = f"the spool {folder} cannot be used ({error.strerror}): choose another folder with DATA_DIR"
            raise UsageError(text) from error
        self._last = int(names[-1].partition("-")[0]) if names else 0

    async def put(self, kind: str, body: bytes) -> str:
        """
        Keep a record and give its name; when this returns it outlives a loss of power.

        It cannot be cancelled half-way. Raises `Unavailable` when the disk is full, or the record over `MOST_BYTES`.
        """
        self._last = max(self._last + 1, self._now_ns())  # taken before any waiting: the order is that of the calls
        name = f"{self._last:020d}-{os.getpid()}-{kind}.rec"
        try:
            if len(body) > MOST_BYTES:
                raise OSError(f"{len(body)} bytes are more than {MOST_BYTES}")
            with trio.CancelScope(shield=True):
                await self._run(self._put, name, body)
        except OSError as error:
            log.error("spool_write_failed", name=name, error=str(error))
            text = f"the spool {self._folder} cannot be written: {error.strerror or error}"
            raise Unavailable(text, "store_unavailable") from error
        return name

    async def names(self) -> list[str]:
        """Give the names of what is kept, the oldest first; `Unavailable` when the folder cannot be read."""
        try:
            return await self._run(self._names)
        except OSError as error:
            log.error("spool_unreadable", error=str(error))
            raise Unavailable(f"the spool {self._folder} cannot be read: {error}", "store_unavailable") from error

    async def read(self, name: str) -> Record | None:
        """Read a record back; None if it is gone, or torn: then it has been set aside."""
        try:
            return await self._run(self._read, name)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            await self.set_aside(name, str(error))
            return None

    async def remove(self, name: str) -> None:
        """Let go of a record; harmless twice."""
        with contextlib.suppress(OSError):
            await self._run((self._folder / name).unlink)

    async def set_aside(self, name: str, why: str) -> None:
        """Rename a record to ``….bad``, where somebody may look at it and it holds up nothing."""
        log.error("spool_record_set_aside", path=str(self._folder / f"{name}.bad"), why=why)
        with contextlib.suppress(OSError), trio.CancelScope(shield=True):
            await self._run((self._folder / name).rename, self._folder / f"{name}.bad")

    async def _run[*Args, T](self, work: Callable[[*Args], T], *args: *Args) -> T:
        if self._threads:
            return await trio.to_thread.run_sync(work, *args, limiter=self._limiter)
        await trio.lowlevel.checkpoint()
        return work(*args)

    # What follows runs in threads.

    def _put(self, name: str, body: bytes) -> None:
        half, whole = self._folder / f".{name}.half", self._folder / name
        head = b" ".join((_MAGIC, hashlib.sha256(body).hexdigest().encode(), str(len(body)).encode()))
        try:
            with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(head + b"\n")
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            half.rename(whole)
            self._sync()
        except OSError:
            half.unlink(missing_ok=True)
            raise

    def _sync(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self, name: str) -> Record:
        with (self._folder / name).open("rb") as file:
            head = file.readline(256).split()
            if len(head) != 3 or head[0] != _MAGIC or not head[2].isdigit():
                raise ValueError("no record of ours")
            body = file.read(min(int(head[2]), MOST_BYTES) + 1)
        if len(body) != int(head[2]) or hashlib.sha256(body).hexdigest().encode() != head[1]:
            raise ValueError("torn: its length or its sum is wrong")
        return Record(name, name.removesuffix(".rec").rpartition("-")[2], body)

    def _names(self) -> list[str]:
        with os.scandir(self._folder) as entries:
            return sorted(entry.name for entry in entries if entry.name.endswith(".rec") and entry.name[:20].isdigit())

    def _sweep(self) -> None:
        """Remove what a process that died half-way left; it had told nobody that it was safe."""
        for half in self._folder.glob(".*.half"):
            with contextlib.suppress(OSError):
                if self._now_ns() / 1e9 - half.stat().st_mtime > _STALE:
                    half.unlink()
