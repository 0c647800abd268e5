"""Where speech begins and pauses: hysteresis over a detector's windows, pure."""

from __future__ import annotations

import attrs

from invorto.speech.ports import SpeechBegan, SpeechPaused

_SLACK = 0.0005  # half a millisecond: sums of window lengths are floats


@attrs.frozen
class Thresholds:
    """What counts as speech, and for how long; chosen on recorded speech, phone audio and noise."""

    onset: float = 0.5
    """From this probability on a window can begin speech."""
    release: float = 0.35
    """Below this probability a window is silence; between the two it is whatever was before."""
    pause: float = 0.096
    """Seconds of silence that make a pause: three windows, longer than the stop of a consonant."""


@attrs.define
class Gate:
    """One caller's verdicts: `SpeechBegan` and `SpeechPaused` in turn, in the order of time."""

    barge_in: float = 0.064
    """Seconds of speech that count as begun."""
    thresholds: Thresholds = Thresholds()
    speaking: bool = False
    _onset: float | None = None
    _heard: float = 0.0
    _last: float = 0.0

    def step(self, probability: float, began: float, ended: float) -> SpeechBegan | SpeechPaused | None:
        """Judge one window that lasted from *began* to *ended*; windows come in order, some may be missing."""
        speech = probability >= (self.thresholds.onset if self._onset is None else self.thresholds.release)
        if speech:
            self._last = ended
        if self.speaking:
            return None if speech else self.silence(ended)
        if not speech:
            self._onset = None
            return None
        if self._onset is None:
            self._onset, self._heard = began, 0.0
        self._heard += ended - began
        if self._heard + _SLACK < self.barge_in:
            return None
        self.speaking = True
        return SpeechBegan(self._onset)

    def silence(self, now: float) -> SpeechPaused | None:
        """Nothing but silence until *now*, be it heard or because no audio came."""
        if not self.speaking or now - self._last + _SLACK < self.thresholds.pause:
            return None
        self.speaking, self._onset = False, None
        return SpeechPaused(self._last)
