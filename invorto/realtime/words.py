"""What the caller says, as it is told to the client and written down: when it was said, and how sure that is."""

from __future__ import annotations

import attrs

from invorto.observability.metrics import Metrics
from invorto.realtime.protocol import SttFinal, SttPartial
from invorto.realtime.teller import Teller
from invorto.realtime.transcript import Transcript
from invorto.speech.ports import Final, Partial


@attrs.define
class Words:
    """The caller's words in one call; times come on Trio's clock and are told in seconds since its start."""

    _start: float
    _teller: Teller
    _transcript: Transcript
    _measures: Metrics
    began_at: float = attrs.field(init=False)
    """When the caller began to speak, on Trio's clock; the call's start until then."""
    _ended_at: float = attrs.field(init=False)
    _transcribed_at: float | None = attrs.field(default=None, init=False)
    _confidence: float | None = attrs.field(default=None, init=False)
    _partial_seen: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.began_at = self._ended_at = self._start

    def began(self, at: float) -> None:
        """Take down that the caller began."""
        self.began_at = at

    def ended(self, at: float) -> None:
        """Take down that the caller paused, perhaps for the last time in this turn."""
        self._ended_at = at

    def heard(self, words: Partial | Final, now: float, *, turn: int) -> None:
        """Tell words to the client; what is final is a fact of the call."""
        if not words.text.strip():
            return
        at = round(now - self._start, 3)
        if isinstance(words, Partial):
            message = SttPartial(text=words.text, ts=at, turn=turn, confidence=words.confidence)
            self._teller.tell(message, keep=not self._partial_seen)
            if not self._partial_seen:
                self._measures.first_partial(max(now - self.began_at, 0.0))
            self._partial_seen = True
            return
        self._transcribed_at, self._confidence, self._partial_seen = now, words.confidence, False
        self._teller.tell(SttFinal(text=words.text, ts=at, turn=turn, confidence=words.confidence))
        self._teller.fact("stt.final", {"text": words.text, "ts": at, "turn": turn, "confidence": words.confidence})

    def take_time(self) -> float | None:
        """Give when the last words were final, once; None if there were none since."""
        at, self._transcribed_at = self._transcribed_at, None
        return at

    def write_down(self, text: str, *, turn: int) -> None:
        """Put what was said in *turn* into the transcript; nothing is not written."""
        if text:
            self._transcript.caller_said(
                text,
                turn=turn,
                began=round(self.began_at - self._start, 3),
                ended=round(max(self._ended_at, self.began_at) - self._start, 3),
                confidence=self._confidence,
            )
