"""Tries engines: each is opened by itself and does something small twice, and is timed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import numpy as np
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from invorto.config import Config
from invorto.errors import InvortoError, ProviderFailed, first_of
from invorto.model.agent import AgentConfig
from invorto.model.agent_document import installation, resolve
from invorto.observability.logs import set_up_logs
from invorto.realtime.costs import price_of
from invorto.speech.plugins import Engines, Kind, configured, open_engines
from invorto.speech.ports import EngineFailed, Heard, Message, Partial, Prompt

PATIENCE = 10.0
"""Seconds that an engine may take once it is loaded."""
LOADING = 60.0
"""Seconds that an engine may take to load."""
RATE = 16_000


@attrs.frozen
class Trial:
    """How one engine did: *wrong* is a sentence, or empty where all is well; times in seconds."""

    kind: Kind
    name: str
    version: str = ""
    first: float | None = None
    """To the first piece of its first answer, with what it takes to connect."""
    again: float | None = None
    """To the first piece of the next one."""
    whole: float | None = None
    """To the end of that."""
    wrong: str = ""


async def check_engines(config: Config) -> int:
    """Try every engine that is configured, and print how it did; gives 1 if one does not work."""
    set_up_logs(config.observing.log_level, config.observing.log_format)
    trials = await try_engines(config)
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for title in ("", "engine", "version", "first", "again", "whole", "price"):
        table.add_column(title, justify="right" if title in {"first", "again", "whole"} else "left")
    for trial in trials:
        mark = Text("✗", style="red") if trial.wrong else Text("✓", style="green")
        told = Text(trial.wrong, style="red") if trial.wrong else Text(trial.version)
        kind = trial.kind
        price = price_of(kind, trial.name, trial.version) if kind not in ("vad", "turn") else ""
        times = (_millis(each) for each in (trial.first, trial.again, trial.whole))
        table.add_row(mark, f"{trial.kind} {trial.name}", told, *times, price)
    console.print(table)
    return 1 if any(trial.wrong for trial in trials) else 0


async def try_engines(config: Config) -> list[Trial]:
    """Open each engine by itself, since one that is missing must not hide the others."""
    wanted: dict[Kind, tuple[str, ...]] = {"vad": ("local",), **configured(config)}
    agent = resolve({}, installation(config))
    limits = attrs.evolve(config.limits, local_engine_calls=1)  # nothing is measured here
    alone = attrs.evolve(config, limits=limits)
    return [await _trial(kind, name, alone, agent) for kind, names in wanted.items() for name in names]


async def _trial(kind: Kind, name: str, config: Config, agent: AgentConfig) -> Trial:
    trial = Trial(kind, name, wrong=f"it is not ready within {LOADING + PATIENCE:g} s")
    with trio.move_on_after(LOADING + PATIENCE):  # noqa: ASYNC912 - opening an engine is a checkpoint
        try:
            async with open_engines({} if kind == "vad" else {kind: (name,)}, config) as engines:
                trial = await _tried(kind, name, engines, agent)
        except* InvortoError as group:
            trial = Trial(kind, name, wrong=str(first_of(group)))
    return trial


async def _tried(kind: Kind, name: str, engines: Engines, agent: AgentConfig) -> Trial:
    """Have an engine do something small, twice."""
    await engines.wait_ready()
    health = next(one for one in engines.health() if (one.kind, one.name) == (kind, name))
    if not health.ready:
        return Trial(kind, name, wrong="it does not load: `invorto check --log warning` tells more")
    if kind in {"vad", "turn"}:
        return Trial(kind, name, health.version)
    try:
        with trio.fail_after(PATIENCE):
            first, _ = await _timed(kind, name, engines, agent)
            again, whole = await _timed(kind, name, engines, agent)
    except trio.TooSlowError:
        return Trial(kind, name, wrong=f"it gives nothing within {PATIENCE:g} s")
    return Trial(kind, name, health.version, first, again, whole)


async def _timed(kind: Kind, name: str, engines: Engines, agent: AgentConfig) -> tuple[float, float]:
    """Do it once; give the seconds to the first piece and to the end."""
    began = trio.current_time()
    if kind == "stt":
        await _hear(engines, name, agent)
        took = trio.current_time() - began
        return took, took
    if kind == "llm":
        prompt = Prompt(agent=agent, settings=agent.llm, history=[Message(role="user", text="Hello.")])
        async with engines.llm(name).answer(prompt) as thoughts:
            return await _pieces(thoughts, began)
    async with engines.tts(name).say("Hello, how can I help?", agent.tts, RATE) as speech:
        return await _pieces(speech, began)


async def _pieces(stream: AsyncIterator[object], began: float) -> tuple[float, float]:
    first = None
    async for _ in stream:
        first = first if first is not None else trio.current_time() - began
    whole = trio.current_time() - began
    return first if first is not None else whole, whole


async def _hear(engines: Engines, name: str, agent: AgentConfig) -> None:
    """Have a second of silence transcribed."""
    send, receive = trio.open_memory_channel[Heard](8)

    def hear(heard: Heard) -> None:
        if not isinstance(heard, Partial):
            send.send_nowait(heard)

    async with engines.stt(name).listen(agent.stt, RATE, hear) as ear:
        ear.speech_began(trio.current_time())
        ear.push(np.zeros(RATE, np.int16))
        ear.speech_paused(trio.current_time())
        if isinstance(heard := await receive.receive(), EngineFailed):
            raise ProviderFailed(heard.provider, heard.stage, heard.message)


def _millis(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"
