"""What a caller hears who is on hold: a quiet tune that is made here, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import attrs
import numpy as np
import trio
from numpy.typing import NDArray

from invorto.realtime.line import Line
from invorto.speech.ports import Samples

CHUNK = 0.1
"""Seconds of music sent at a time."""
LENGTH = 9.6
"""Seconds after which the tune begins again."""
LOUDNESS = 0.06
"""Of full scale: some -26 dBFS, so that nobody starts when it begins."""
_NOTE = 0.3
_CHORDS = ((57, 60, 64, 69), (53, 57, 60, 65), (48, 52, 55, 60), (55, 59, 62, 67))
"""As MIDI numbers: each is broken up and down for a quarter of the tune."""


@lru_cache(maxsize=4)
def tune(rate: int) -> Samples:
    """Make the tune at *rate*: broken chords of soft, decaying tones, that ends where it begins."""
    size, beat = round(LENGTH * rate), round(_NOTE * rate)
    ring = np.arange(4 * beat) / rate
    shape = np.exp(-ring * 3.5) * np.minimum(ring / 0.02, 1)

    @cache
    def tone(note: int) -> NDArray[np.float64]:
        pitch = 440 * 2 ** ((note - 69) / 12)
        made: NDArray[np.float64] = shape * (np.sin(2 * np.pi * pitch * ring) + 0.3 * np.sin(4 * np.pi * pitch * ring))
        return made

    sound = np.zeros(size + ring.size)
    for place in range(size // beat):
        at = place * beat
        sound[at : at + ring.size] += tone(_CHORDS[place // 8][(0, 1, 2, 3, 2, 1)[place % 6]])
    sound[: ring.size] += sound[size:]  # the last tones ring into the beginning
    sound = sound[:size]
    return np.round(sound / np.abs(sound).max() * LOUDNESS * 32767).astype(np.int16)


@attrs.define
class Music:
    """The music of one call's far end, which plays or does not."""

    lines: Sequence[Line]
    """They may come and go."""
    rate: int
    lead: float
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    def start(self, nursery: trio.Nursery, turn: int) -> None:
        """Play from the beginning, as of the agent's *turn*."""
        self.stop()
        self._scope = trio.CancelScope()
        nursery.start_soon(self._play, self._scope, turn)

    def stop(self) -> None:
        """Fall silent; harmless twice."""
        if self._scope is not None:
            self._scope.cancel()
            self._scope = None

    async def _play(self, scope: trio.CancelScope, turn: int) -> None:
        sound, size, at = tune(self.rate), round(CHUNK * self.rate), 0
        due = trio.current_time()
        with scope:
            while True:
                piece = sound[at : at + size]
                for line in self.lines:
                    line.play(piece, turn=turn)
                at = (at + piece.size) % sound.size
                due += piece.size / self.rate
                await trio.sleep_until(due - self.lead)
