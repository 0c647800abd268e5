"""Several ears as one: what was said since the last final words is kept, and told to whoever takes over."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, override

import attrs
import structlog
import trio

from invorto.breaker import Breaker
from invorto.errors import ProviderFailed
from invorto.model.agent import SttSettings
from invorto.speech.fallback import Choice, choices, in_order
from invorto.speech.ports import EngineFailed, Final, Heard, Partial, Samples, Stt, SttStream

log = structlog.get_logger(__name__)

FINAL = 2.5
"""Seconds after a pause in which its final words come, while there is another engine."""
LOOK_BACK = 2.0
"""Seconds kept outside speech."""
LONGEST = 30.0
"""Seconds kept in speech."""

type _Told = Samples | tuple[Literal["began", "paused"], float]


@attrs.define
class Kept:
    """What was told since the last final words; pure."""

    rate: int
    told: deque[_Told] = attrs.field(factory=deque)
    speaking: bool = False
    _samples: int = 0
    _open: int = 0
    """Pauses that are not answered yet."""

    def push(self, samples: Samples) -> None:
        """Keep audio, and let go of the oldest outside speech."""
        self.told.append(samples)
        self._samples += len(samples)
        most = (LONGEST if self.speaking or self._open else LOOK_BACK) * self.rate
        while self._samples > most:
            marks: list[_Told] = []
            while isinstance(self.told[0], tuple):
                marks.append(self.told.popleft())
            self._drop()
            self.told.extendleft(reversed(marks))

    def began(self, at: float) -> None:
        """Keep that speech began."""
        self.speaking = True
        self.told.append(("began", at))

    def paused(self, at: float) -> None:
        """Keep that speech paused."""
        self.speaking = False
        self._open += 1
        self.told.append(("paused", at))

    def settle(self) -> None:
        """Let go of what the final words were about: all up to the first pause, or all there is."""
        while self.told:
            if self._drop() == "paused":
                self._open -= 1
                return

    def _drop(self) -> str:
        first = self.told.popleft()
        if isinstance(first, tuple):
            return first[0]
        self._samples -= len(first)
        return ""


class FallbackEar(SttStream):
    """One caller's ear, whichever engine hears at the moment; `run` is its only task."""

    def __init__(
        self, engines: Sequence[Choice[Stt]], settings: SttSettings, rate: int, hear: Callable[[Heard], None]
    ) -> None:
        self.used: dict[str, float] = {}
        """Seconds that each engine listened."""
        self._engines, self._settings, self._rate, self._hear = engines, settings, rate, hear
        self._kept = Kept(rate)
        self._ear: SttStream | None = None
        self._failure: ProviderFailed | None = None
        self._turned = trio.Event()
        """Set when a failure came, or what is owed has changed."""
        self._due: deque[float] = deque()
        self._heard_any = self._closed = False

    @override
    def push(self, samples: Samples) -> None:
        if not self._closed:
            self._kept.push(samples)
            if self._ear is not None:
                self._ear.push(samples)

    @override
    def speech_began(self, at: float) -> None:
        if not self._closed:
            self._kept.began(at)
            if self._ear is not None:
                self._ear.speech_began(at)

    @override
    def speech_paused(self, at: float) -> None:
        if not self._closed:
            self._kept.paused(at)
            self._owe()
            if self._ear is not None:
                self._ear.speech_paused(at)

    def close(self) -> None:
        """Forget the caller."""
        self._closed = True
        self._kept.told.clear()

    async def run(self) -> None:
        """Hear with one engine after the other, until cancelled; when none is left, that is heard."""
        tries = 0
        while True:
            choice = self._next(tries)
            failure = await self._listen(choice)
            choice.breaker.failed(trio.current_time(), failure.retry_after)
            tries = 1 if self._heard_any else tries + 1
            if tries > len(self._engines):
                self.close()
                self._hear(EngineFailed(failure.provider, "stt", str(failure)))
                return
            log.warning("engine_replaced", provider=failure.provider, stage="stt", error=str(failure))

    def _next(self, tries: int) -> Choice[Stt]:
        """Choose who hears: the one that failed last comes after the others, even where it is the only one allowed."""
        order = in_order(self._engines, trio.current_time())
        return order[0] if tries == 0 or order[0].breaker.failures == 0 else order[tries % len(order)]

    async def _listen(self, choice: Choice[Stt]) -> ProviderFailed:
        """Hear with one engine until it fails; gives why."""
        began = trio.current_time()
        self._failure, self._heard_any = None, False
        settings = self._settings if choice.first else attrs.evolve(self._settings, model=None)
        listening = True

        def hear(heard: Heard) -> None:
            if listening and not self._closed:
                self._take(heard, choice)

        choice.breaker.asked(began)
        try:
            async with choice.engine.listen(settings, self._rate, hear) as ear:
                self._attach(ear)
                return await self._failed(choice)
        except ProviderFailed as error:
            return error
        finally:
            listening = False
            self._ear = None
            name = choice.engine.name
            self.used[name] = self.used.get(name, 0.0) + trio.current_time() - began

    def _attach(self, ear: SttStream) -> None:
        """Tell a new engine what was said and not heard yet."""
        for told in list(self._kept.told):
            match told:
                case ("began", at):
                    ear.speech_began(at)
                case ("paused", at):
                    ear.speech_paused(at)
                case _:
                    ear.push(told)  # pyright: ignore[reportArgumentType]
        self._due = deque(trio.current_time() + FINAL for _ in self._due)
        self._ear = ear

    async def _failed(self, choice: Choice[Stt]) -> ProviderFailed:
        """Wait until the engine has failed, or owes something for too long."""
        while self._failure is None:
            self._turned = trio.Event()
            with trio.move_on_at(self._due[0] if self._due and len(self._engines) > 1 else float("inf")):
                await self._turned.wait()
            late = self._due and len(self._engines) > 1 and self._due[0] <= trio.current_time()
            if self._failure is None and late:
                return ProviderFailed(choice.engine.name, "stt", f"no final words for {FINAL:g} s")
        return self._failure

    def _take(self, heard: Heard, choice: Choice[Stt]) -> None:
        match heard:
            case EngineFailed(provider, stage, message):
                self._failure = ProviderFailed(provider, stage, message.removeprefix(f"{provider} ({stage}): "))
                self._turned.set()
                return
            case Final():
                self._kept.settle()
                if self._due:
                    self._due.popleft()
                    self._turned.set()
            case Partial():
                pass
        self._heard_any = True
        choice.breaker.succeeded()
        self._hear(heard)

    def _owe(self) -> None:
        self._due.append(trio.current_time() + FINAL)
        self._turned.set()


class FallbackStt(Stt):
    """Ears in the order to fall back on; a single one is opened again when it was lost."""

    def __init__(self, ears: Sequence[Stt], breakers: Callable[[str], Breaker]) -> None:
        self._ears = choices(ears, breakers)
        self.name, self.version = ears[0].name, ", ".join(f"{ear.name} {ear.version}" for ear in ears)

    @override
    @asynccontextmanager
    async def listen(
        self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]
    ) -> AsyncIterator[FallbackEar]:
        """Open an ear for one call."""
        ear = FallbackEar(self._ears, settings, rate, hear)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ear.run)  # noqa: ASYNC113 - it keeps what is pushed until it runs
            try:
                yield ear
            finally:
                ear.close()
                nursery.cancel_scope.cancel()
