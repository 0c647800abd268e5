"""The engines of one call."""

from __future__ import annotations

import attrs

from invorto.speech.ports import Llm, Stt, Tts, Vad


@attrs.frozen(kw_only=True)
class Voices:
    """What a call hears, thinks and speaks with."""

    vad: Vad
    stt: Stt
    llm: Llm
    tts: Tts
    local: bool = False
    """Whether they take this machine's cores."""
