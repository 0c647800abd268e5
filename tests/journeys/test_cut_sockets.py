"""A hundred real sockets cut at random moments, and hundreds of calls: what the server holds is what it held before."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import socket as stdlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import cache, partial
from pathlib import Path

import attrs
import numpy as np
import pytest
import structlog
import trio

from invorto.realtime import socket as socket_module
from tests.journeys.house import BINARY, Server, open_client, open_server, settings, speech
from tests.journeys.test_tree import BRIEF
from tests.webhooks.judge import bodies, faults

PROVE = bool(os.environ.get("PROVE"))
SOCKETS = 100
LONGEST = 1.5
"""Seconds after which a socket is cut."""
APART = 0.03
"""Seconds between two sockets."""


@attrs.frozen
class Held:
    """What a process holds that has calls."""

    tasks: tuple[str, ...]
    threads: tuple[str, ...]
    descriptors: int

    @classmethod
    def now(cls) -> Held:
        """Count."""
        gc.collect()
        threads = sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread"))
        return cls(tuple(sorted(_tasks())), tuple(threads), len(os.listdir("/proc/self/fd")))  # noqa: PTH208

    def beyond(self, before: Held) -> str:
        """Say what is held that was not held *before*; empty: nothing."""
        tasks = list(self.tasks)
        for task in before.tasks:
            if task in tasks:
                tasks.remove(task)
        more = self.descriptors - before.descriptors
        found = [f"tasks {tasks}" * bool(tasks), f"{more} descriptors" * (more > 0)]
        return ", ".join(part for part in (*found, f"{self.threads}" * (self.threads != before.threads)) if part)


def _tasks() -> Iterator[str]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    todo = [root]
    while todo:
        task = todo.pop()
        yield task.name
        todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


# -- callers who are cut --------------------------------------------------------------------------


def masked(opcode: int, payload: bytes) -> bytes:
    """Make a client's frame."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2)
    return bytes([0x80 | opcode]) + size + bytes(4) + payload


@cache
def spoken() -> list[bytes]:
    """Give frames of a caller who speaks for a second and then listens for two."""
    samples = np.concatenate([speech()[:8000], np.zeros(16_000, np.int16)])
    return [masked(2, samples[at : at + 160].astype("<i2").tobytes()) for at in range(0, len(samples), 160)]


def head(server: Server, call_id: str) -> bytes:
    """Make a handshake."""
    return (
        f"GET /realtime/voice?callId={call_id}&agentId={server.agent_id}&rate=8000 HTTP/1.1\r\nHost: here\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: invorto.v1, {server.key}\r\n\r\n"
    ).encode()


async def live(stream: trio.SocketStream, opening: bytes) -> None:
    """Be a caller: begin, speak, listen."""
    await stream.send_all(opening[:50])
    await trio.sleep(0.01)
    await stream.send_all(opening[50:])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_listen, stream)
        await stream.send_all(masked(1, json.dumps({"t": "start", **BINARY}).encode()))
        for frame in spoken():
            await stream.send_all(frame)
            await trio.sleep(0.02)
        nursery.cancel_scope.cancel()


async def _listen(stream: trio.SocketStream) -> None:
    while await stream.receive_some(65_536):
        pass


async def reset(stream: trio.SocketStream) -> None:
    """Go as a router does that forgets us: RST."""
    stream.socket.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, b"\1\0\0\0\0\0\0\0")


async def hang_up(stream: trio.SocketStream) -> None:
    """Go without a word: FIN."""


async def half_close(stream: trio.SocketStream) -> None:
    """Shut our direction and go on listening."""
    await stream.send_eof()
    await _listen(stream)


async def close(stream: trio.SocketStream) -> None:
    """Close as the protocol has it."""
    await stream.send_all(masked(8, (1000).to_bytes(2)))
    await _listen(stream)


async def leave_in_a_frame(stream: trio.SocketStream) -> None:
    """Go in the middle of a frame."""
    await stream.send_all(masked(2, bytes(320))[:100])


async def babble(stream: trio.SocketStream) -> None:
    """Break the protocol."""
    await stream.send_all(b"\xff" * 300)
    await _listen(stream)


async def fall_silent(stream: trio.SocketStream) -> None:
    """Neither read nor write, and keep the connection."""
    await trio.sleep(3)


WAYS: tuple[Callable[[trio.SocketStream], Awaitable[None]], ...] = (
    reset, hang_up, half_close, close, leave_in_a_frame, babble, fall_silent,
)  # fmt: skip


async def cut(server: Server, call_id: str, way: Callable[[trio.SocketStream], Awaitable[None]], moment: float) -> None:
    """Call, and be cut after *moment* seconds."""
    stream = await trio.open_tcp_stream("127.0.0.1", server.port)
    async with stream:
        try:
            with trio.move_on_after(moment):
                await live(stream, head(server, call_id))
            with trio.move_on_after(6):
                await way(stream)
        except* trio.BrokenResourceError:
            pass


@pytest.fixture
def chance() -> random.Random:
    """Give a source of chance whose seed a failed run shows."""
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


