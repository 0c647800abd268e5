"""What one call does with each frame that comes in: all of it inline, without a hop."""

from __future__ import annotations

import attrs

from invorto.realtime.beep import BeepDetector
from invorto.realtime.emotion import EmotionWindows
from invorto.realtime.onsets import Onsets
from invorto.realtime.recording import Recording
from invorto.speech.ports import Samples, SttStream, TurnEar, VadStream


@attrs.define
class Ears:
    """One caller's detector, transcriber, recorder and meter."""

    vad: VadStream
    stt: SttStream
    onsets: Onsets
    recording: Recording | None
    emotion: EmotionWindows | None
    turn: TurnEar | None = None
    beeps: BeepDetector | None = None
    deaf: bool = False
    """Whether the conversation is paused: then nothing is heard, and nothing recorded."""

    def hear(self, samples: Samples, at: float) -> None:
        """Take in a frame that arrived at *at* (Trio time)."""
        if self.deaf:
            return
        if self.recording is not None:
            self.recording.caller(samples, at)
        self.onsets.hear(samples, at)
        self.vad.push(samples, at)
        self.stt.push(samples)
        if self.turn is not None:
            self.turn.push(samples)
        if self.emotion is not None:
            self.emotion.push(samples)
        if self.beeps is not None:
            self.beeps.push(samples)

    def pause(self, at: float) -> None:
        """Hear nothing from now on."""
        self.deaf = True
        if self.vad.speaking and not self.onsets.held:
            self.stt.speech_paused(at)

    def resume(self) -> None:
        """Hear again."""
        self.deaf = False
