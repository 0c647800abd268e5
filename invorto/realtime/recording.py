"""Recording a call as it goes: the caller on the left, the agent as it was played on the right.

Taking audio in is synchronous and never waits: both sides lie in short buffers (`tracks`), and one task of the node
writes those of all calls, a few at a time, in one thread hop a tick. A disk that is full or away never touches the
call: the fault is logged once, stands in the record, and what was written stays readable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Final, NoReturn, Protocol
from urllib.parse import unquote, urlsplit

import attrs
import structlog
import trio

from invorto.errors import UsageError
from invorto.realtime.tracks import Track
from invorto.realtime.wavfile import WavFile
from invorto.speech.ports import Samples

log = structlog.get_logger(__name__)

TICK: Final = 0.1
"""Seconds between two looks at what is due."""
EVERY: Final = 1.0
"""Seconds between two writes of one call: what a crash may cost, together with SETTLED."""
SETTLED: Final = 0.5
"""Seconds after which a moment is written: more than audio is handed over ahead, enough for a burst after a stall."""
PATIENCE: Final = 2.0
"""Seconds that a caller who sends nothing is waited for before silence is written."""
MOST: Final = 5.0
"""Seconds of each side that may wait for a slow disk; what comes then is lost, and counted."""
JITTER: Final = 0.1
"""Seconds that a caller's frame may come late without a gap."""
CLOSING: Final = 2.0
"""Seconds that the end of a call waits for its recording."""


@attrs.define
class _Job:
    """What is to be written of one recording in one go."""

    file: WavFile
    at: int
    left: bytes
    right: bytes
    until: int
    last: bool
    begun: bool = False
    """Whether a thread has it: then it will be done, even if nobody waits for it any more."""

    def run(self) -> OSError | None:
        """Do it, in a thread; gives what went wrong."""
        self.begun = True
        error = None
        try:
            if self.until > self.at:
                self.file.write(self.at, self.left, self.right, self.until)
        except OSError as failed:
            error = failed
        try:
            if self.last:
                self.file.close()
        except OSError as failed:
            error = error or failed
        return error


