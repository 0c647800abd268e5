"""Servers in processes of their own: started by the command line, stopped by signals, watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import attrs
import psutil
import trio

from invorto.storage import agents, keys
from invorto.storage.postgres import Database
from tests.journeys.house import Reach

STRICT = (sys.executable, "-W", "error")
QUIET: Mapping[str, Any] = {
    "greeting": "",
    "silence": {"nudgeAfter": 600, "hangUpAfter": 3600},
    "recording": {"enabled": False},
}
"""An agent who does not begin, and waits: its calls cost little."""


def clean(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Give an environment with nothing of this one but where programs are."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}


@attrs.frozen
class Running:
    """A process of ours."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    @property
    def said(self) -> str:
        """All that it has written to standard error."""
        return self.log.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give the lines of its log that tell of *name*."""
        found: list[dict[str, Any]] = []
        for line in self.said.splitlines():
            with suppress(ValueError):
                event = cast("object", json.loads(line))
                if isinstance(event, dict) and event.get("event") == name:
                    found.append(event)
        return found

    def complaints(self) -> list[str]:
        """Give what looks like a fault of ours in its log."""
        words = ("Traceback", "Warning", '"level": "error"', '"level": "critical"', "never awaited")
        return [line for line in self.said.splitlines() if any(word in line for word in words)]

    async def until(self, name: str, count: int = 1, seconds: float = 30) -> dict[str, Any]:
        """Wait until its log has told of *name* for the *count*-th time."""
        with trio.move_on_after(seconds):
            while len(found := self.events(name)) < count:
                assert self.process.poll() is None, f"ended with {self.process.returncode} before {name}: {self.said}"
                await trio.sleep(0.02)
            return found[count - 1]
        raise AssertionError(f"no {name} within {seconds} s: {self.said}")

    async def port(self) -> int:
        """Wait until it serves, and give its port."""
        ready = await self.until("ready")
        return int(ready["addresses"][0].rpartition(":")[2])

    async def ended(self, seconds: float = 15) -> int:
        """Wait for its end, and give its exit code; negative: the signal that ended it."""
        with trio.move_on_after(seconds):
            handle = os.pidfd_open(self.pid) if self.process.poll() is None else None
            if handle is not None:
                try:
                    await trio.lowlevel.wait_readable(handle)
                finally:
                    os.close(handle)
            return self.process.wait()
        raise AssertionError(f"it did not end within {seconds} s: {self.said[-3000:]}")

    def tell(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to it alone."""
        self.process.send_signal(number)

    def family(self) -> list[psutil.Process]:
        """Give its children, and theirs."""
        return psutil.Process(self.pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    """Tell whether a process does anything yet; one that only waits to be buried does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def all_gone(processes: Iterable[psutil.Process], seconds: float = 5) -> None:
    """Wait until none of the processes is left."""
    processes = list(processes)
    with trio.move_on_after(seconds):
        while any(map(alive, processes)):
            await trio.sleep(0.01)
        return
    raise AssertionError(f"left: {[process for process in processes if alive(process)]}")


@asynccontextmanager
async def running(
    *arguments: str | Path,
    folder: Path,
    environ: Mapping[str, str],
    python: tuple[str, ...] = STRICT,
    program: tuple[str, str] = ("-m", "invorto"),
) -> AsyncGenerator[Running]:
    """Run ``invorto`` in a session of its own; at the end it is killed, should it still be there."""
    process, log = _start([*python, *program, *arguments], folder, environ)
    try:
        yield Running(process, log)
    finally:
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(process.wait)
                await trio.to_thread.run_sync(psutil.wait_procs, children, 3)


def _start(argv: list[str | Path], folder: Path, environ: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Path]:
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"said-{len(list(folder.glob('said-*')))}"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            argv, cwd=folder, env=clean(folder, environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=sink, start_new_session=True,
        )  # fmt: skip
    return process, log


async def reach(port: int, database: Database, document: Mapping[str, Any] | None = None) -> Reach:
    """Make a key and an agent for a server that stands on *database*."""
    _, key = await keys.create(database, "t_default", "admin", "test")
    agent = await agents.create(database, "t_default", name="desk", document=document or QUIET)
    return Reach(port=port, key=key, agent_id=agent.id)


@attrs.frozen
class Answer:
    """What REST said."""

    status: int
    body: Any


async def rest(
    server: Reach, path: str, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Ask a route, on a connection of its own."""
    told = {"x-api-key": server.key, "content-type": "application/json", "connection": "close", **(headers or {})}
    data = json.dumps(body).encode() if body is not None else None

    def ask() -> Answer:
        request = urllib.request.Request(server.url + path, data=data, headers=told)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, json.loads(refused.read()))

    return await trio.to_thread.run_sync(ask)
