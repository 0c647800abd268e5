"""The engines of one call: chosen by its agent, several of a kind as one that falls back."""

from __future__ import annotations

from functools import partial

import attrs

from invorto.model.agent import AgentConfig
from invorto.speech.cache import CachedTts, SpeechCache
from invorto.speech.fallback import OWN, FallbackLlm, FallbackTts
from invorto.speech.hearing import FallbackStt
from invorto.speech.plugins import Engines
from invorto.speech.ports import Llm, Stt, Tts, TurnModel, Vad

EXACT = "scripted"
"""The engine whose delays are exact: what it says is not remembered."""


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


async def choose_voices(agent: AgentConfig, engines: Engines, spoken: SpeechCache) -> Voices:
    """Open what an agent names; voices remember in *spoken* what they said. `UsageError` where a kind has none."""
    names = await engines.need(agent)
    ears = [engines.stt(name) for name in names["stt"]]
    minds = [engines.llm(name) for name in names["llm"]]
    voices = [_remembering(engines.tts(name), spoken) for name in names["tts"]]
    lone = len(ears) == 1 and ears[0].name in OWN  # it hears without a detour; one that is far away may be lost
    return Voices(
        vad=engines.vad,
        turn=engines.turn,
        stt=ears[0] if lone else FallbackStt(ears, partial(engines.breaker, "stt")),
        llm=minds[0] if len(minds) == 1 else FallbackLlm(minds, partial(engines.breaker, "llm")),
        tts=voices[0] if len(voices) == 1 else FallbackTts(voices, partial(engines.breaker, "tts")),
        local="local" in {names["stt"][0], names["tts"][0]},
    )


def _remembering(voice: Tts, spoken: SpeechCache) -> Tts:
    return voice if voice.name == EXACT else CachedTts(voice, spoken)
