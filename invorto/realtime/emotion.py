"""How the caller sounds: how loud in each window, and, where it is switched on, in which state.

Pure: audio in, messages out through *tell*. The level is RMS in dBFS over windows of exactly *window_ms*, however the
frames are cut. `speaking` changes after *min_hold* windows that agree, a state after it has lasted for 1.2 s: what
flickers is not told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Final, Literal

import attrs
import numpy as np

from invorto.audio import levels
from invorto.realtime.protocol import EmotionState, EmotionWindow
from invorto.speech.ports import Samples

type Told = EmotionWindow | EmotionState
type State = Literal["silent", "calm", "engaged", "agitated"]

HYSTERESIS: Final = 1.2
"""Seconds that a state must last before it is told."""
_USUAL: Final = 30.0
"""Seconds of speech that make the caller's own usual level."""
_QUICK: Final = 3.0
"""Seconds over which the present is judged."""
_RAISED: Final = 4.0
"""Decibels above the usual level that count as half of all arousal: about what a raised voice adds."""


class EmotionWindows:
    """One caller's meter."""

    def __init__(
        self,
        rate: int,
        tell: Callable[[Told], object],
        *,
        window_ms: int = 250,
        threshold_db: float = -50.0,
        min_hold: int = 2,
        states: bool = False,
    ) -> None:
        self._tell, self._threshold, self._min_hold = tell, threshold_db, min_hold
        self._size = max(1, rate * window_ms // 1000)
        self._frames, self._count = list[Samples](), 0
        self._held = 0
        self._states = StateJudge(window_ms / 1000) if states else None
        self.speaking = False

    def push(self, samples: Samples) -> None:
        """Take in audio of any length; tells of each window that is complete."""
        self._frames.append(samples)
        self._count += samples.size
        if self._count < self._size:
            return  # summing squares costs the same for a frame and for a window of twelve
        audio, at = np.concatenate(self._frames), 0
        while self._count >= self._size:
            self._window(levels.rms(audio[at : at + self._size]))
            at += self._size
            self._count -= self._size
        self._frames = [audio[at:].copy()]

    def _window(self, level: float) -> None:
        self._held = self._held + 1 if (level > self._threshold) != self.speaking else 0
        if self._held >= self._min_hold:
            self.speaking, self._held = not self.speaking, 0
        self._tell(EmotionWindow(energy_db=round(level, 1), speaking=self.speaking))
        if self._states is not None and (state := self._states.step(level, speaking=self.speaking)) is not None:
            self._tell(state)


@attrs.define
class _Candidate:
    name: State
    windows: int = 0


class StateJudge:
    """
    Names a state by how the present differs from the caller's own usual.

    Arousal is the level against the usual of the last 30 s of speech, and how much of the last 3 s was speech. Valence
    is not heard in a level: it leans below zero with agitation, and the confidence says how little that is worth.
    """

    def __init__(self, window: float) -> None:
        self._usual = deque[float](maxlen=max(8, round(_USUAL / window)))
        self._recent = deque[float | None](maxlen=max(2, round(_QUICK / window)))
        """Levels of the last windows, None where there was no speech."""
        self._hold = max(1, round(HYSTERESIS / window))
        self._candidate = _Candidate("silent")
        self.state: State = "silent"

    def step(self, level: float, *, speaking: bool) -> EmotionState | None:
        """Take a window's *level* in dBFS; gives a state when it has become another."""
        self._recent.append(level if speaking else None)
        if speaking:
            self._usual.append(level)
        arousal = self._arousal()
        name = self._name(arousal)
        if name != self._candidate.name:
            self._candidate = _Candidate(name)
        self._candidate.windows += 1
        if name == self.state or self._candidate.windows < self._hold:
            return None
        self.state = name
        confidence = 0.3 + 0.4 * len(self._usual) / (self._usual.maxlen or 1)
        return EmotionState(
            label=name,
            arousal=round(arousal, 2),
            valence=round(-0.5 * arousal if name == "agitated" else 0.0, 2),
            confidence=round(confidence, 2),
        )

    def _arousal(self) -> float:
        spoken = [level for level in self._recent if level is not None]
        if not spoken:
            return 0.0
        raised = (_median(spoken) - _median(self._usual)) / (2 * _RAISED)
        return min(1.0, max(0.0, 0.25 + raised + 0.25 * len(spoken) / len(self._recent)))

    def _name(self, arousal: float) -> State:
        if all(level is None for level in self._recent):
            return "silent"
        if arousal >= 0.75:
            return "agitated"
        return "engaged" if arousal >= 0.45 else "calm"


def _median(values: Collection[float]) -> float:
    """Give what half of the values lie below: one cry does not move it."""
    return sorted(values)[len(values) // 2]
