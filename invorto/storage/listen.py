"""Notifications of PostgreSQL: a connection that listens, and is opened again when it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import structlog
import trio

from invorto.errors import StoreUnavailable
from invorto.storage.aio import aio
from invorto.storage.postgres import connect, disconnect, unreachable

log = structlog.get_logger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0


async def listen(url: str, channel: str, heard: Callable[[], None]) -> NoReturn:
    """
    Call *heard* at each notification on *channel*, and whenever listening begins: something may have been missed.

    What is sent while PostgreSQL is away is not heard: who relies on it looks by itself now and then.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            with unreachable():
                connection = await connect(url)
        except StoreUnavailable as error:
            log.debug("listening_failed", channel=channel, error=str(error))
        else:
            try:
                await _attend(connection, channel, heard)
                pause = _FIRST_PAUSE
            except StoreUnavailable as error:
                log.debug("listening_failed", channel=channel, error=str(error))
            finally:
                await disconnect(connection)  # noqa: ASYNC102 - it shields and bounds itself
            log.info("listening_lost", channel=channel)
        await trio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


async def _attend(connection: Any, channel: str, heard: Callable[[], None]) -> None:
    """Listen until the connection is lost."""
    lost = trio.Event()

    async def attach() -> None:
        connection.add_termination_listener(lambda _: lost.set())  # pyright: ignore[reportUnknownLambdaType]
        await connection.add_listener(channel, lambda *_: heard())  # pyright: ignore[reportUnknownLambdaType]

    with unreachable():
        await aio(attach)
    heard()
    await lost.wait()
