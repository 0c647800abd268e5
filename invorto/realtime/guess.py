"""An answer that is begun before it is known that it is wanted: at the first pause, which may not be the last."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from invorto.errors import ProviderFailed
from invorto.speech.ports import Llm, Prompt, Thought, Usage

AHEAD = 256
"""Thoughts that may wait to be wanted."""


@attrs.define(eq=False)
class Guess:
    """An answer to what the caller seems to have said; a task of the call's nursery thinks it."""

    prompt: Prompt
    llm: Llm
    used: Callable[[Usage], None]
    """Told what a guess cost that nobody wanted."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _thoughts: list[Thought | ProviderFailed | None] = attrs.field(factory=list)
    """None: it is whole."""
    _more: trio.Event = attrs.field(factory=trio.Event)
    _wanted: bool = False

    async def think(self) -> None:
        """Think, until it is whole or dropped."""
        with self.scope:
            try:
                async with self.llm.answer(self.prompt) as thoughts:
                    async for thought in thoughts:
                        await self._put(thought)
                await self._put(None)
            except ProviderFailed as error:
                await self._put(error)

    async def _put(self, thought: Thought | ProviderFailed | None) -> None:
        while len(self._thoughts) >= AHEAD:
            self._more = trio.Event()
            await self._more.wait()
        self._thoughts.append(thought)
        self._more.set()

    def fits(self, llm: Llm, prompt: Prompt) -> bool:
        """Tell whether it answers just that."""
        mine = self.prompt
        same = llm is self.llm and prompt.agent is mine.agent and list(prompt.history) == list(mine.history)
        return same and not self.scope.cancel_called

    def drop(self) -> None:
        """Think no more of it; what it took is told where nobody wanted it."""
        if not self._wanted and not self.scope.cancel_called:
            for thought in self._thoughts:
                if isinstance(thought, Usage):
                    self.used(thought)
        self.scope.cancel()

    @asynccontextmanager
    async def answer(self) -> AsyncIterator[AsyncIterator[Thought]]:
        """Give what was thought so far and what is still to come, like the engine itself; leaving it drops the rest."""
        self._wanted = True
        try:
            yield self
        finally:
            self.drop()

    def __aiter__(self) -> AsyncIterator[Thought]:
        return self

    async def __anext__(self) -> Thought:
        await trio.lowlevel.checkpoint()
        while not self._thoughts:
            self._more = trio.Event()
            await self._more.wait()
        thought = self._thoughts[0]
        if thought is None:
            raise StopAsyncIteration
        if isinstance(thought, ProviderFailed):
            raise thought
        del self._thoughts[0]
        self._more.set()
        return thought


@attrs.define
class Foresight:
    """What a call's agent is thinking of beforehand: one guess at a time."""

    _guess: Guess | None = None
    _expected: str | None = None

    def changes(self, expected: str | None) -> bool:
        """Learn what is to be answered as it looks now; True: it is something new, and the guess before is dropped."""
        if expected == self._expected:
            return False
        if self._guess is not None:
            self._guess.drop()
        self._guess, self._expected = None, expected
        return True

    def begin(self, guess: Guess) -> Guess:
        """Keep the guess that has begun."""
        self._guess = guess
        return guess

    def take(self) -> Guess | None:
        """Give the guess to whoever answers: it is theirs to drop."""
        guess, self._guess = self._guess, None
        return guess
