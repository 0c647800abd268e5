"""The pulse: how late this process wakes its tasks, and how many it has."""

from __future__ import annotations

from collections import deque
from typing import Final, NoReturn

import structlog
import trio

from invorto.observability.metrics import Metrics

log = structlog.get_logger(__name__)

BEAT: Final = 0.25
"""Seconds between two beats."""
REMEMBERED: Final = 40
"""Beats that `Pulse.worst` looks back: ten seconds."""
STALL: Final = 0.5
"""Seconds of lag that are worth a line in the log: every call's audio has stopped for so long."""


class Pulse:
    """Measures scheduling lag and counts tasks, for metrics and health."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lags = deque[float](maxlen=REMEMBERED)
        self.tasks = 0

    @property
    def worst(self) -> float:
        """The worst lag of the last ten seconds, in seconds."""
        return max(self._lags, default=0.0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Beat for ever."""
        task_status.started()
        while True:
            due = trio.current_time() + BEAT
            await trio.sleep_until(due)
            self.beat(trio.current_time() - due)

    def beat(self, lag: float) -> None:
        """Take note of one beat that came *lag* seconds late."""
        self._lags.append(lag)
        self.tasks = trio.lowlevel.current_statistics().tasks_living
        self._metrics.lag.observe(lag * 1000)
        self._metrics.worst_lag.set(self.worst * 1000)
        self._metrics.tasks.set(self.tasks)
        if lag > STALL:
            log.warning("loop_stalled", seconds=round(lag, 3), tasks=self.tasks)
