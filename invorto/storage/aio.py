"""The one seam between Trio and asyncio: asyncpg and redis-py run behind it."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import structlog

with warnings.catch_warnings():
    # trio-asyncio 0.16 names a class that Python 3.12 deprecated; there is nothing for us to do about it.
    warnings.filterwarnings("ignore", "'?AbstractChildWatcher", DeprecationWarning)
    import trio_asyncio

log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_loop() -> AsyncIterator[None]:
    """
    Run the asyncio loop that `aio` calls into, for the length of the block.

    It goes outside every nursery whose tasks use it, and there is one in the process. What goes wrong in it and nobody
    waits for is logged: left to itself, trio-asyncio would end the process for it.
    """
    async with trio_asyncio.open_loop() as loop:
        loop.set_exception_handler(_note)
        yield


def _note(_: Any, context: Mapping[str, Any]) -> None:
    """Log an error that has no one to go to, such as that of a connection whose opener was cancelled."""
    error = context.get("exception")
    if isinstance(error, OSError):
        log.info("connection_left", message=context.get("message"), error=str(error))
    else:
        log.error("asyncio_failed", message=context.get("message"), exc_info=error)


async def aio[T](fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
    """
    Call the asyncio function *fn* once from Trio, and give what it returns.

    One crossing costs about 0.1 ms. When the caller is cancelled, *fn* meets `asyncio.CancelledError` where it
    stands, and this returns after *fn* did: what *fn* took, *fn* gives back.
    """
    return cast("T", await trio_asyncio.aio_as_trio(fn)(*args, **kwargs))
