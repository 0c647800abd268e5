"""Prepares what a call needs first: connections to its engines, and what its agent says first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import AgentConfig
from invorto.realtime.sentences import SentenceCutter
from invorto.realtime.voices import Voices

log = structlog.get_logger(__name__)


async def prewarm(agent: AgentConfig, voices: Voices, rate: int) -> None:
    """Connect to the engines that are elsewhere, and speak the consent prompt, else the greeting, into the cache."""
    async with trio.open_nursery() as nursery:
        if (warm := getattr(voices.llm, "warm", None)) is not None:
            nursery.start_soon(_try, warm)
        if (warm := getattr(voices.tts, "warm", None)) is not None:
            nursery.start_soon(_try, warm, agent.tts, rate)
        await _try(_greet, agent, voices, rate)


async def _greet(agent: AgentConfig, voices: Voices, rate: int) -> None:
    first = agent.consent.prompt if agent.consent is not None else agent.greeting
    prepare: Callable[..., Awaitable[None]] | None = getattr(voices.tts, "prepare", None)
    if prepare is None or not isinstance(first, str):
        return
    cutter = SentenceCutter()
    for sentence in (*cutter.push(first), *cutter.flush()):
        if sentence.strip():
            await prepare(sentence, agent.tts, rate)


async def _try(what: Callable[..., Awaitable[None]], *args: Any) -> None:
    try:
        await what(*args)
    except ProviderFailed as error:
        log.info("not_prewarmed", error=str(error))  # the call says it aloud, if it fails again
