"""The process of a heavy engine: started, watched and ended, leaving nothing behind whatever dies first."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

CLOSING = 1.0
"""Seconds that a process gets to end by itself, and again after it was killed."""

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")
_KEPT_PREFIXES = ("LC_", "OMP_", "PYTHON", "XDG_")


@asynccontextmanager
async def open_process(factory: str, nice: int) -> AsyncIterator[tuple[trio.SocketStream, trio.lowlevel.FdStream, int]]:
    """Start the process: give its wire, what it prints, and its id; it is gone after the block."""
    ours, theirs = socket.socketpair()
    printed, prints = os.pipe()
    try:
        # Popen and no more: the parent-death signal belongs to the thread that forks, and this one lives longest.
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "invorto.speech.child", str(os.getpid()), str(theirs.fileno()), str(nice), factory],
            stdin=subprocess.DEVNULL, stdout=prints, stderr=prints, pass_fds=[theirs.fileno()], start_new_session=True,
            env=_environment(),
        )  # fmt: skip
    except BaseException:
        ours.close()
        os.close(printed)
        raise
    finally:
        theirs.close()
        os.close(prints)
    ours.setblocking(False)
    wire = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    errors = trio.lowlevel.FdStream(printed)
    try:
        yield wire, errors, process.pid
    finally:
        with trio.move_on_after(CLOSING, shield=True):
            await trio.aclose_forcefully(wire)  # at the end of the pipe it ends by itself
            await trio.aclose_forcefully(errors)
            await _ended(process)
        if process.poll() is None:
            process.kill()
            with trio.move_on_after(CLOSING, shield=True):
                await _ended(process)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:  # noqa: ASYNC110  # pidfd is for Linux alone, and this is for a second at most
        await trio.sleep(0.005)


def _environment() -> dict[str, str]:
    """Give what a model needs to know of the world: no keys, no passwords."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "passive"}
