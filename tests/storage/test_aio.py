"""The seam to asyncio: what goes wrong behind it comes to the one who waits, and to nobody else."""

from __future__ import annotations

import asyncio
import gc
import socket as stdlib

import asyncpg
import structlog
import trio

from invorto.errors import StoreUnavailable
from invorto.storage.aio import aio, open_loop
from invorto.storage.migrate import pending


async def test_an_opener_that_is_cancelled_leaves_no_error_to_others(loop: None) -> None:
    """Connections that are given up half-way, to a server that takes them and says nothing, trouble nobody."""
    with stdlib.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for way in range(10):
            with trio.move_on_after(0.005 * way + 0.01):
                if way % 2:
                    await pending(f"postgresql://me@127.0.0.1:{port}/x")
                else:
                    await aio(asyncpg.connect, host="127.0.0.1", port=port, user="me", database="x")
            gc.collect()
        await trio.sleep(0.05)
        assert await aio(asyncio.sleep, 0, "still here") == "still here"


async def test_an_error_that_nobody_waits_for_is_logged() -> None:
    """A callback that fails, and a future whose error nobody asks for, are lines of the log and end nothing."""

    async def fail() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 / 0)
        loop.create_future().set_exception(StoreUnavailable("away"))
        loop.create_future().set_exception(ConnectionResetError("gone"))
        await asyncio.sleep(0)

    with structlog.testing.capture_logs() as logs:
        async with open_loop():
            await aio(fail)
            gc.collect()
            await trio.sleep(0.02)
            assert await aio(asyncio.sleep, 0, "still here") == "still here"
    told = sorted((line["event"], line["log_level"]) for line in logs)
    assert told == [("asyncio_failed", "error"), ("asyncio_failed", "error"), ("connection_left", "info")]
