"""A heavy engine's process: asked, dropped, killed, silent, replaced, closed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from invorto.errors import ProviderFailed
from invorto.speech import worker as module
from invorto.speech.worker import MOST, Job, Worker, open_worker

PARROT = Job("tests.speech.parrot:Parrot", "parrot", "stt")


async def ask(worker: Worker, what: str, body: Any = None) -> list[Any]:
    async with worker.ask(what, body) as answer:
        return [piece async for piece in answer]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


async def test_asked() -> None:
    """Answers come piece by piece; the process is quiet, knows no secrets, and nothing of the server."""
    seen: list[tuple[str, float]] = []
    os.environ["OPENAI_API_KEY"] = "secret"
    with trio.fail_after(30), capture_logs() as logs:
        async with open_worker(PARROT, lambda what, done: seen.append((what, done))) as worker:
            assert await ask(worker, "say", {"pcm": b"\x00\x01", "n": 1}) == [{"pcm": b"\x00\x01", "n": 1}]
            assert worker.ready
            assert worker.about == {"name": "parrot"}
            assert await ask(worker, "count", {"to": 3, "each": 0}) == [0, 1, 2]
            assert await ask(worker, "priority") == [10]
            (environment,) = await ask(worker, "environment")
            assert "PATH" in environment
            assert "OPENAI_API_KEY" not in environment
            (modules,) = await ask(worker, "modules")
            assert not {"trio", "structlog", "quart", "attrs", "invorto.config"} & set(modules)
            with pytest.raises(ProviderFailed, match=r"parrot \(stt\): ValueError: no such word"):
                await ask(worker, "raise", "no such word")
            assert await ask(worker, "print", "hello") == []
            assert await ask(worker, "say", "still here") == ["still here"]
            pid = worker.pid
        assert pid is not None
        assert not alive(pid)
    del os.environ["OPENAI_API_KEY"]
    assert seen == [("parrot stt", 0.0), ("parrot stt", 1.0)]
    assert [entry["text"] for entry in logs if entry["event"] == "engine_said"] == ["hello", "hello"]


async def test_dropped() -> None:
    """Dropping returns at once while the engine is busy; what it says late is heard by nobody."""
    async with open_worker(PARROT) as worker:
        await worker.wait_ready()
        late: list[Any] = []
        for _ in range(3):
            number = worker.submit("count", {"to": 200, "each": 0.02}, lambda body, last: late.append(body))
            await trio.sleep(0.1)
            began = time.perf_counter()
            worker.drop(number)
            worker.drop(number)
            assert time.perf_counter() - began < 0.01
        heard = len(late)
        assert heard > 3
        began = time.perf_counter()
        assert await ask(worker, "say", 1) == [1]
        assert time.perf_counter() - began < 0.9, "a dropped order ends at its next piece"
        with trio.move_on_after(0.2):
            await ask(worker, "sleep", 0.4)
        assert await ask(worker, "say", 2) == [2]
        assert len(late) == heard
        assert worker.pending == 0


async def test_urgent_first() -> None:
    """What is urgent passes what is not, among what waits."""
    async with open_worker(PARROT) as worker:
        await worker.wait_ready()
        order: list[Any] = []

        def told(body: Any, last: bool) -> None:
            if not last:
                order.append(body)

        worker.submit("count", {"to": 2, "each": 0.1}, lambda *_: None)
        for body, urgent in (("a", 1), ("b", 1), ("c", 0), ("d", 0)):
            worker.submit("say", body, told, urgent)
        assert await ask(worker, "say", "e") == ["e"]
        while worker.pending:
            await trio.sleep(0.01)
        assert order == ["c", "d", "a", "b"]


async def test_killed() -> None:
    """A process that is killed fails what was asked of it, at once, and the next one serves the next question."""
    async with open_worker(PARROT) as worker:
        await worker.wait_ready()
        first = worker.pid
        assert first is not None
        async with trio.open_nursery() as nursery:

            async def fails() -> None:
                with pytest.raises(ProviderFailed, match="its process ended"):
                    await ask(worker, "sleep", 30)

            for _ in range(3):
                nursery.start_soon(fails)
            await trio.sleep(0.1)
            os.kill(first, signal.SIGKILL)
            with trio.fail_after(5):
                while worker.pending:
                    await trio.sleep(0.01)
        with trio.fail_after(10):
            assert await ask(worker, "say", 1) == [1]
        assert worker.pid != first
        assert worker.starts == 2


async def test_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that says nothing while it has work is killed and replaced; one without work may be silent."""
    monkeypatch.setattr(module, "SILENT", 0.3)
    async with open_worker(PARROT) as worker:
        await worker.wait_ready()
        first = worker.pid
        await trio.sleep(0.7)
        assert await ask(worker, "count", {"to": 8, "each": 0.1}) == list(range(8)), "as long as it says something"
        assert worker.pid == first
        began = trio.current_time()
        with pytest.raises(ProviderFailed, match="it fell silent"):
            await ask(worker, "sleep", 60)
        assert trio.current_time() - began < 3
        with trio.fail_after(10):
            assert await ask(worker, "say", 1) == [1]
        assert first is not None
        assert not alive(first)


