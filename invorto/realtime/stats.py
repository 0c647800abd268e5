"""How a live call goes, as its owner sees it."""

from __future__ import annotations

from typing import Self

import attrs
import trio

from invorto.model.record import TurnMetrics
from invorto.realtime.livecall import LiveCall


@attrs.frozen(kw_only=True)
class CallStats:
    """A live call at one moment."""

    seconds: float
    """Since it began."""
    floor: str
    """Whose turn it is: ``open``, ``caller``, ``agent``, ``hushed``, ``held`` or ``closed``."""
    turns: int
    """Turns that the agent has begun."""
    speaking: bool
    """Whether the caller is speaking."""
    connections: int
    """Sockets that are attached, those that only listen among them."""
    listeners: int
    held: bool
    recording: bool
    events: int
    """Events on its timeline so far."""
    voice_to_voice_ms: float | None
    """The median, from the caller's last word to the agent's first sound."""
    last_turn: TurnMetrics | None

    @classmethod
    def of(cls, live: LiveCall) -> Self:
        """Look at a call."""
        talk, recording = live.conversation, live.conversation.recording
        metrics = talk.mouth.metrics
        spoken = sorted(one.voice_to_voice_ms for one in metrics if one.voice_to_voice_ms is not None)
        return cls(
            seconds=round(trio.current_time() - talk.began_at, 3),
            floor=talk.turns.floor.name.lower(),
            turns=talk.turns.turn + 1,
            speaking=talk.turns.speaking,
            connections=len(talk.teller.lines),
            listeners=live.listeners,
            held=live.ears.deaf,
            recording=recording is not None and not recording.paused,
            events=len(talk.teller.kept),
            voice_to_voice_ms=spoken[len(spoken) // 2] if spoken else None,
            last_turn=metrics[-1] if metrics else None,
        )
