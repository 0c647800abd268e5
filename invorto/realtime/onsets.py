"""What the detector hears, passed on, but for the agent's own voice coming back."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from invorto.audio.echo import ALIKE, WINDOW, Echo
from invorto.realtime.turns import Event
from invorto.speech.ports import Samples, SpeechBegan, SpeechPaused, SttStream, TurnEar

STILL_ALIKE = 0.4
"""Likeness below which what was held back may be somebody who speaks over it."""
LOOK = 0.032
"""Seconds between two looks at what is held back: a window of the detector."""
LOOKS = 3
"""Looks in a row that must find a voice of its own: an echo's own likeness flickers."""


@attrs.define
class Onsets:
    """
    Passes on when the caller begins and ceases to speak: the transcriber first, for its cut, then the conversation.

    What sounds like the agent is held back, and passed on as soon as it does not any more: somebody speaks into it.
    """

    ear: SttStream
    post: Callable[[Event], None]
    echo: Echo
    withheld: Callable[[], None] = lambda: None
    """Told of each onset that was taken for the agent's own voice."""
    turn: TurnEar | None = None
    """Judges the pauses, where there is a model that does."""
    spoke: Callable[[float, float], None] = lambda began, ended: None  # noqa: ARG005
    """Told of each stretch of speech, from when to when."""
    _since: float = attrs.field(default=0.0, init=False)
    _held: SpeechBegan | None = attrs.field(default=None, init=False)
    _heard_at: float = attrs.field(default=0.0, init=False)
    _look_at: float = attrs.field(default=0.0, init=False)
    _others: int = attrs.field(default=0, init=False)

    def notify(self, event: SpeechBegan | SpeechPaused) -> None:
        """Take the detector's word."""
        match event:
            case SpeechBegan() if self.echo.likeness(self._heard_at) >= ALIKE:
                self._held, self._look_at, self._others = event, self._heard_at + LOOK, 0
                self.withheld()
            case SpeechBegan():
                self._began(event)
            case SpeechPaused() if self._held is not None:
                self._held = None
            case SpeechPaused():
                self.ear.speech_paused(event.at)
                self.post(event)
                self.spoke(self._since, event.at)
                if self.turn is not None:
                    self.turn.paused(event.at)

    @property
    def held(self) -> bool:
        """Whether what the detector hears is the agent."""
        return self._held is not None

    def hear(self, samples: Samples, at: float) -> None:
        """Take in what was heard up to *at*, and look again at what is held back; before the detector hears it."""
        self.echo.heard(samples, at)
        self._heard_at = at
        if self._held is None or at < self._look_at:
            return
        self._look_at = at + LOOK
        self._others = 0 if self.echo.likeness(at) >= STILL_ALIKE else self._others + 1
        if self._others >= LOOKS:
            held, self._held = self._held, None
            self._began(SpeechBegan(max(held.at, at - WINDOW)))

    def _began(self, event: SpeechBegan) -> None:
        self._since = event.at
        self.ear.speech_began(event.at)
        self.post(event)
        if self.turn is not None:
            self.turn.began(event.at)
