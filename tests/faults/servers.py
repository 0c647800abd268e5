"""Stores of a test's own, that may be killed, stopped and started again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from invorto.storage.binaries import find_programs
from invorto.storage.children import unprivileged


class Server:
    """A server process with all its children, on a Unix socket in a folder of its own."""

    def __init__(self, folder: Path, argv: Sequence[str | Path], stale: Path, ready: Callable[[], bool]) -> None:
        self.folder, self._argv, self._stale, self._ready = folder, argv, stale, ready
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._stale.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            self._argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
            **_as_somebody_else(),
        )  # fmt: skip
        patience = time.monotonic() + 20
        while not self._ready():
            assert time.monotonic() < patience, "the server did not start"
            assert self._process.poll() is None, "the server ended"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it and all its children with SIGKILL, as a loss of power would."""
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)
        self._process = None

    def stop(self) -> None:
        """Stop it where it stands: its sockets stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            for process in (parent, *parent.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(which)

    def close(self) -> None:
        """End it for good."""
        if self._process:
            self.kill()


def _as_somebody_else() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    who = unprivileged()
    return {} if os.getuid() else {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="invorto-fault-"))
    who = unprivileged()
    os.chown(folder, who.pw_uid, who.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis_server(*options: str) -> Iterator[tuple[Server, str]]:
    """Run a Redis for the length of the block; give it and its URL."""
    with _folder() as folder:
        program = find_programs(unprivileged(), use_system=False).redis
        argv = [program, "--port", "0", "--unixsocket", "s", "--dir", str(folder), "--save", "", *options]
        server = Server(folder, argv, folder / "s", (folder / "s").exists)
        server.start()
        try:
            yield server, f"unix://{folder}/s"
        finally:
            server.close()


@contextmanager
def postgres_server() -> Iterator[tuple[Server, str]]:
    """Run a PostgreSQL for the length of the block; give it and its URL."""
    with _folder() as folder:
        programs = find_programs(unprivileged(), use_system=False)
        subprocess.run(
            [programs.initdb, "-D", folder / "data", "-U", "invorto", "--auth=trust", "--encoding=UTF8", "--locale=C"],
            cwd=folder, check=True, capture_output=True,
            **_as_somebody_else(),
        )  # fmt: skip
        argv = [programs.postgres, "-D", folder / "data", "-k", folder, "-p", "5432", "-c", "listen_addresses="]
        lines = folder / "data" / "postmaster.pid"

        def ready() -> bool:
            return lines.exists() and "".join(lines.read_text().splitlines()[7:8]).strip() == "ready"

        server = Server(folder, argv, lines, ready)
        server.start()
        try:
            yield server, f"postgresql:///postgres?host={folder}&port=5432&user=invorto"
        finally:
            server.close()
