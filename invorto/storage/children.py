"""Child processes that cannot outlive us: each runs for the length of a block and dies with its parent."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from invorto.errors import StartFailed, UsageError

READY_WITHIN = 60.0
"""Seconds from a child's start to its being ready: recovery after a crash is in it."""

_LAUNCH = """
import ctypes, os, sys
parent, death, uid, gid = map(int, sys.argv[1:5])
if os.getuid() != uid:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
os.umask(0o077)
ctypes.CDLL(None).prctl(1, death)
if os.getppid() != parent:
    sys.exit("the parent is gone")
os.execv(sys.argv[5], sys.argv[5:])
"""
# prctl(PR_SET_PDEATHSIG) comes after the change of user, which clears it; and the parent is looked at after it,
# since one that died before will send no signal.


_COMPLAINT = re.compile(r"(?:FATAL|PANIC|rror|ERROR|gone)\b.*")


@attrs.frozen
class Program:
    """What to run, where, as whom, and how it is stopped."""

    name: str
    argv: Sequence[str | Path]
    folder: Path
    """The working directory: entered before the change of user, so its parents may be closed to that user."""
    log: Path
    stop: signal.Signals = signal.SIGTERM
    stop_within: float = 8.0


def unprivileged() -> pwd.struct_passwd:
    """Who runs the stores: ourselves; or, when we are root, a user who owns nothing else."""
    if os.getuid():
        return pwd.getpwuid(os.getuid())
    for name in ("pgserver", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise UsageError("PostgreSQL does not run as root, and there is no user pgserver or nobody: run as another user")


def start(program: Program, who: pwd.struct_passwd, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """
    Start *program* as *who*; *keep* are descriptors that it inherits.

    To be called in Trio's own thread: the death signal follows the thread that forks, and Trio's cached worker
    threads end after ten idle seconds.
    """
    # PGPORT, PGDATA and their like speak to servers and tools alike: not to ours.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    words = [str(os.getpid()), str(int(program.stop)), str(who.pw_uid), str(who.pw_gid), *map(str, program.argv)]
    with program.log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCH, *words],
            stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=program.folder, env=environment, pass_fds=keep,
            start_new_session=True,  # or Ctrl-C in a terminal reaches the stores before the drain
        )  # fmt: skip


async def run_to_end(program: Program, who: pwd.struct_passwd, keep: Sequence[int] = ()) -> None:
    """Run *program* until it ends by itself; `StartFailed` unless it ends well."""
    said_before = _size(program.log)
    async with _running(program, who, keep) as (process, handle):
        await trio.lowlevel.wait_readable(handle)
        if process.wait():
            raise StartFailed(_obituary(program, process.returncode, said_before))


@asynccontextmanager
async def open_child(
    program: Program,
    who: pwd.struct_passwd,
    ready: Callable[[int], Awaitable[bool]],
    keep: Sequence[int] = (),
) -> AsyncIterator[int]:
    """
    Run *program* for the length of the block, which begins when ``ready(pid)`` says so; give its process id.

    When it ends before its time the block is cancelled and `StartFailed` is raised, naming the log. At the end of the
    block it is asked to stop, then told, then killed.
    """
    said_before = _size(program.log)
    async with _running(program, who, keep) as (process, handle):

        async def watch() -> None:
            await trio.lowlevel.wait_readable(handle)
            raise StartFailed(_obituary(program, process.wait(), said_before))

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                with trio.move_on_after(READY_WITHIN) as patience:
                    while not await ready(process.pid):  # noqa: ASYNC110 - another process cannot set our events
                        await trio.sleep(0.01)
                if patience.cancelled_caught:
                    raise StartFailed(f"{program.name} was not ready within {READY_WITHIN:g} s: see {program.log}")
                yield process.pid
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # The nursery is ours alone to know of: what the block raised leaves as it was raised.
            match group.exceptions:
                case [alone]:
                    raise alone from alone.__cause__
                case _:
                    raise


@asynccontextmanager
async def _running(
    program: Program, who: pwd.struct_passwd, keep: Sequence[int]
) -> AsyncIterator[tuple[subprocess.Popen[bytes], int]]:
    try:
        process = start(program, who, keep)
    except OSError as error:
        raise StartFailed(f"{program.name} cannot be started: {error}") from error
    handle = os.pidfd_open(process.pid)
    try:
        yield process, handle
    finally:
        steps = ((program.stop, program.stop_within), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 5.0))
        for how, patience in steps:
            if process.poll() is None:
                process.send_signal(how)
            with trio.move_on_after(patience, shield=True) as waiting:
                await trio.lowlevel.wait_readable(handle)
            if not waiting.cancelled_caught:
                break
        os.close(handle)
        process.wait(1)


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _obituary(program: Program, code: int, said_before: int) -> str:
    """Say how it ended, and the last complaint in its log since it was started."""
    how = f"code {code}" if code >= 0 else f"signal {-code}"
    with program.log.open("rb") as log:
        log.seek(max(said_before, program.log.stat().st_size - 8192))
        complaints = _COMPLAINT.findall(log.read().decode(errors="replace"))
    last = f" ({complaints[-1].strip()})" if complaints else ""
    return f"{program.name} ended with {how}{last}: see {program.log}"
