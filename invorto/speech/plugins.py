"""Engines by name: found as entry points, opened once per process, each in a task of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import entry_points
from typing import Any, Literal, NoReturn, Protocol, cast

import attrs
import structlog
import trio

from invorto.breaker import Breaker
from invorto.config import Config, words
from invorto.errors import UsageError
from invorto.model.agent import AgentConfig
from invorto.speech.capacity import measure
from invorto.speech.opening import Opening, Progress, silent
from invorto.speech.ports import Llm, Stt, Tts, TurnModel, Vad

log = structlog.get_logger(__name__)

type Kind = Literal["stt", "llm", "tts", "vad", "turn"]
type Opener = Callable[[Opening], AbstractAsyncContextManager[Any]]

KINDS: tuple[Kind, ...] = ("stt", "llm", "tts", "vad")
"""What every call needs; `turn` is a hint that it may do without."""


@attrs.frozen(kw_only=True)
class EngineHealth:
    """How one opened engine is: what health answers show."""

    kind: Kind
    name: str
    version: str
    ready: bool
    resting: bool = False
    """Whether it failed so often that it is left alone for a while."""


def installed(kind: Kind) -> tuple[str, ...]:
    """Name every engine of a kind that is installed."""
    return tuple(sorted({point.name for point in entry_points(group=f"invorto.{kind}")}))


def check_names(kind: Kind, names: Iterable[str]) -> None:
    """Raise a `UsageError` with what is installed unless engines of all these *names* are."""
    known = installed(kind)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no {kind} engine called {name!r}; installed: {', '.join(known) or 'none'}")


def find(kind: Kind, name: str) -> Opener:
    """Import the plug-in of an engine."""
    check_names(kind, [name])
    (point, *_) = entry_points(group=f"invorto.{kind}", name=name)
    return cast("Opener", point.load())


class RunningVad(Vad, Protocol):
    """A detector with the task that judges for all calls."""

    version: str

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Judge what is pushed, for ever."""
        ...


class Engines:
    """The engines of the process, by kind and name."""

    def __init__(self, opened: Mapping[tuple[Kind, str], Any], host: Host | None = None) -> None:
        self.capacity: int | None = None
        """How many calls the engines of this machine hold; None: not in use, or not measured yet."""
        self._opened = dict(opened)
        self._breakers: dict[tuple[Kind, str], Breaker] = {}
        self._host = host
        self._opening = trio.Lock()

    def stt(self, name: str) -> Stt:
        """Give the ear of this name; `UsageError` unless it has been opened."""
        return self._get("stt", name)

    def llm(self, name: str) -> Llm:
        """Give the mind of this name; `UsageError` unless it has been opened."""
        return self._get("llm", name)

    def tts(self, name: str) -> Tts:
        """Give the voice of this name; `UsageError` unless it has been opened."""
        return self._get("tts", name)

    def open_minds(self, names: Iterable[str]) -> list[Llm]:
        """Give the minds of these names that are open."""
        return [self._opened["llm", name] for name in names if ("llm", name) in self._opened]

    @property
    def vad(self) -> RunningVad:
        """Give the detector of the process; nothing is detected unless its `run` runs."""
        name = next((name for kind, name in self._opened if kind == "vad"), "local")
        return self._get("vad", name)

    @property
    def turn(self) -> TurnModel | None:
        """Give the model that judges pauses, where there is one."""
        return next((engine for (kind, _), engine in self._opened.items() if kind == "turn"), None)

    def _get(self, kind: Kind, name: str) -> Any:
        try:
            return self._opened[kind, name]
        except KeyError:
            check_names(kind, [name])
            raise UsageError(f"the {kind} engine {name!r} has not been opened") from None

    def breaker(self, kind: Kind, name: str) -> Breaker:
        """Give what keeps an engine out of the way while it fails: one for all calls."""
        return self._breakers.setdefault((kind, name), Breaker())

    async def need(self, agent: AgentConfig) -> Mapping[Kind, tuple[str, ...]]:
        """
        Open what an agent names and is not open yet, and have it prepared; gives the names that can be used.

        One that cannot be opened is left out while there is another; else `UsageError` says what is missing.
        """
        named: dict[Kind, tuple[str, ...]] = {
            "stt": agent.stt.providers, "llm": agent.llm.providers, "tts": agent.tts.providers,
        }  # fmt: skip
        usable: dict[Kind, tuple[str, ...]] = {kind: await self._usable(kind, names) for kind, names in named.items()}
        for name in usable["llm"]:
            if (prepare := getattr(self.llm(name), "prepare", None)) is not None:
                prepare(agent)
        return usable

    async def _usable(self, kind: Kind, names: tuple[str, ...]) -> tuple[str, ...]:
        usable: list[str] = []
        missing: UsageError | None = None
        for name in dict.fromkeys(names):
            try:
                await self.open(kind, name)
                usable.append(name)
            except UsageError as error:
                missing = error
                log.warning("engine_missing", kind=kind, engine=name, error=str(error))
        if not usable and missing is not None:
            raise missing
        return tuple(usable)

    async def open(self, kind: Kind, name: str) -> None:
        """Open an engine unless it is open; it is closed with all the others."""
        if (kind, name) in self._opened:
            return
        async with self._opening:
            if (kind, name) not in self._opened and self._host is not None:
                self._opened[kind, name] = await self._host(find(kind, name))
                log.info("engine_opened", kind=kind, engine=name)

    async def wait_ready(self) -> None:
        """Wait until everything that is open has been loaded, or has failed to."""
        for engine in list(self._opened.values()):
            if (wait := getattr(engine, "wait_ready", None)) is not None:
                await wait()

    def health(self) -> list[EngineHealth]:
        """Say what is open and how it is."""
        return [
            EngineHealth(
                kind=kind,
                name=name,
                version=engine.version,
                ready=getattr(engine, "ready", True),
                resting=self.breaker(kind, name).open,
            )
            for (kind, name), engine in sorted(self._opened.items())
        ]


