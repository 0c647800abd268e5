"""Likeness of meaning, on a worker that is played by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import attrs
import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.errors import ProviderFailed
from invorto.speech.llm import meaning as module
from invorto.speech.llm.meaning import BATCH, PATIENCE, ROOM, Meaning
from invorto.speech.worker import Worker


@attrs.define
class PlayedWorker:
    """A worker whose vectors point where the text's first letter does."""

    orders: list[tuple[list[str], int, Callable[[Any, bool], None]]] = attrs.field(factory=list[Any])
    answers: bool = True
    refuses: bool = False

    @property
    def pending(self) -> int:
        return len(self.orders)

    def submit(self, what: str, body: list[str], told: Callable[[Any, bool], None], urgent: int = 0) -> int:
        if self.refuses:
            raise ProviderFailed("local", "llm", "the engine is closed")
        if self.answers:
            trio.lowlevel.current_trio_token().run_sync_soon(self._answer, body, told)
        else:
            self.orders.append((body, urgent, told))
        return 1

    def _answer(self, body: list[str], told: Callable[[Any, bool], None]) -> None:
        for text in body:
            vector = np.zeros(26, "<f4")
            vector[ord(text[0].lower()) - 97] = 1
            told(vector.tobytes(), False)
        told(None, True)


def made(*, answers: bool = True, refuses: bool = False) -> tuple[PlayedWorker, Meaning]:
    worker = PlayedWorker(answers=answers, refuses=refuses)
    return worker, Meaning(cast("Worker", worker))


async def test_likeness() -> None:
    """Each example is compared with what was heard, or with the clause of it that is most like it."""
    _, meaning = made()
    assert await meaning.near("apples", ["an apple", "bread", "apples"]) == {"an apple": 1, "bread": 0, "apples": 1}
    near = await meaning.near("Well then, bring me tea. cups are there", ["bread", "cake", "door"])
    assert near == {"bread": 1, "cake": 1, "door": 0}


async def test_without_the_model(autojump_clock: MockClock) -> None:
    """A model that does not answer is waited for a moment, one that is gone not at all; words alone must do."""
    _, meaning = made(answers=False)
    began = trio.current_time()
    assert await meaning.near("apples", ["an apple"]) == {}
    assert trio.current_time() - began <= PATIENCE + 0.3
    _, meaning = made(refuses=True)
    began = trio.current_time()
    assert await meaning.near("apples", ["an apple"]) == {}
    assert trio.current_time() == began


async def test_a_model_that_failed_is_asked_again(autojump_clock: MockClock) -> None:
    """What was lost with a process is ordered anew by the next caller."""
    worker, meaning = made(answers=False)
    meaning.learn(["an apple"])
    (_, _, told) = worker.orders[0]
    told(ProviderFailed("local", "llm", "its process ended"), True)
    worker.answers = True
    assert await meaning.near("apples", ["an apple"]) == {"an apple": 1}


async def test_learning_leaves_room(autojump_clock: MockClock) -> None:
    """An agent that knows a thousand things is learnt in small orders, and callers are heard before them."""
    worker, meaning = made(answers=False)
    meaning.learn([f"a{number}" for number in range(1000)])
    meaning.learn([f"a{number}" for number in range(4)])
    assert len(worker.orders) == ROOM
    assert {len(body) for body, _, _ in worker.orders} == {BATCH}
    await meaning.near("hello", [])
    assert [(body, urgent) for body, urgent, _ in worker.orders[ROOM:]] == [(["hello"], 0)]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not been wanted for long is forgotten, and what callers say is not kept at all."""
    monkeypatch.setattr(module, "KEPT", 10)
    _, meaning = made()
    for number in range(30):
        await meaning.near(f"something {number}", [f"a{number}", "always"])
    assert len(meaning._vectors) <= 10
    assert "always" in meaning._vectors
    assert not any(text.startswith("something") for text in meaning._vectors)
