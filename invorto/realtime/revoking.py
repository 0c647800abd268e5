"""Closes the sockets of keys that were revoked, on whichever node: within a second, 4003."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from typing import NoReturn, Protocol

import attrs
import structlog
import trio

from invorto.errors import InvortoError

log = structlog.get_logger(__name__)

EVERY = 0.4
"""Seconds between two looks: with the look itself and the closing, less than one."""


class Closing(Protocol):
    """Something that a key holds open."""

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, bounded in time."""
        ...


type Revoked = Callable[[Collection[str]], Awaitable[set[str]]]
"""Tells which of these keys count no longer; raises `InvortoError` while it cannot be known."""


@attrs.define(eq=False)
class Holds:
    """What each key holds open in this process; one look for all of them, and none while there is nothing."""

    revoked: Revoked
    every: float = EVERY
    _open: dict[str, set[Closing]] = attrs.field(factory=lambda: defaultdict(set), init=False)
    _some: trio.Event = attrs.field(factory=trio.Event, init=False)

    @contextmanager
    def holding(self, key_id: str | None, what: Closing) -> Generator[None]:
        """Close *what* as soon as the key is revoked, for as long as the block lasts; None: no key holds it."""
        if key_id is None:
            yield
            return
        self._open[key_id].add(what)
        self._some.set()
        try:
            yield
        finally:
            self._open[key_id].discard(what)
            if not self._open[key_id]:
                del self._open[key_id]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Look again and again; a store that is away revokes nothing."""
        async with trio.open_nursery() as closing:
            task_status.started()
            while True:
                while not self._open:
                    self._some = trio.Event()
                    await self._some.wait()
                await trio.sleep(self.every)
                try:
                    gone = await self.revoked(list(self._open))
                except InvortoError as away:
                    log.info("revocations_unknown", error=str(away))
                    continue
                for key_id in gone:
                    held = self._open.get(key_id, set())
                    if held:
                        log.info("key_revoked", key_id=key_id, sockets=len(held))
                    for what in list(held):
                        closing.start_soon(what.close, 4003, "unauthorized")
