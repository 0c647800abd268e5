"""The SDK on either library: Trio is the test's own, asyncio runs in a thread beside it."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import trio

BACKENDS = ("trio", "asyncio")


async def on[T](backend: str, work: Callable[[], Awaitable[T]]) -> T:
    """Run *work*, which knows anyio alone."""
    if backend == "trio":
        return await work()
    return await trio.to_thread.run_sync(partial(_on_asyncio, work), abandon_on_cancel=True)


def _on_asyncio[T](work: Callable[[], Awaitable[T]]) -> T:
    with warnings.catch_warnings():
        return anyio.run(work, backend="asyncio")