async def settled(server: Server, before: Held, seconds: float = 10) -> None:
    """Wait until no call is held, all is written, and nothing else is held than *before*."""
    resources, left = server.resources, ""
    with trio.move_on_after(seconds):
        while left := (
            f"{resources.live.held} calls" * bool(resources.live.held)
            or f"{resources.ledger.behind} records" * bool(resources.ledger.behind)
            or Held.now().beyond(before)
        ):
            await trio.sleep(0.05)
    assert not left, f"held: {left}"


@pytest.fixture
def environ(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> dict[str, str]:
    """Give the settings of a server whose agents are brief."""
    return settings(postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE=BRIEF, LOG_LEVEL="error")


async def test_a_hundred_cut_sockets_leave_nothing(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, chance: random.Random
) -> None:
    """Reset, half-closed, silent, in a handshake or a sentence: each call ends once, and nothing is left behind."""
    patience = partial(socket_module.Patience, ping=0.5, silent=1.5)
    monkeypatch.setattr(socket_module, "Patience", patience)
    async with open_server(environ, {"greeting": "Hello there."}) as server:
        await rounds(server, chance, "warm", 20)  # threads are cached
        await fill_pools(server)
        await settled(server, Held.now(), 20)
        before = Held.now()
        began = trio.current_time()
        with structlog.testing.capture_logs() as logs:
            await rounds(server, chance, "c", SOCKETS)
            await settled(server, before)
        print(f"{SOCKETS} sockets were cut, and all was over after {trio.current_time() - began:.1f} s")

        async with server.resources.database.tenant(server.tenant_id) as work:
            rows = await work.fetch("SELECT id, status, end_reason FROM calls WHERE id LIKE 'c-%'")
            ends = await work.fetch("SELECT call_id, count(*) AS n FROM outbox WHERE type = 'call.ended' GROUP BY 1")
            results = await work.fetch("SELECT call_id, count(*) AS n FROM call_results GROUP BY 1")
        told = await bodies(server.resources.database, server.tenant_id)
        assert [fault for fact in told for fault in faults(fact)] == []
        assert len(rows) > SOCKETS / 2
        reasons = Counter((row["status"], row["end_reason"]) for row in rows)
        late = sum(line["event"] == "socket_refused" for line in logs)  # on a machine that is too slow by far
        assert set(reasons) <= {("completed", "hangup"), ("failed", "error")}, reasons
        assert reasons["failed", "error"] <= late
        assert not [line for line in logs if line["log_level"] in {"error", "critical"}]
        ids = {row["id"] for row in rows}
        for found in (ends, results):
            counts = {row["call_id"]: row["n"] for row in found if row["call_id"].startswith("c-")}
            assert counts == dict.fromkeys(ids, 1)


async def fill_pools(server: Server) -> None:
    """Have the stores' pools open more connections than any calls need at once, which is a matter of chance."""
    async with trio.open_nursery() as nursery:
        for _ in range(64):
            nursery.start_soon(server.resources.redis.ping)
            nursery.start_soon(server.resources.database.ping)


async def rounds(server: Server, chance: random.Random, name: str, count: int) -> None:
    """Have *count* callers cut, each in its way and at its moment."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            moment = chance.choice((chance.uniform(0, 0.1), chance.uniform(0, LONGEST)))
            nursery.start_soon(cut, server, f"{name}-{number}", WAYS[number % len(WAYS)], moment)
            await trio.sleep(chance.uniform(0, 2 * APART))


# -- memory ---------------------------------------------------------------------------------------


def resident() -> int:
    """Give the bytes of memory that this process has, after what is free was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_calls_leave_no_memory_behind(environ: dict[str, str]) -> None:
    """Memory has no slope over the calls after a warm-up: 1 KB a call at the stated count, 8 KB at a small one."""
    warm, batches, size, limit = (200, 10, 100, 1024) if PROVE else (60, 5, 30, 8192)
    async with open_server(environ, {"greeting": "", "recording": {"enabled": False}}) as server:
        await batch(server, "warm", warm)
        sizes = [resident()]
        for number in range(batches):
            await batch(server, f"b{number}", size)
            sizes.append(resident())
        slope = float(np.polyfit(np.arange(len(sizes)) * size, sizes, 1)[0])
        print(f"{slope:.0f} bytes a call over {batches * size}: {[f'{kept / 2**20:.1f} MB' for kept in sizes]}")
        assert slope < limit


async def batch(server: Server, name: str, count: int) -> None:
    """Hold some calls, ten at a time."""
    ten = trio.CapacityLimiter(10)

    async def hold(call_id: str) -> None:
        async with ten, open_client(server, call_id, start=BINARY) as client:
            await client.send(t="text", text="a table please")
            await client.until("tts.mark")
            await client.send(t="end")
            await client.until_closed()

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(hold, f"{name}-{number}")
    with trio.fail_after(10):
        while server.resources.live.held or server.resources.ledger.behind:
            await trio.sleep(0.02)
