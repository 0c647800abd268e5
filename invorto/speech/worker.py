"""A heavy engine in a process of its own: asked by number, dropped at will, replaced when it dies or falls silent.

Engines in threads move the frame clock by tens of milliseconds, engines in processes of low priority by one or two.
Whoever asks hears back through a callback in the Trio thread, so that asking takes no task; `Worker.ask` is the same
as an iterator. All is done by one task per worker, which is open as long as `open_worker`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import attrs
import msgspec
import structlog
import trio

from invorto.errors import ProviderFailed
from invorto.speech.frames import REPORTS, Ask, Drop, Failed, Piece, Ready, Report, Unpacker, pack
from invorto.speech.opening import Progress, silent
from invorto.speech.process import open_process

log = structlog.get_logger(__name__)

LOADING = 60.0
"""Seconds that an engine may take to load from a cold disk."""
SILENT = 10.0
"""Seconds without a word from a worker that has work, after which it is killed and replaced."""
MOST = 64
"""Orders that may be pending: at 0.1 s each more than anybody would wait for."""
BACK_OFF = (0.05, 0.5, 2.0, 5.0)
"""Seconds before a worker is started again, by how many have failed in a row."""


@attrs.frozen
class Job:
    """What runs in the process, and how its failures are called."""

    factory: str
    """``module:callable`` in the child, giving a `child.Worker`."""
    provider: str
    stage: str
    nice: int = 10

    def failed(self, message: str) -> ProviderFailed:
        """Make the error of this engine."""
        return ProviderFailed(self.provider, self.stage, message)


type Told = Callable[[Any, bool], None]
"""Hears a piece of an answer and whether it is the end, or (`ProviderFailed`, True)."""


class Worker:
    """The parent's side of an engine's process."""

    def __init__(self, job: Job, progress: Progress = silent) -> None:
        self.job = job
        self._progress = progress
        self.about: Any = None
        """What the engine said of itself when it was loaded."""
        self.starts = 0
        self.pid: int | None = None
        self.ready = False
        self.closed = False
        self._settled = trio.Event()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Told] = {}
        self._out: deque[bytes] = deque()
        self._more = trio.Event()
        self._patience = trio.CancelScope()

    async def wait_ready(self) -> None:
        """Wait until the engine is loaded, or has failed to load for the first time."""
        await self._settled.wait()

    @property
    def pending(self) -> int:
        """How many orders are not answered yet."""
        return len(self._pending)

    def submit(self, what: str, body: Any, told: Told, urgent: int = 0) -> int:
        """Order something; *told* hears the answer in the Trio thread, at the earliest in the next tick.

        Raises `ProviderFailed` when too much is pending already.
        """
        if self.closed:
            raise self.job.failed("the engine is closed")
        if len(self._pending) >= MOST:
            raise self.job.failed(f"{MOST} orders are pending already")
        if not self._pending and self.ready:
            self._patience.deadline = trio.current_time() + SILENT
        number = next(self._numbers)
        self._pending[number] = told
        self._send(pack(Ask(number, urgent, what, body)))
        return number

    def drop(self, number: int) -> None:
        """Forget an order: returns at once, and nothing is heard of it any more; harmless twice or late."""
        if self._pending.pop(number, None) is not None:
            self._send(pack(Drop(number)))

    def _send(self, frame: bytes) -> None:
        self._out.append(frame)
        self._more.set()

    @asynccontextmanager
    async def ask(self, what: str, body: Any, urgent: int = 0) -> AsyncIterator[Answer]:
        """Order something and iterate over the pieces of its answer; leaving the block drops it."""
        answer = Answer()
        number = self.submit(what, body, answer.told, urgent)
        try:
            yield answer
        finally:
            self.drop(number)

    # -- the task ---------------------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Keep a process alive: one that dies fails what was asked of it and is replaced."""
        failures = 0
        while True:
            try:
                reason = await self._live()
            except OSError as error:
                reason = f"its process could not be started: {error}"
            failures = 0 if self.ready else failures + 1
            self.ready = False
            log.warning("engine_lost", engine=self.job.provider, stage=self.job.stage, error=reason)
            self.fail(reason)
            self._settled.set()
            await trio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])

    async def _live(self) -> str:
        """Start a process and serve it until it is no good any more; says why."""
        self._progress(f"{self.job.provider} {self.job.stage}", 0.0)
        async with open_process(self.job.factory, self.job.nice) as (wire, errors, self.pid):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, wire)
                nursery.start_soon(self._log, errors)
                self._watch(LOADING)
                reason = await self._read(wire)
                nursery.cancel_scope.cancel()
        return reason

    async def _read(self, wire: trio.SocketStream) -> str:
        unpacker: Unpacker[Report] = Unpacker(REPORTS)
        while True:  # noqa: ASYNC913 - reading is a checkpoint, whether it fails or not
            data = None
            with self._patience:
                try:
                    data = await wire.receive_some(1 << 18)
                except trio.BrokenResourceError:
                    data = b""
            if data is None:
                if self._pending or not self.ready:
                    return "it fell silent"
                self._watch(math.inf)
                continue
            if not data:
                return "its process ended"
            try:
                for report in unpacker.feed(data):
                    if isinstance(report, Failed) and not report.id:
                        return f"it could not be loaded: {report.message}"
                    self._dispatch(report)
            except (ValueError, msgspec.DecodeError) as error:
                return f"it sent what cannot be read: {error}"
            self._watch(SILENT if self._pending else math.inf) if self.ready else self._watch(LOADING)

    def _watch(self, seconds: float) -> None:
        """Give the process so long to say something."""
        self._patience = trio.CancelScope(deadline=trio.current_time() + seconds)

    def _dispatch(self, report: Report) -> None:
        match report:
            case Ready():
                self.about, self.ready = report.about, True
                self.starts += 1
                self._progress(f"{self.job.provider} {self.job.stage}", 1.0)
                self._settled.set()
            case Piece(last=False):
                self._tell(self._pending.get(report.id), report.body, last=False)
            case Piece():
                self._tell(self._pending.pop(report.id, None), None, last=True)
            case Failed():
                self._tell(self._pending.pop(report.id, None), self.job.failed(report.message), last=True)

    def _tell(self, told: Told | None, body: Any, *, last: bool) -> None:
        """Pass an answer on: one caller's trouble with it must not take the engine from the others."""
        if told is None:
            return
        try:
            told(body, last)
        except Exception:
            log.exception("engine_answer_failed", engine=self.job.provider, stage=self.job.stage)

    def fail(self, reason: str) -> None:
        """Tell everybody who waits that nothing will come."""
        pending, self._pending = self._pending, {}
        self._out.clear()
        for told in pending.values():
            self._tell(told, self.job.failed(reason), last=True)

    async def _write(self, wire: trio.SocketStream) -> None:
        while True:
            while self._out:
                try:
                    await wire.send_all(self._out.popleft())
                except trio.BrokenResourceError:
                    return  # the reader sees it too, and says so
            self._more = trio.Event()
            await self._more.wait()

    async def _log(self, errors: trio.lowlevel.FdStream) -> None:
        """Log what the process prints, a line at a time, cut where there are none."""
        async with errors:
            rest = b""
            while data := await errors.receive_some(4096):
                *lines, rest = (rest + data).split(b"\n")
                lines, rest = (lines, rest) if len(rest) < 4096 else ([*lines, rest], b"")
                for line in lines:
                    log.info(
                        "engine_said",
                        engine=self.job.provider,
                        stage=self.job.stage,
                        text=line[:1000].decode("utf-8", "replace"),
                    )


class Answer:
    """The pieces of one answer; `ProviderFailed` where it breaks off."""

    def __init__(self) -> None:
        self._pieces: deque[Any] = deque()  # bounded by the order: one sentence of speech, one sentence's vectors
        self._ended = False
        self._changed = trio.Event()

    def told(self, body: Any, last: bool) -> None:  # noqa: FBT001  # the shape of a callback
        """Take in a piece."""
        if body is not None:
            self._pieces.append(body)
        self._ended = last
        self._changed.set()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Any:
        while not self._pieces and not self._ended:
            self._changed = trio.Event()
            await self._changed.wait()
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.popleft()
        if isinstance(piece, ProviderFailed):
            raise piece
        return piece


@asynccontextmanager
async def open_worker(job: Job, progress: Progress = silent) -> AsyncIterator[Worker]:
    """Start a heavy engine's process and keep one alive; it loads in the background, orders wait for it."""
    worker = Worker(job, progress)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.run)  # noqa: ASYNC113 - orders wait for it
        try:
            yield worker
        finally:
            worker.closed = True
            worker.fail("the engine is closed")
            nursery.cancel_scope.cancel()
