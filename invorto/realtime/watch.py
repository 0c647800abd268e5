"""Watches what is told in a call for what somebody should look at, and sums up how the caller sounded (pure).

A flag is raised once in a call: `overlap_risk` when the caller breaks in again and again, `frustration_spike` when the
caller becomes agitated and stays so, `toxicity` when words are abusive.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from invorto.realtime.protocol import BargeIn, EmotionState, EmotionWindow, ServerMessage, SttFinal

type Flag = Literal["frustration_spike", "overlap_risk", "toxicity"]
type Raise = Callable[[Flag, int, float, str], object]
"""Takes a flag, the turn, seconds of the call, and what raised it."""

BREAKS: Final = 3
WITHIN: Final = 30.0
"""Seconds in which so many times breaking in are a risk that the two talk past each other."""
_ABUSE: Final = re.compile(
    r"\b(?:(?:mother)?fuck\w*|bull?shit|shit(?:ty|head)?|bitch\w*|bastards?|assholes?|cunts?|dickheads?|idiots?|morons?"
    r"|shut up|go to hell|chutiya|bhenchod|behenchod|madarchod|harami|kamina|gandu)\b",
    re.IGNORECASE,
)


@attrs.define
class Watch:
    """One call's; times are seconds since its start."""

    report: Raise
    window: float = 0.25
    """Seconds of an emotion window."""
    raised: list[Flag] = attrs.field(factory=list["Flag"])
    """The flags so far, in their order."""
    _turn: int = 0
    _breaks: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=BREAKS))
    _windows: int = 0
    _loud: list[float] = attrs.field(factory=lambda: [0, 0.0])
    """Windows of speech, and the sum of their levels."""
    _states: Counter[str] = attrs.field(factory=Counter[str])
    _last_state: str | None = None

    def see(self, message: ServerMessage, at: float) -> None:
        """Take in what is told at *at*; cheap for what does not matter."""
        match message:
            case EmotionWindow(energy_db, speaking):
                self._windows += 1
                if speaking:
                    self._loud[0] += 1
                    self._loud[1] += energy_db
            case SttFinal(text, _, turn):
                self._turn = turn
                if found := _ABUSE.search(text):
                    self._raise("toxicity", at, f"the caller said “{found[0].lower()}”")
            case BargeIn(turn):
                self._turn = turn
                self._breaks.append(at)
                if len(self._breaks) == BREAKS and at - self._breaks[0] <= WITHIN:
                    self._raise("overlap_risk", at, f"the caller broke in {BREAKS} times within {WITHIN:g} s")
            case EmotionState(label):
                self._states[label] += 1
                self._last_state = label
                if label == "agitated":
                    self._raise("frustration_spike", at, "the caller became agitated")
            case _:
                pass

    def emotion(self) -> dict[str, Any] | None:
        """Sum up how the caller sounded; None where nobody listened for it."""
        if not self._windows:
            return None
        speaking, levels = self._loud
        return {
            "speakingSeconds": round(speaking * self.window, 2),
            "levelDb": round(levels / speaking, 1) if speaking else None,
            "lastState": self._last_state,
            "states": dict(self._states),
        }

    def _raise(self, flag: Flag, at: float, evidence: str) -> None:
        if flag not in self.raised:
            self.raised.append(flag)
            self.report(flag, self._turn, at, evidence)
