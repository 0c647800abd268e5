"""No room on the disk, for a recording or for what calls leave: calls go on, operators are told, no more is lost."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import trio

from invorto.audio.wav import read_wav
from invorto.model.call import CallStatus
from invorto.storage import calls
from invorto.storage.migrate import migrate
from tests.faults.servers import postgres_server
from tests.faults.test_stores_away import BRIEF, ask, calling, ended, facts
from tests.journeys.house import Client, open_server, settings, speech

RECORDS = {"greeting": "Hello.", "recording": {"enabled": True, "stereo": False}}


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond *size* bytes: the kernel refuses what is more, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def told(logs: list[Any], event: str) -> dict[str, Any]:
    """Wait until the log tells of *event*."""
    with trio.move_on_after(10):
        while not (found := [line for line in logs if line["event"] == event]):
            await trio.sleep(0.02)
        return found[0]
    raise AssertionError(f"no {event}: {logs}")


async def murmur(client: Client, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Have something to record: sound too quiet to be heard as speech."""
    frame = (speech()[:160] // 50).astype("<i2").tobytes()
    task_status.started()
    while True:
        await client.socket.send_message(frame)
        await trio.sleep(0.02)


async def test_no_room_for_a_recording(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """The recording stops where the disk does and goes on when there is room; the call hears nothing of it."""
    environ = settings(postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="info")
    async with open_server(environ, RECORDS) as server:
        with structlog.testing.capture_logs() as logs:
            async with calling(server, "c-1") as client, trio.open_nursery() as nursery:
                await nursery.start(murmur, client)
                with room(24_000):
                    failed = await told(logs, "recording_failed")
                    assert "too large" in failed["error"]  # what the limit says; a full disk: no space left
                    assert failed["path"].endswith("c-1.wav")
                    await ask(client)
                await told(logs, "recording_goes_on")
                await ask(client)
                nursery.cancel_scope.cancel()
            call = await ended(server.resources.database, "c-1")
        detail = await calls.detail(server.resources.database, server.tenant_id, "c-1")
        assert call.status is CallStatus.COMPLETED
        folder = server.resources.recorder.folder
        assert detail["recording"] is not None
        samples, rate = read_wav(folder / detail["recording"])
        assert len(samples) / rate > 1
        assert np.abs(samples).max() > 0
        assert not [line for line in logs if line["log_level"] in {"error", "critical"}]


async def test_no_room_for_what_a_call_leaves(loop: None, redis_url: str, tmp_path: Path) -> None:
    """PostgreSQL away and the disk full: the call ends for its caller, others go on, and it is written later."""
    with postgres_server() as (store, url):
        await migrate(url)
        environ = settings(url, redis_url, tmp_path, SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="info")
        document = RECORDS | {"recording": {"enabled": False}}
        async with (
            open_server(environ, document) as server,
            calling(server, "c-1") as one,
            calling(server, "c-2") as two,
        ):
            with structlog.testing.capture_logs() as logs:
                store.kill()
                with room(0):
                    await one.send(t="end")
                    assert (await one.until("end"))["reason"] == "hangup"
                    assert (await one.until_closed())[0] == 1000
                    lost = await told(logs, "call_end_failed")
                    assert lost["part"] == "ledger"
                    assert "cannot be written" in lost["error"]
                    await ask(two)
                    with trio.fail_after(5):
                        while server.resources.live.held > 1:
                            await trio.sleep(0.02)
                    assert server.resources.ledger.behind
                await trio.to_thread.run_sync(store.start)
                assert (await ended(server.resources.database, "c-1")).end_reason == "hangup"
                assert (await facts(server.resources.database, "c-1")).count("call.ended") == 1
                assert len(await calls.transcript(server.resources.database, "t_default", "c-1")) == 1
                await ask(two)
                assert server.resources.ledger.lost == 0
