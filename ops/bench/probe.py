"""Tells when the frame came that decided on a barge-in, when it was decided, and when the clear was sent.

It reaches into the detector, since nobody else needs to know this, and costs about a microsecond a window.
"""

from __future__ import annotations

import time
from typing import Any

import attrs
import trio

from invorto.realtime.live import LiveCalls
from invorto.realtime.mouth import Mouth
from invorto.speech.vad import silero
from invorto.speech.vad.silero import SileroStream, SileroVad


@attrs.define
class Probe:
    """Times on the machine's monotonic clock, seconds."""

    cleared: list[tuple[str, float, float, float]] = attrs.field(factory=list)
    """For each hush: the call, when the frame came, when the verdict fell, when the clear had been written."""
    _came: dict[tuple[int, float], float] = attrs.field(factory=dict)
    _decided: dict[int, tuple[float, float]] = attrs.field(factory=dict)

    def take(self) -> list[tuple[str, float, float, float]]:
        """Give what has come together, and begin anew."""
        taken, self.cleared = self.cleared, []
        return taken

    def install(self, live: LiveCalls) -> None:
        """Watch from now on; for the rest of the process."""
        batch: Any = vars(silero)["_Batch"]
        add, judged, hush = batch.add, SileroStream.judged, Mouth.hush
        skew = trio.current_time() - time.perf_counter()

        def watched_add(self_: Any, stream: SileroStream, window: Any, at: float) -> None:
            self._came[id(stream), at] = stream.heard_at
            add(self_, stream, window, at)

        def watched_judged(stream: SileroStream, probability: float, began: float, ended: float) -> None:
            came, spoke, now = self._came.pop((id(stream), ended), ended), stream.speaking, trio.current_time()
            if len(self._came) > 100_000:
                self._came.clear()  # windows that were skipped
            if not spoke:
                self._decided[id(stream)] = (came - skew, now - skew)
            judged(stream, probability, began, ended)

        def watched_hush(mouth: Mouth, number: int, now: float, *, keep: bool) -> bool:
            done = hush(mouth, number, now, keep=keep)
            call = live.get(mouth.teller.call_id)
            if done and call is not None:
                times = self._decided.get(id(call.ears.vad), (0.0, 0.0))
                self.cleared.append((call.id, *times, time.perf_counter()))
            return done

        batch.add, SileroStream.judged, Mouth.hush = watched_add, watched_judged, watched_hush  # type: ignore[method-assign]


def unplug() -> None:
    """Load the detector, feed it, and never let it judge: a bench must notice."""

    async def deaf(_: SileroVad, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()

    SileroVad.run = deaf  # type: ignore[method-assign]
