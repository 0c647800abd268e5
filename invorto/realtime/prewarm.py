"""Prepares what an agent says first, so that it sounds as soon as the client begins."""

from __future__ import annotations

import structlog

from invorto.errors import ProviderFailed
from invorto.model.agent import AgentConfig
from invorto.realtime.sentences import SentenceCutter
from invorto.speech.cache import CachedTts
from invorto.speech.ports import Tts

log = structlog.get_logger(__name__)


async def prewarm(agent: AgentConfig, tts: Tts, rate: int) -> None:
    """Speak the consent prompt, else the greeting, into the cache; a voice without one has nothing to prepare."""
    first = agent.consent.prompt if agent.consent is not None else agent.greeting
    if not isinstance(tts, CachedTts) or not isinstance(first, str):
        return
    cutter = SentenceCutter()
    try:
        for sentence in (*cutter.push(first), *cutter.flush()):
            if sentence.strip():
                await tts.prepare(sentence, agent.tts, rate)
    except ProviderFailed as error:
        log.info("not_prewarmed", error=str(error))  # the call says it aloud, if it fails again