class Recording:
    """One call's recording; everything here is synchronous and cheap. Times are Trio's."""

    def __init__(self, file: WavFile, folder: Path, *, rate: int, began: float, due: float) -> None:
        self._file, self._folder, self._rate, self._began = file, folder, rate, began
        most = round(MOST * rate)
        self._caller = Track(slack=round(JITTER * rate), most=most)
        self._agent = Track(slack=rate // 100, most=most)
        self._missed = 0
        self._broken = False
        self._last: _Job | None = None
        self.due = due
        """When it is to be written next."""
        self.busy = trio.Lock()
        """Held while a thread writes it."""
        self.paused = False
        self.idle = False
        """Whether nothing is to be kept as long as nobody asks for it: there is no file then."""
        self.fault: str | None = None
        """What went wrong first; None: nothing."""

    @property
    def path(self) -> str | None:
        """Where it is below the recordings' folder, with forward slashes; None: nothing was written."""
        return self._file.path.relative_to(self._folder).as_posix() if self._file.size else None

    @property
    def seconds(self) -> float:
        """How much of the call is in the file."""
        return self._file.size / self._rate

    @property
    def lost(self) -> float:
        """Seconds of either side that came and could not be kept."""
        return (self._caller.lost + self._agent.lost + self._missed) / self._rate

    def caller(self, samples: Samples, at: float) -> None:
        """Take audio of the caller that arrived, whole, at *at*."""
        if not self.paused:
            self._caller.put(samples, self._position(at) - samples.size)

    def agent(self, samples: Samples, at: float) -> None:
        """Take audio of the agent that begins to play at *at*, now or soon."""
        if not self.paused:
            self._agent.put(samples, self._position(at))

    def cut_agent(self, at: float) -> None:
        """Forget what the agent would have said from *at* on: it was told to hush."""
        self._agent.cut(self._position(at))

    def pause(self, at: float) -> None:
        """Keep nothing from *at* on: there is silence until `resume`."""
        self.cut_agent(at)
        self.paused = True

    def stand_by(self) -> None:
        """Keep nothing, and make no file, until `resume`."""
        self.paused = self.idle = True

    def resume(self, at: float) -> None:
        """Keep what comes from *at* on; before it there is silence."""
        if self.idle:
            for side in (self._caller, self._agent):
                side.take(self._position(at))
        self.paused = self.idle = False

    def job(self, now: float) -> _Job:
        """Take out what is settled at *now*."""
        awaited = max(self._caller.end, self._position(now - PATIENCE))
        self.due = now + EVERY
        return self._until(max(min(self._position(now - SETTLED), awaited), self._caller.base))

    def last_job(self, now: float) -> _Job:
        """Take out all that was played and said up to *now*; the same again when asked again."""
        if self._last is None:
            self.cut_agent(now)
            self._last = self._until(max(self._position(now), self._caller.end), last=True)
        return self._last

    def _until(self, position: int, *, last: bool = False) -> _Job:
        at = self._caller.base
        return _Job(self._file, at, self._caller.take(position), self._agent.take(position), position, last)

    def noted(self, job: _Job, error: OSError | None) -> None:
        """Take note of how writing *job* went."""
        if error is not None:
            self._missed += max(len(job.left), len(job.right)) // 2
            self.fault = self.fault or error.strerror or str(error)
            if not self._broken:
                log.warning("recording_failed", path=str(self._file.path), error=str(error))
        elif self._broken:
            log.info("recording_goes_on", path=str(self._file.path), lost=round(self.lost, 1))
        self._broken = error is not None

    def _position(self, at: float) -> int:
        return max(0, round((at - self._began) * self._rate))


class Recordings(Protocol):
    """Where recordings go: a folder here; a bucket may stand in its place."""

    def record(self, name: str, *, rate: int, stereo: bool, began: float) -> AbstractAsyncContextManager[Recording]:
        """Record one call under *name*; leaving the block finishes the file within `CLOSING` seconds."""
        ...

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Write what all calls have recorded, for as long as there may be calls."""
        ...


class Recorder:
    """
    Keeps recordings in *folder*; *failed* is told of each call whose recording has a fault.

    Without *threads* files are written in the loop: virtual time does not wait for threads.
    """

    def __init__(self, folder: Path, failed: Callable[[], object] = lambda: None, *, threads: bool = True) -> None:
        self.folder = folder
        self._failed, self._threads = failed, threads
        self._open: set[Recording] = set()
        self._left: list[Recording] = []
        """Those whose calls could not wait for the disk."""
        self._number = count()
        self._limiter = trio.CapacityLimiter(4)  # a disk that hangs takes these threads and no more

    @asynccontextmanager
    async def record(self, name: str, *, rate: int, stereo: bool, began: float) -> AsyncIterator[Recording]:
        """
        Record one call to *name*, such as ``tenant/call.wav``; *began* is its position 0, in Trio time.

        Never fails for want of a disk. Leaving the block writes what is left and closes the file, within `CLOSING`
        seconds even when cancelled; then `Recording.path`, `seconds`, `fault` and `lost` are final.
        """
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{name} is not below the recordings' folder")
        file = WavFile(self.folder / relative, rate, 2 if stereo else 1)
        # calls that begin together are written one after another
        due = trio.current_time() + EVERY * (1 + next(self._number) % 10 / 10)
        recording = Recording(file, self.folder, rate=rate, began=began, due=due)
        self._open.add(recording)
        try:
            yield recording
        finally:
            self._open.discard(recording)
            now = trio.current_time()
            with trio.move_on_after(CLOSING, shield=True) as scope:
                if not recording.idle:
                    await self._finish(recording, now)
            if scope.cancelled_caught:
                self._left.append(recording)
                recording.fault = recording.fault or "the disk was too slow"
                log.warning("recording_left", path=str(file.path))
            if recording.fault:
                self._failed()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Write what all calls have recorded, those that are due in one thread hop a tick."""
        task_status.started()
        while True:
            await trio.sleep(TICK)
            now = trio.current_time()
            while self._left:
                recording = self._left.pop()
                if not recording.last_job(now).begun:
                    await self._finish(recording, now)
            due = [one for one in self._open if one.due <= now and not (one.idle or one.busy.locked())]
            if due:
                await self._write(due, now)

    async def _finish(self, recording: Recording, now: float) -> None:
        async with recording.busy:
            await self._through([recording], [recording.last_job(now)])

    async def _write(self, recordings: list[Recording], now: float) -> None:
        for recording in recordings:
            recording.busy.acquire_nowait()
        try:
            await self._through(recordings, [recording.job(now) for recording in recordings])
        finally:
            for recording in recordings:
                recording.busy.release()

    async def _through(self, recordings: Sequence[Recording], jobs: Sequence[_Job]) -> None:
        if self._threads:
            errors = await trio.to_thread.run_sync(_run, jobs, limiter=self._limiter, abandon_on_cancel=True)
        else:
            errors = _run(jobs)
            await trio.lowlevel.checkpoint()
        for recording, job, error in zip(recordings, jobs, errors, strict=True):
            recording.noted(job, error)


def _run(jobs: Sequence[_Job]) -> list[OSError | None]:
    return [job.run() for job in jobs]


def recordings_folder(url: str, data_dir: Path) -> Path:
    """Give the folder that ``file:`` *url* names, relative to *data_dir*; `UsageError` for what is not served."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"}:
        raise UsageError(f"RECORDINGS_URL: {url} is not served yet; use a folder, such as file:./data")
    return data_dir / unquote(parts.path) / "recordings"