type Host = Callable[[Opener], Awaitable[Any]]
"""Opens an engine in a task of its own, and gives it."""


def configured(config: Config) -> dict[Kind, tuple[str, ...]]:
    """Name the engines that agents use when they say nothing else."""
    told = config.conversation
    return {
        "stt": words(told.stt_provider), "llm": words(told.llm_provider), "tts": words(told.tts_provider),
        "turn": (told.endpointing_model,) if told.endpointing_model else (),
    }  # fmt: skip


@asynccontextmanager
async def open_engines(
    names: Mapping[Kind, Collection[str]], config: Config, progress: Progress = silent
) -> AsyncIterator[Engines]:
    """Open the engines of these *names*, and the detector: ``local`` unless ``vad`` names another.

    Heavy ones load in the background: `Engines.wait_ready` waits for them. An unknown name, or one whose parts are
    not installed, is a `UsageError`.
    """
    opening = Opening(config=config, progress=progress)
    async with trio.open_nursery() as nursery:

        async def host(opener: Opener) -> Any:
            return await nursery.start(_keep_open, opener, opening)

        engines = Engines({}, host)
        for kind, wanted in {"vad": ("local",), **names}.items():
            for name in wanted:
                await engines.open(cast("Kind", kind), name)
        engines.capacity = config.limits.local_engine_calls
        if engines.capacity is None and "local" in {*names.get("stt", ()), *names.get("tts", ())}:
            nursery.start_soon(_measure, engines, names)
        yield engines
        nursery.cancel_scope.cancel()


async def _keep_open(
    opener: Opener, opening: Opening, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED
) -> None:
    async with opener(opening) as engine:
        task_status.started(engine)
        await trio.sleep_forever()


async def _measure(engines: Engines, names: Mapping[Kind, Collection[str]]) -> None:
    await engines.wait_ready()
    stt = engines.stt("local") if "local" in names.get("stt", ()) else None
    tts = engines.tts("local") if "local" in names.get("tts", ()) else None
    engines.capacity = await measure(stt, tts)
    log.info("engine_capacity", calls=engines.capacity)
