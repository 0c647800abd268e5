"""The engines of one call."""

from __future__ import annotations

import attrs

from invorto.speech.ports import Llm, Stt, Tts, TurnModel, Vad


@attrs.frozen(kw_only=True)
class Voices:
    """What a call hears, thinks and speaks with."""

    vad: Vad
    stt: Stt
    llm: Llm
    tts: Tts
    turn: TurnModel | None = None
    """Judges pauses by their sound, where the installation has it."""
    local: bool = False
    """Whether they take this machine's cores."""
