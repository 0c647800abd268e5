"""What one call does with each frame that comes in: all of it inline, without a hop."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from invorto.realtime.emotion import EmotionWindows
from invorto.realtime.recording import Recording
from invorto.realtime.turns import Event
from invorto.speech.ports import Samples, SpeechBegan, SpeechPaused, SttStream, VadStream


@attrs.define
class Ears:
    """One caller's detector, transcriber, recorder and meter."""

    vad: VadStream
    stt: SttStream
    recording: Recording | None
    emotion: EmotionWindows | None
    deaf: bool = False
    """Whether the conversation is paused: then nothing is heard, and nothing recorded."""

    def hear(self, samples: Samples, at: float) -> None:
        """Take in a frame that arrived at *at* (Trio time)."""
        if self.deaf:
            return
        if self.recording is not None:
            self.recording.caller(samples, at)
        self.vad.push(samples, at)
        self.stt.push(samples)
        if self.emotion is not None:
            self.emotion.push(samples)

    def pause(self, at: float) -> None:
        """Hear nothing from now on."""
        self.deaf = True
        if self.vad.speaking:
            self.stt.speech_paused(at)

    def resume(self) -> None:
        """Hear again."""
        self.deaf = False


def listener(ear: SttStream, post: Callable[[Event], None]) -> Callable[[SpeechBegan | SpeechPaused], None]:
    """Make what the detector notifies: the transcriber first, for its cut, then the conversation."""

    def notify(event: SpeechBegan | SpeechPaused) -> None:
        if isinstance(event, SpeechBegan):
            ear.speech_began(event.at)
        else:
            ear.speech_paused(event.at)
        post(event)

    return notify
