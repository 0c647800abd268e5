"""Smart Turn in a process of its own: judges each pause by how the words sounded, as a hint beside the silence.

It listens to prosody, was made of recorded people, and does no better than chance on synthetic voices. What it says
moves a deadline, and nothing waits for it: a judgement that is late, or never comes, changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, override

import structlog
import trio

from invorto.errors import ProviderFailed
from invorto.speech.opening import Opening
from invorto.speech.ports import GoesOn, Samples, TurnEar, TurnModel
from invorto.speech.worker import Job, Worker, open_worker

log = structlog.get_logger(__name__)

LOOK_BACK = 8.0
"""Seconds of the caller that the model is shown at most."""
LEAD = 0.5
"""Seconds before the first sound of a turn that belong to it."""
APART = 2.0
"""Seconds of silence after which the next sound begins another turn."""
WAITING = 8
"""Pauses that may wait to be judged, of all calls: at 75 ms each, more would come too late to matter."""
NICE = 15
"""Below the engines without which nothing is heard or said."""


class SmartEar(TurnEar):
    """One caller's; it takes no task."""

    def __init__(self, worker: Worker, rate: int, hear: Callable[[GoesOn], None]) -> None:
        self._worker, self._rate, self._hear = worker, rate, hear
        self._audio = bytearray()
        self._paused_at: float | None = None
        self._order: int | None = None

    @override
    def push(self, samples: Samples) -> None:
        self._audio += samples.astype("<i2", copy=False).tobytes()
        self._keep(LOOK_BACK)

    @override
    def began(self, at: float) -> None:
        self._drop()
        if self._paused_at is None or at - self._paused_at > APART:
            self._keep(trio.current_time() - at + LEAD)

    @override
    def paused(self, at: float) -> None:
        self._drop()
        self._paused_at = at
        if not self._worker.ready or self._worker.pending >= WAITING:
            return

        def told(body: Any, last: bool) -> None:  # noqa: FBT001  # the shape of a callback
            if last:
                self._order = None
            else:
                self._hear(GoesOn(body["goesOn"], at))

        try:
            self._order = self._worker.submit("judge", {"pcm": bytes(self._audio), "rate": self._rate}, told)
        except ProviderFailed:
            log.debug("hint_skipped")

    @override
    def close(self) -> None:
        self._drop()
        self._audio.clear()

    def _keep(self, seconds: float) -> None:
        surplus = len(self._audio) - 2 * round(seconds * self._rate)
        if surplus > 0:
            del self._audio[:surplus]

    def _drop(self) -> None:
        if self._order is not None:
            self._worker.drop(self._order)
            self._order = None


class SmartTurnHint(TurnModel):
    """The model for all calls of the process."""

    name = "smart-turn"

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # known once it is loaded
        """Say which model, once it is loaded."""
        return (self.worker.about or {}).get("version", "smart-turn")

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self.worker.ready

    async def wait_ready(self) -> None:
        """Wait until the model is loaded, or has failed to."""
        await self.worker.wait_ready()

    @override
    def attach(self, rate: int, hear: Callable[[GoesOn], None]) -> SmartEar:
        return SmartEar(self.worker, rate, hear)


@asynccontextmanager
async def open_turn(opening: Opening) -> AsyncIterator[SmartTurnHint]:
    """Start the model's process; it loads in the background."""
    job = Job("invorto.speech.turn.smart_model:SmartTurn", "smart-turn", "turn", nice=NICE)
    async with open_worker(job, opening.progress) as worker:
        yield SmartTurnHint(worker)
