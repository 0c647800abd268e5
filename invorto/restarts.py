"""Services that are started again when they fail, later each time, until they failed too often."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import attrs
import structlog
import trio

from invorto.errors import InvortoError, first_of

log = structlog.get_logger(__name__)

MOST = 5
"""Restarts within `WITHIN`; the failure after them is the last."""
WITHIN = 600.0
"""Seconds."""
FIRST_PAUSE = 0.5
"""Seconds before the first restart; it doubles."""


@attrs.define
class Restarts:
    """When something that failed may be started again."""

    most: int = MOST
    within: float = WITHIN
    first_pause: float = FIRST_PAUSE
    _times: deque[float] = attrs.field(factory=deque[float], init=False)

    def pause(self, now: float) -> float | None:
        """Give the seconds to wait after a failure *now*; None: it failed too often."""
        while self._times and now - self._times[0] > self.within:
            self._times.popleft()
        if len(self._times) >= self.most:
            return None
        self._times.append(now)
        return self.first_pause * 2 ** (len(self._times) - 1)


async def restarted(
    name: str, body: Callable[[], Awaitable[object]], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """
    Run *body*, which is to go on until it is cancelled, and start it again when it fails.

    Nobody waits for its start: what fails there is a failure like others. The last failure is raised.
    """
    restarts = Restarts()
    task_status.started()
    while True:
        try:
            await body()
            raise RuntimeError(f"{name} ended by itself")
        except Exception as error:
            pause = restarts.pause(trio.current_time())
            if pause is None:
                raise
            first = first_of(error)
            expected = isinstance(first, InvortoError)
            log.error("service_restarts", service=name, pause=pause, error=str(first), exc_info=not expected)
        await trio.sleep(pause)
