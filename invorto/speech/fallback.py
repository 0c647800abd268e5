"""Several engines as one: who fails, or gives nothing in time, is replaced within the same turn."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, override

import attrs
import structlog
import trio

from invorto.breaker import Breaker
from invorto.errors import ProviderFailed, first_of
from invorto.model.agent import LlmSettings, TtsSettings
from invorto.speech.ports import Delta, Llm, Message, Prompt, Speech, Thought, ToolCall, Tts, Usage, Word

log = structlog.get_logger(__name__)

FIRST_TOKEN = 2.0
"""Seconds that an engine has to begin its answer while there is another; half of it where it failed last time."""
FIRST_AUDIO = 1.5
"""Seconds that an engine has to begin a sentence while there is another; half of it where it failed last time."""
NEXT = 4.0
"""Seconds between two pieces while there is another."""
SPOKEN = 15.0
"""Characters spoken a second, where an engine does not say when its words are."""
GO_ON = "You were cut off. Go on exactly where you stopped, without repeating anything."

OWN = frozenset({"local", "scripted"})
"""Engines that have no voices and models of a vendor's: what an agent says of these is for the next one."""


class Named(Protocol):
    """An engine of whichever kind."""

    name: str


@attrs.frozen
class Choice[T: Named]:
    """An engine, whether it may be asked, and whether the agent's words on voice and model are for it."""

    engine: T
    breaker: Breaker
    first: bool


def choices[T: Named](engines: Sequence[T], breakers: Callable[[str], Breaker]) -> tuple[Choice[T], ...]:
    """Make the list to fall back on; *breakers* gives each engine's by its name."""
    first = next((engine for engine in engines if engine.name not in OWN), engines[0])
    return tuple(Choice(engine, breakers(engine.name), engine is first) for engine in engines)


def in_order[T: Named](engines: Sequence[Choice[T]], now: float) -> list[Choice[T]]:
    """Put those that may be asked before those that are kept out: a bad engine is better than none."""
    return sorted(engines, key=lambda choice: not choice.breaker.allows(now))


@attrs.define
class _Patience:
    """How long the engine that is being asked may still take."""

    scope: trio.CancelScope
    seconds: float

    def wait(self) -> None:
        """Count from now."""
        self.scope.deadline = trio.current_time() + self.seconds

    def rest(self) -> None:
        """Stop counting, for whoever is told is busy; what comes after the first piece has another bound."""
        self.scope.deadline = math.inf
        self.seconds = max(self.seconds, NEXT)


type Ask[T: Named] = Callable[[Choice[T], _Patience], Awaitable[None]]
"""Asks one engine to the end."""


async def _ask_around[T: Named](engines: Sequence[Choice[T]], stage: str, first: float, ask: Ask[T]) -> None:
    """Ask one engine after the other until one is through; `ProviderFailed` of the last where none is."""
    failure: ProviderFailed | None = None
    order = in_order(engines, trio.current_time())
    for place, choice in enumerate(order):
        last = place == len(order) - 1
        choice.breaker.asked(trio.current_time())
        scope = trio.CancelScope()
        patience = _Patience(scope, math.inf if last else first / (2 if choice.breaker.failures else 1))
        try:
            with scope:
                patience.wait()
                await ask(choice, patience)
            if not scope.cancelled_caught:
                choice.breaker.succeeded()
                return
            failure = ProviderFailed(choice.engine.name, stage, f"nothing came for {patience.seconds:g} s")
        except* ProviderFailed as group:
            error = first_of(group)
            assert isinstance(error, ProviderFailed)  # noqa: S101 - it was selected
            failure = error
        choice.breaker.failed(trio.current_time(), failure.retry_after)
        if not last:
            log.warning("engine_replaced", provider=failure.provider, stage=stage, error=str(failure))
    assert failure is not None  # noqa: S101 - there is at least one engine
    raise failure


class _Stream[T]:
    """What the task that asks has found; the last item may be why there is no more."""

    def __init__(self, receive: trio.MemoryReceiveChannel[T | ProviderFailed]) -> None:
        self._receive = receive

    def __aiter__(self) -> _Stream[T]:
        return self

    async def __anext__(self) -> T:
        try:
            item = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if isinstance(item, ProviderFailed):
            raise item
        return item


@asynccontextmanager
async def _streaming[T](produce: Callable[[Callable[[T], Awaitable[None]]], Awaitable[None]]) -> AsyncGenerator[Any]:
    """Run *produce*, given where to put its pieces, beside the block, which gets a stream of them."""
    send, receive = trio.open_memory_channel[T | ProviderFailed](0)

    async def run() -> None:
        async with send:
            try:
                await produce(send.send)
            except ProviderFailed as error:
                await send.send(error)

    try:
        async with trio.open_nursery() as nursery, receive:
            nursery.start_soon(run)  # noqa: ASYNC113 - whoever reads waits for it
            yield _Stream(receive)
            nursery.cancel_scope.cancel()
    except* ProviderFailed as group:
        raise first_of(group) from None


# -- thinking -------------------------------------------------------------------------------------