async def test_too_much() -> None:
    """What is pending is bounded: more is refused at once, and nothing of what was accepted is lost."""
    async with open_worker(PARROT) as worker:
        await worker.wait_ready()
        done: list[Any] = []
        for number in range(MOST):
            worker.submit("say", number, lambda body, last: None if last else done.append(body))
        with pytest.raises(ProviderFailed, match="pending already"):
            worker.submit("say", 0, lambda *_: None)
        with trio.fail_after(10):
            while worker.pending:
                await trio.sleep(0.01)
        assert done == list(range(MOST))


async def test_does_not_load() -> None:
    """An engine that cannot be loaded says why to whoever asks, and is tried again more and more seldom."""
    with capture_logs() as logs:
        async with open_worker(Job("tests.speech.parrot:broken", "parrot", "tts")) as worker:
            with pytest.raises(ProviderFailed, match=r"could not be loaded: RuntimeError: the model is missing"):
                await ask(worker, "say", 1)
            await worker.wait_ready()
            assert not worker.ready
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["engine_lost"]


async def test_a_listener_that_raises() -> None:
    """A callback's fault is logged; the engine goes on for the others."""

    def broken(_: Any, __: bool) -> None:
        raise RuntimeError("a fault of this call")

    with capture_logs() as logs:
        async with open_worker(PARROT) as worker:
            worker.submit("say", 1, broken)
            assert await ask(worker, "say", 2) == [2]
    assert "engine_answer_failed" in [entry["event"] for entry in logs]


@pytest.mark.parametrize("factory", ["Parrot", "stubborn"])
async def test_closed_in_time(factory: str) -> None:
    """Closing while it works, or while it loads, takes no longer than closing; whoever waits is told."""
    began = time.perf_counter()
    failed: list[Any] = []
    async with open_worker(Job(f"tests.speech.parrot:{factory}", "parrot", "stt")) as worker:
        worker.submit("sleep", 60, lambda body, last: failed.append(body))
        await trio.sleep(0.5)
        began = time.perf_counter()
    assert time.perf_counter() - began < 2.5
    assert isinstance(failed[0], ProviderFailed)
    with pytest.raises(ProviderFailed, match="closed"):
        worker.submit("say", 1, lambda *_: None)
    assert worker.pid is not None
    assert not alive(worker.pid)


async def test_signals_of_the_terminal() -> None:
    """Ctrl-C and SIGTERM are the server's business: its engines go on until it has drained."""
    async with open_worker(PARROT) as worker:
        await worker.wait_ready()
        assert worker.pid is not None
        assert os.getsid(worker.pid) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(worker.pid, number)
        await trio.sleep(0.1)
        assert await ask(worker, "say", 1) == [1]
        assert worker.starts == 1


def test_dies_with_its_parent() -> None:
    """`kill -9` of the server leaves no engine behind, however busy."""
    script = """
import trio
from invorto.speech.worker import Job, open_worker
async def main():
    async with open_worker(Job("tests.speech.parrot:Parrot", "parrot", "stt")) as worker:
        await worker.wait_ready()
        worker.submit("sleep", 600, lambda *_: None)
        await trio.sleep(0.2)
        print(worker.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline().split()[-1])
        assert alive(child)
        parent.kill()
    deadline = time.monotonic() + 2
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child)


OPENED = """
import os, time
from invorto.speech.vad.silero import Silero
Silero()
time.sleep(0.3)
for name in os.listdir("/proc/self/fd"):
    if os.path.exists(f"/proc/self/fd/{name}"):
        print(os.readlink(f"/proc/self/fd/{name}"))
"""


async def test_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library under our models reports its use to its maker unless it is forbidden: no file, no connection."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}  # it keeps quiet in tests, so this must look like none
    done = await trio.run_process([sys.executable, "-c", OPENED], capture_stdout=True, env=bare)
    assert b"socket" not in done.stdout
    assert files_below(tmp_path) == []
    async with open_worker(Job("invorto.speech.tts.piper:Piper", "local", "tts")) as worker:
        with trio.fail_after(60):
            await worker.wait_ready()
        assert worker.ready
        assert worker.pid is not None
        assert len([link for link in descriptors(worker.pid) if link.startswith("socket:")]) == 1, "the wire to us"
    assert files_below(tmp_path) == []


def descriptors(pid: int) -> list[str]:
    return [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def files_below(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))
