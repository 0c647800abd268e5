"""The seam to asyncio: what goes wrong behind it comes to the one who waits, and to nobody else."""

from __future__ import annotations

import asyncio
import gc

import asyncpg
import structlog
import trio

from invorto.errors import StoreUnavailable
from invorto.storage.aio import aio, open_loop


async def test_an_opener_that_is_cancelled_leaves_no_error_to_others(loop: None) -> None:
    """Connections that are given up as they are made, to a server that says nothing, trouble nobody."""
    (silent,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with silent:
        url = f"postgresql://me@127.0.0.1:{silent.socket.getsockname()[1]}/x"
        for turns in [0, 1, 2, 3, 5, 8] * 5:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(aio, asyncpg.connect, url)
                async with await silent.accept():
                    for _ in range(turns):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
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
