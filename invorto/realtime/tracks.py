"""One side of a recording on the call's clock: what comes late, in bursts or ahead of its time finds its place.

Positions are samples since the call began. Between what came in and what is written there is a short stretch that may
still change: silence that turned out to be a stall of the network is taken back when the burst after it arrives, and
the agent's audio, handed over before it is played, is cut where it was interrupted.
"""

from __future__ import annotations

from invorto.speech.ports import Samples


class Track:
    """The stretch of one side that is not written yet: at most *most* samples; gaps up to *slack* are jitter."""

    __slots__ = ("_gap", "_gap_at", "_most", "_pending", "_slack", "base", "lost")

    def __init__(self, *, slack: int, most: int) -> None:
        self._slack, self._most = slack, most
        self._pending = bytearray()
        self._gap_at = self._gap = 0
        self.base = 0
        """The position of the first sample that is not written."""
        self.lost = 0
        """Samples that found no room."""

    @property
    def end(self) -> int:
        """The position after the last sample."""
        return self.base + len(self._pending) // 2

    def put(self, samples: Samples, begin: int) -> None:
        """Add *samples* that belong at *begin*, after all that is there already."""
        end, size = self.end, samples.size
        late = begin - end
        if late <= self._slack:
            if late < 0 and self._gap:
                end -= self._take_back(-late)
            late = 0
        if end + late + size - self.base > self._most:
            self.lost += size  # leaves a gap, which the next that has room fills with silence
            return
        if late:
            self._gap_at, self._gap = end, late
            self._pending.extend(bytes(2 * late))
        self._pending += samples.tobytes()

    def _take_back(self, most: int) -> int:
        """Remove up to *most* samples of the last silence, as far as it is not written; gives how many."""
        begin = max(self._gap_at, self.base)
        size = max(0, min(most, self._gap_at + self._gap - begin))
        place = (begin - self.base) * 2
        del self._pending[place : place + size * 2]
        self._gap_at, self._gap = begin, self._gap_at + self._gap - begin - size
        return size

    def cut(self, position: int) -> None:
        """Forget what lies at *position* and after it, unless it is written."""
        del self._pending[max(0, position - self.base) * 2 :]
        self._gap = max(0, min(self._gap, self.end - self._gap_at))

    def take(self, until: int) -> bytes:
        """Give what lies from the base to *until*, perhaps less, and write no more before *until*."""
        if until <= self.base:
            return b""
        size = (until - self.base) * 2
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        self.base = until
        return taken
