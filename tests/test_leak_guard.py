"""The guard against leaks notices each kind of leak, and only leaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LEAKY = """
import os, socket, subprocess, sys, threading, time
import trio

kept = []


def test_leaks_a_descriptor():
    kept.append(os.open("/dev/null", os.O_RDONLY))


def test_leaks_a_socket():
    kept.append(socket.socket())


def test_drops_a_socket():
    socket.socket()


def test_leaks_a_thread():
    threading.Thread(target=time.sleep, args=(3,), daemon=True, name="stray").start()


def test_leaks_a_child():
    kept.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]))


async def test_leaks_a_task():
    trio.lowlevel.spawn_system_task(trio.sleep_forever)


async def test_forgets_to_await():
    trio.sleep(1)


def test_replaces_a_descriptor():
    reader, writer = os.pipe()
    os.dup2(kept[0], reader)
    os.close(writer)
    kept.append(reader)


def test_is_clean():
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    subprocess.run(["true"], check=True)
    threading.Thread(target=str).start()


async def test_is_clean_on_trio(nursery):
    nursery.start_soon(trio.sleep_forever)
    await trio.to_thread.run_sync(str)
    await trio.sleep(0)
    async with await trio.open_tcp_stream(*await peer(nursery)) as stream:
        await stream.send_all(b"x")


async def peer(nursery):
    listeners = await nursery.start(trio.serve_tcp, lambda stream: stream.aclose(), 0)
    return "127.0.0.1", listeners[0].socket.getsockname()[1]


def test_ends_its_children():
    kept[2].kill()
    kept[2].wait()
"""


def test_each_kind_of_leak_is_noticed(tmp_path: Path) -> None:
    """A test that leaves a descriptor, thread, child or task, or drops a socket or coroutine, fails; others pass."""
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    argv = [sys.executable, "-X", "dev", "-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-q", "-rA"]
    run = subprocess.run([*argv, tmp_path / "test_leaky.py"], capture_output=True, text=True, timeout=120, check=False)
    lines = [line.split() for line in run.stdout.splitlines() if "::test_" in line]
    names = {words[1].split("::")[1] for words in lines if words[0] in {"PASSED", "FAILED", "ERROR"}}
    noticed = {words[1].split("::")[1] for words in lines if words[0] in {"FAILED", "ERROR"}}
    assert len(names) == LEAKY.count("def test_"), run.stdout
    assert names - noticed == {"test_is_clean", "test_is_clean_on_trio", "test_ends_its_children"}, run.stdout
    for word in ("/dev/null", "socket:", "stray", "time.sleep(30)", "sleep_forever", "never awaited"):
        assert word in run.stdout
