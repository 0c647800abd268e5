"""`invorto dev`: everything in one process tree, found again the next time, and gone without a trace at the end."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
import trio

from tests.journeys.house import BINARY, SCRIPTED, Reach, open_client
from tests.journeys.processes import Running, alive, all_gone, rest, running
from tests.journeys.test_tree import BRIEF, taken

ENVIRON = {**SCRIPTED, "SCRIPTED_ENGINE": BRIEF, "API_PORT": "0", "LOG_LEVEL": "info"}


@asynccontextmanager
async def dev(folder: Path, **more: str) -> AsyncGenerator[Running]:
    """Run ``invorto dev`` with its data in *folder*."""
    environ = {**ENVIRON, "DATA_DIR": str(folder / "data"), **more}
    async with running("dev", folder=folder, environ=environ) as process:
        yield process


async def made(server: Running, folder: Path) -> Reach:
    """Wait until a newcomer is told how to reach it; gives what `invorto talk` is told."""
    port, word = await server.port(), folder / "data" / "dev.json"
    with trio.fail_after(20):
        while not word.exists() or str(port) not in word.read_text():
            await trio.sleep(0.02)
    said = json.loads(word.read_text())
    assert said["url"] == f"http://127.0.0.1:{port}"
    return Reach(port=port, key=said["key"], agent_id=said["agent"])


def stores_of(folder: Path) -> list[psutil.Process]:
    """Give all processes that work in the folder: stores, orphaned or not."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cwd"]):
        cwd = process.info["cwd"]
        if cwd is not None and str(cwd).startswith(str(folder / "data")):
            found.append(process)
    return found


async def talk(at: Reach, call_id: str) -> None:
    """Hold a short conversation with the demo agent."""
    async with open_client(at, call_id, start=BINARY) as client:
        await client.until("tts.done")
        await client.send(t="text", text="hello")
        await client.until("tts.done", 2)
        await client.send(t="end")
        assert (await client.until_closed())[0] == 1000


async def test_a_newcomers_day(tmp_path: Path) -> None:
    """Start, talk, try a second one, Ctrl-C, start again, kill -9, start again: one key, one agent, nothing left."""
    began = trio.current_time()
    async with dev(tmp_path) as first:
        at = await made(first, tmp_path)
        print(f"ready for the first time after {trio.current_time() - began:.1f} s")
        await talk(at, "c-1")
        names = {child.name() for child in first.family()}
        assert {"postgres", "redis-server"} <= names, names
        data = tmp_path / "data"
        for name in ("api.key", "secret.key", "dev.json", "lock"):
            assert stat.filemode((data / name).stat().st_mode) == "-rw-------", name
        for name in ("stores", "spool"):
            assert stat.filemode((data / name).stat().st_mode) == "drwx------", name
        assert at.key in first.said  # told to the newcomer, once
        assert not [line for line in first.said.splitlines() if line.startswith("{") and at.key in line]

        async with dev(tmp_path, API_PORT=str(at.port)) as second:
            assert await second.ended() == 2
            assert f"{data} is in use by process {first.pid}: stop it, or choose another folder" in second.said
            assert "Traceback" not in second.said
        assert json.loads((data / "dev.json").read_text())["key"] == at.key

        family = first.family()
        os.killpg(first.pid, signal.SIGINT)  # as a terminal does
        assert await first.ended() == 0
        assert not any(map(alive, family))
        assert not (data / "dev.json").exists()
        assert not first.complaints()

    began = trio.current_time()
    async with dev(tmp_path) as again:
        same = await made(again, tmp_path)
        print(f"ready the next time after {trio.current_time() - began:.1f} s")
        assert (same.key, same.agent_id) == (at.key, at.agent_id)
        assert (await rest(same, "/v1/calls/c-1")).body["status"] == "completed"
        await talk(same, "c-2")
        family = again.family()
        assert len(family) > 2
        killed = time.monotonic()
        again.tell(signal.SIGKILL)
        assert await again.ended() == -signal.SIGKILL
        await all_gone(family, 2)
        print(f"nothing was left {time.monotonic() - killed:.2f} s after kill -9")
        assert stores_of(tmp_path) == []

    async with dev(tmp_path) as third:
        await third.port()
        same = await made(third, tmp_path)
        assert (same.key, same.agent_id) == (at.key, at.agent_id)
        assert (await rest(same, "/v1/calls/c-2")).body["status"] == "completed"
        family = third.family()
        third.tell(signal.SIGTERM)
        assert await third.ended() == 0
        assert not any(map(alive, family))


async def test_a_taken_port_starts_no_store(tmp_path: Path) -> None:
    """With the port taken nothing is made and nothing started: a sentence, and an empty folder."""
    with taken() as port:
        async with dev(tmp_path, API_PORT=str(port)) as server:
            assert await server.ended() == 2
            assert f"port {port} on 127.0.0.1 is taken" in server.said
    assert not (tmp_path / "data").exists()


async def test_a_store_that_dies_is_told(tmp_path: Path) -> None:
    """A store of its own that dies ends `dev` with a sentence that names the log, code 1; the call is not lost."""
    async with dev(tmp_path) as server:
        at = await made(server, tmp_path)
        async with open_client(at, "c-1", start=BINARY) as client:
            await client.until("connected")
            family = server.family()
            next(child for child in family if child.name() == "postgres").kill()
            assert await server.ended() == 1
            await client.until_closed()
        assert "invorto: PostgreSQL ended with signal 9" in server.said
        assert "Traceback" not in server.said
        await all_gone(family, 1)
    async with dev(tmp_path) as server:
        at = await made(server, tmp_path)
        with trio.fail_after(15):
            while (await rest(at, "/v1/calls/c-1")).body["status"] not in {"completed", "failed"}:
                await trio.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_ctrl_c_in_the_first_start(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C while the database is being made ends it at once, leaves no child, and the next start works."""
    async with dev(tmp_path) as server:
        with trio.fail_after(20):
            while "making a database" not in server.said:
                await trio.sleep(0.01)
        await trio.sleep(0.2)
        os.killpg(server.pid, number)
        assert await server.ended(10) == 130
        assert "Traceback" not in server.said
        assert stores_of(tmp_path) == []
