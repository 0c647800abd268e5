"""What speculation, fallback, the breaker and the cache do for latency: scripted engines with jitter, virtual time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, override

import attrs
import trio
from trio.testing import MockClock

from invorto.breaker import Breaker
from invorto.errors import ProviderFailed
from invorto.model.agent import TtsSettings
from invorto.observability.logs import set_up_logs
from invorto.speech.cache import CachedTts, SpeechCache
from invorto.speech.fallback import FallbackLlm
from invorto.speech.ports import Llm, Prompt, Thought
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedLlm, ScriptedTts
from ops.bench.figures import percentile, show, tell
from tests.realtime.stage import RATE, open_stage

SPEAKING, LISTENING = 1.0, 6.0
"""Seconds of a turn's two halves: the answer is over by then, whatever the jitter."""
GREETING = "Hello, and welcome to the clinic."


@attrs.frozen
class Case:
    """One way to hold the same conversation."""

    name: str
    title: str
    speculate: bool = False
    bad: float | None = None
    """How often the first mind gives nothing for a long time; None: there is only the good one."""
    trips: int = 2


CASES = (
    Case("plain", "as it is"),
    Case("speculative", "thinking from the first pause on", speculate=True),
    Case("flaky", "every fifth answer of the first mind hangs, the second steps in", bad=0.2),
    Case("dead_without_breaker", "the first mind always hangs, and is asked each time", bad=1.0, trips=10**9),
    Case("dead", "the first mind always hangs, the breaker keeps it out", bad=1.0),
)


class Flaky(Llm):
    """A mind that hangs at times, evenly spread."""

    name, version = "flaky", "1"

    def __init__(self, mind: Llm, share: float) -> None:
        self._mind, self._share, self._owed = mind, share, 0.0

    @override
    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        self._owed += self._share
        if self._owed >= 1:
            self._owed -= 1
            await trio.sleep(60)
            raise ProviderFailed(self.name, "llm", "it hung")
        async with self._mind.answer(prompt) as thoughts:
            yield thoughts


async def answers(case: Case, script: Script, turns: int) -> list[float]:
    """Hold a conversation; give each answer's milliseconds from the end of speech to the first audio."""
    mind: Llm = ScriptedLlm(script)
    if case.bad is not None:
        breakers = {name: Breaker(trips=case.trips) for name in ("flaky", "scripted")}
        mind = FallbackLlm([Flaky(mind, case.bad), mind], breakers.__getitem__)
    document = {"greeting": None, "endpointing": {"silenceMs": 400}, "silence": {"nudgeAfter": 60}}
    async with open_stage(document, script, llm=mind, speculate=case.speculate) as stage:
        for _ in range(turns):
            await stage.line.speak(SPEAKING)
            await stage.line.wait(LISTENING)
        found = [metrics.voice_to_voice_ms for metrics in stage.metrics]
    return [value for value in found if value is not None]


async def greeted(script: Script, *, cached: bool) -> list[float]:
    """Begin calls; give each one's milliseconds to the first audio of its greeting."""
    voice = CachedTts(ScriptedTts(script), SpeechCache(2**20)) if cached else ScriptedTts(script)
    if isinstance(voice, CachedTts):
        await voice.prepare(GREETING, TtsSettings(provider="scripted"), RATE)
    found: list[float] = []
    for _ in range(20):
        async with open_stage({"greeting": GREETING}, script, tts=voice) as stage:
            began = trio.current_time()
            await stage.line.wait(1.0)
            found += [(at - began) * 1000 for at, _, _ in stage.line.played[:1]]
    return found


async def measure(turns: int, seed: int) -> dict[str, list[float]]:
    """Measure every case with the same engines."""

    def script() -> Script:
        return Script.parse({
            "sttMs": 100, "llmMs": 250, "ttsMs": 80, "jitterMs": 250, "seed": seed,
            "heard": ["I would like a table for two"], "replies": ["Certainly, a table for two it is."],
        })  # fmt: skip

    told = {case.name: await answers(case, script(), turns) for case in CASES}
    told["greeting"] = await greeted(script(), cached=False)
    told["greeting_cached"] = await greeted(script(), cached=True)
    return told


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 if an answer is missing."""
    parser = argparse.ArgumentParser(prog="ops.bench.latency", description=__doc__)
    parser.add_argument("--turns", type=int, default=200, help="answers of each case")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    set_up_logs("critical", "json")
    told = trio.run(measure, asked.turns, asked.seed, clock=MockClock(autojump_threshold=0))
    titles: dict[str, str] = {case.name: case.title for case in CASES}
    titles |= {"greeting": "greeting, made anew", "greeting_cached": "greeting, prepared beforehand"}
    rows: list[list[Any]] = [
        [titles[name], len(values), percentile(values, 0.5), percentile(values, 0.95), max(values, default=0.0)]
        for name, values in told.items()
    ]
    notes = [
        "virtual time: exact, and the same on every machine; silenceMs 400, engines 100, 250 and 80 ms, each + 0–250"
    ]
    show("End of speech to first audio, ms", ["", "answers", "p50", "p95", "worst"], rows, notes)
    named: dict[str, float] = {}
    for name, values in told.items():
        named |= {f"{name}_p50_ms": percentile(values, 0.5), f"{name}_p95_ms": percentile(values, 0.95)}
    tell({"turns": asked.turns, **named})
    return 0 if all(len(told[case.name]) == asked.turns for case in CASES) else 1


if __name__ == "__main__":
    sys.exit(main())