class FallbackLlm(Llm):
    """Minds in the order to fall back on."""

    def __init__(self, minds: Sequence[Llm], breakers: Callable[[str], Breaker]) -> None:
        self._minds = choices(minds, breakers)
        self.name, self.version = minds[0].name, ", ".join(f"{mind.name} {mind.version}" for mind in minds)

    @override
    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        """Stream one answer, of whoever gives one; who takes over in the middle of it goes on from there."""
        said = ""
        called = False

        async def produce(put: Callable[[Thought], Awaitable[None]]) -> None:
            async def ask(mind: Choice[Llm], patience: _Patience) -> None:
                nonlocal said, called
                async with mind.engine.answer(_for(prompt, mind, said)) as thoughts:
                    async for thought in thoughts:
                        patience.rest()
                        match thought:
                            case Delta(text):
                                said += text
                                await put(thought)
                            case Usage():
                                await put(attrs.evolve(thought, provider=mind.engine.name))
                            case ToolCall():
                                called = True
                                await put(thought)
                            case _:
                                await put(thought)
                        patience.wait()

            try:
                await _ask_around(self._minds, "llm", FIRST_TOKEN, ask)
            except ProviderFailed:
                if not called:  # what it wants done can be done all the same
                    raise

        async with _streaming(produce) as stream:
            yield stream

    async def warm(self) -> None:
        """Connect beforehand, to the first that may be asked."""
        mind = in_order(self._minds, trio.current_time())[0].engine
        if (warm := getattr(mind, "warm", None)) is not None:
            await warm()


def _for(prompt: Prompt, mind: Choice[Llm], said: str) -> Prompt:
    """Make the question for a mind: with what another has said already, and without what was meant for another."""
    settings: LlmSettings = prompt.settings
    if not mind.first:
        settings = attrs.evolve(settings, model=None, base_url=None)
    if not said:
        return attrs.evolve(prompt, settings=settings)
    more = (Message(role="assistant", text=said, interrupted=True), Message(role="system", text=GO_ON))
    return attrs.evolve(prompt, settings=settings, history=(*prompt.history, *more))


# -- speaking -------------------------------------------------------------------------------------


class FallbackTts(Tts):
    """Voices in the order to fall back on."""

    def __init__(self, voices: Sequence[Tts], breakers: Callable[[str], Breaker]) -> None:
        self._voices = choices(voices, breakers)
        self.name, self.version = voices[0].name, ", ".join(f"{voice.name} {voice.version}" for voice in voices)

    @override
    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Stream one sentence, of whoever says it; who takes over in the middle of it says the rest."""
        spoken = 0
        words: list[Word] = []

        async def produce(put: Callable[[Speech], Awaitable[None]]) -> None:
            async def ask(voice: Choice[Tts], patience: _Patience) -> None:
                nonlocal spoken
                begins = spoken / rate
                rest = rest_of(text, begins, words) if spoken else text
                if not rest:
                    return
                async with voice.engine.say(rest, _settings(settings, voice), rate) as speech:
                    async for piece in speech:
                        patience.rest()
                        spoken += len(piece.samples)
                        words.extend(_later(piece.words, begins))
                        by = voice.engine.name if piece.made_by is None else piece.made_by
                        await put(Speech(piece.samples, _later(piece.words, begins), by))
                        patience.wait()

            await _ask_around(self._voices, "tts", FIRST_AUDIO, ask)

        async with _streaming(produce) as stream:
            yield stream

    async def prepare(self, text: str, settings: TtsSettings, rate: int) -> None:
        """Say *text* into the cache of the first voice that may be asked, where it has one."""
        voice = in_order(self._voices, trio.current_time())[0]
        if (prepare := getattr(voice.engine, "prepare", None)) is not None:
            await prepare(text, _settings(settings, voice), rate)

    async def warm(self, settings: TtsSettings, rate: int) -> None:
        """Connect beforehand, to the first that may be asked."""
        voice = in_order(self._voices, trio.current_time())[0]
        if (warm := getattr(voice.engine, "warm", None)) is not None:
            await warm(_settings(settings, voice), rate)


def _settings(settings: TtsSettings, voice: Choice[Tts]) -> TtsSettings:
    return settings if voice.first else attrs.evolve(settings, voice=None, model=None)


def _later(words: Sequence[Word], seconds: float) -> tuple[Word, ...]:
    return tuple(Word(word.text, word.began + seconds, word.ended + seconds) for word in words)


def rest_of(text: str, seconds: float, words: Sequence[Word]) -> str:
    """Give what of a sentence is still to be said after *seconds* of it, by its words' times, else by its length."""
    pieces = text.split()
    over = sum(1 for word in words if word.ended <= seconds) if words else _by_length(pieces, seconds * SPOKEN)
    return " ".join(pieces[over:])


def _by_length(pieces: Sequence[str], characters: float) -> int:
    return sum(1 for end in _ends(pieces) if end <= characters)


def _ends(pieces: Sequence[str]) -> Iterator[int]:
    end = 0
    for piece in pieces:
        end += len(piece) + 1
        yield end
