"""The one seam between Trio and asyncio: asyncpg and redis-py run behind it."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

with warnings.catch_warnings():
    # trio-asyncio 0.16 names a class that Python 3.12 deprecated; there is nothing for us to do about it.
    warnings.filterwarnings("ignore", "'?AbstractChildWatcher", DeprecationWarning)
    import trio_asyncio


@asynccontextmanager
async def open_loop() -> AsyncIterator[None]:
    """
    Run the asyncio loop that `aio` calls into, for the length of the block.

    It goes outside every nursery whose tasks use it, and there is one in the process.
    """
    async with trio_asyncio.open_loop():
        yield


async def aio[T](fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """
    Call the asyncio function *fn* once from Trio, and give what it returns.

    One crossing costs about 0.1 ms. When the caller is cancelled, *fn* meets `asyncio.CancelledError` where it
    stands, and this returns after *fn* did: what *fn* took, *fn* gives back.
    """
    return cast("T", await trio_asyncio.aio_as_trio(fn)(*args, **kwargs))
