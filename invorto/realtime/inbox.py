"""A conversation's inbox: what happened is posted without waiting; what has an outcome that matters is asked."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import attrs
import trio

from invorto.errors import Conflict
from invorto.realtime import turns as t
from invorto.speech.ports import EngineFailed, Partial

MOST = 256
"""Events a call may leave unread: seconds of the busiest conversation. One that has more is stuck, and ends."""

type News = t.Event | EngineFailed | None
"""What happened; None only wakes the driver."""


@attrs.define(eq=False)
class Question:
    """An event whose outcome somebody waits for."""

    event: t.Event
    acts: tuple[t.Act, ...] | None = None
    """What came of it; None: nothing yet, or the conversation was over before."""
    settled: trio.Event = attrs.field(factory=trio.Event)
    withdrawn: bool = False
    """Whether nobody waits any more: then it does not happen."""

    def answer(self, acts: tuple[t.Act, ...]) -> None:
        """Say what came of it."""
        self.acts = acts
        self.settled.set()


class Inbox:
    """One conversation's; open from the beginning, closed when its block is left."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[News | Question](MOST)
        self._questions: set[Question] = set()
        self._over = False
        self.stuck = False
        """Whether something was lost that must not be: the driver does not keep up."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._send.close()
        self._receive.close()
        for question in self._questions:
            question.settled.set()

    def post(self, event: News) -> None:
        """Tell what happened; never blocks, never raises, and does nothing once the conversation is over."""
        self._put(event)

    async def ask(self, event: t.Event) -> tuple[t.Act, ...]:
        """
        Tell something and wait until it has been done; gives what was done.

        Cancelled before its turn, it does not happen. `Conflict` (``call_not_live``) where the conversation ends first.
        """
        question = Question(event)
        if self._over:
            await trio.lowlevel.checkpoint()
        else:
            self._put(question)
            self._questions.add(question)
            try:
                await question.settled.wait()
            finally:
                question.withdrawn = True
                self._questions.discard(question)
        if question.acts is None:
            raise Conflict("the conversation is over", "call_not_live")
        return question.acts

    async def receive(self) -> News | Question:
        """Wait for what is next."""
        return await self._receive.receive()

    def _put(self, event: News | Question) -> None:
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            if event is not None and not isinstance(event, Partial):
                self.stuck = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
