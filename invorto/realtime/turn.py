"""One turn of the agent while it lasts: its playout, its scope, and how quick it was."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from invorto.model.call import EndReason
from invorto.model.record import TurnMetrics
from invorto.realtime.playout import Playout


@attrs.define
class Turn:
    """The agent has the floor; times are Trio's."""

    number: int
    playout: Playout
    began: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    paused_at: float | None = None
    """When the caller stopped speaking, where the turn answers what was spoken."""
    transcribed_at: float | None = None
    first_token_at: float | None = None
    first_sentence_at: float | None = None
    first_audio_at: float | None = None
    state: Any = None
    """What the engine wants to have back."""
    heeds: int = 0
    """How many whispers it heeds: they are done with when something of it has been heard."""
    leave: EndReason | None = None
    """Set where the call ends with this turn."""
    say: str = ""
    """What a tool has the agent say, word by word, before anything else."""
    over: bool = False

    def metrics(self) -> TurnMetrics:
        """Tell how quick it was, milliseconds."""
        return TurnMetrics(
            turn=self.number,
            eou_ms=_millis(self.paused_at, self.began),
            stt_ms=_millis(self.paused_at, self.transcribed_at),
            llm_first_token_ms=_millis(self.began, self.first_token_at),
            tts_first_chunk_ms=_millis(self.first_sentence_at, self.first_audio_at),
            voice_to_voice_ms=_millis(self.paused_at, self.first_audio_at),
        )


def _millis(since: float | None, until: float | None) -> float | None:
    return None if since is None or until is None else round(max(until - since, 0.0) * 1000, 1)
