"""The local ear's book-keeping, on a worker that is played by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import attrs
import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.errors import ProviderFailed
from invorto.speech.ports import EngineFailed, Final, Heard, Partial
from invorto.speech.stt.local import LONGEST, LOOK_BACK, LocalEar
from invorto.speech.stt.moonshine import understood
from invorto.speech.worker import Worker

RATE = 8000
FRAME = np.ones(RATE // 50, np.int16)


@attrs.define
class Order:
    """What was asked of the worker."""

    pcm: bytes
    told: Callable[[Any, bool], None]
    urgent: int

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / RATE

    def answer(self, text: str) -> None:
        self.told({"text": text}, False)
        self.told(None, True)

    def fail(self) -> None:
        self.told(ProviderFailed("local", "stt", "its process ended"), True)


@attrs.define
class PlayedWorker:
    """A worker that answers when the test says so."""

    orders: dict[int, Order] = attrs.field(factory=dict[int, Order])
    dropped: list[int] = attrs.field(factory=list[int])
    refuses: bool = False
    count: int = 0

    def submit(self, what: str, body: Any, told: Callable[[Any, bool], None], urgent: int = 0) -> int:
        if self.refuses:
            raise ProviderFailed("local", "stt", "64 orders are pending already")
        self.count += 1
        self.orders[self.count] = Order(body["pcm"], told, urgent)
        return self.count

    def drop(self, number: int) -> None:
        self.dropped.append(number)


class Scene:
    """A caller, their ear and the worker behind it."""

    def __init__(self) -> None:
        self.worker = PlayedWorker()
        self.heard: list[Heard] = []
        self.ear = LocalEar(cast("Worker", self.worker), RATE, self.heard.append)

    async def push(self, seconds: float) -> None:
        for _ in range(round(seconds * 50)):
            await trio.sleep(0.02)
            self.ear.push(FRAME)

    @property
    def finals(self) -> list[Order]:
        return [order for order in self.worker.orders.values() if order.urgent == 0]

    @property
    def guesses(self) -> list[Order]:
        return [order for order in self.worker.orders.values() if order.urgent == 1]


async def test_outside_speech_little_is_kept(autojump_clock: MockClock) -> None:
    """An hour of silence costs two seconds of memory, and the rest is counted."""
    scene = Scene()
    await scene.push(60)
    assert scene.ear.dropped == (60 - LOOK_BACK) * RATE
    assert scene.worker.orders == {}


async def test_an_utterance_is_cut_with_its_beginning(autojump_clock: MockClock) -> None:
    """What is transcribed begins 300 ms before the onset and ends at the pause."""
    scene = Scene()
    await scene.push(5)
    onset = trio.current_time()
    await scene.push(0.1)
    scene.ear.speech_began(onset)
    await scene.push(0.16)
    scene.ear.speech_paused(trio.current_time() - 0.1)
    (final,) = scene.finals
    assert final.seconds == pytest.approx(0.3 + 0.1 + 0.16)
    assert scene.heard == []
    final.answer("hello")
    assert scene.heard == [Final("hello")]


async def test_partial_words_one_at_a_time(autojump_clock: MockClock) -> None:
    """The first guess after 300 ms, then every half second, none while one is on its way, none after the pause.

    After one that took long, as on a machine that is busy, twice as long passes before the next.
    """
    scene = Scene()
    await scene.push(1)
    scene.ear.speech_began(trio.current_time())
    await scene.push(0.28)
    assert scene.guesses == []
    await scene.push(0.04)
    assert len(scene.guesses) == 1
    await scene.push(2)
    assert len(scene.guesses) == 1, "the first one is still on its way"
    scene.guesses[0].answer("he")
    await scene.push(3.9)
    assert len(scene.guesses) == 1
    await scene.push(0.2)
    scene.guesses[1].answer("hello")
    await scene.push(1.1)
    assert scene.heard == [Partial("he"), Partial("hello")]
    assert len(scene.guesses) == 3
    scene.ear.speech_paused(trio.current_time())
    assert scene.worker.dropped == [3]
    scene.finals[0].answer("hello there")
    assert scene.heard[-1] == Final("hello there")


async def test_every_pause_has_its_final(autojump_clock: MockClock) -> None:
    """Speech that goes on after a pause is another utterance, without the end of the one before."""
    scene = Scene()
    for _ in range(2):
        scene.ear.speech_began(trio.current_time())
        await scene.push(0.2)
        scene.ear.speech_paused(trio.current_time())
        await scene.push(0.1)
    scene.ear.speech_paused(trio.current_time())
    first, second, empty = scene.finals
    assert [round(order.seconds, 3) for order in (first, second, empty)] == [0.2, 0.3, 0]
    for order, text in ((first, "one"), (second, "two"), (empty, "")):
        order.answer(text)
    assert scene.heard == [Final("one"), Final("two"), Final("")]


async def test_long_speech_is_cut(autojump_clock: MockClock) -> None:
    """Somebody who never pauses is heard all the same, in parts of half a minute."""
    scene = Scene()
    scene.ear.speech_began(trio.current_time())
    await scene.push(70)
    assert [round(order.seconds) for order in scene.finals] == [LONGEST, LONGEST]
    scene.ear.speech_paused(trio.current_time())
    assert sum(order.seconds for order in scene.finals) == pytest.approx(70)


async def test_a_second_chance(autojump_clock: MockClock) -> None:
    """Speech whose process died is given to the next one, in order; when that dies too, it is gone."""
    scene = Scene()
    for _ in range(2):
        scene.ear.speech_began(trio.current_time())
        await scene.push(0.2)
        scene.ear.speech_paused(trio.current_time())
    for order in scene.finals:
        order.fail()
    again = scene.finals[2:]
    assert [order.pcm for order in again] == [order.pcm for order in scene.finals[:2]]
    again[0].answer("one")
    again[1].fail()
    assert scene.heard[0] == Final("one")
    assert isinstance(scene.heard[1], EngineFailed)
    scene.ear.speech_began(trio.current_time())
    await scene.push(1)
    scene.ear.speech_paused(trio.current_time())
    assert len(scene.heard) == 2


async def test_a_busy_engine(autojump_clock: MockClock) -> None:
    """Guesses are left out when too much is pending; final words that cannot even be asked for are a failure."""
    scene = Scene()
    scene.ear.speech_began(trio.current_time())
    scene.worker.refuses = True
    await scene.push(3)
    assert scene.heard == []
    scene.ear.speech_paused(trio.current_time())
    assert [type(what) for what in scene.heard] == [EngineFailed]


async def test_a_closed_ear(autojump_clock: MockClock) -> None:
    """A call that ends takes its orders back, and hears nothing of what was under way."""
    scene = Scene()
    scene.ear.speech_began(trio.current_time())
    await scene.push(0.5)
    scene.ear.speech_paused(trio.current_time())
    scene.ear.close()
    assert set(scene.worker.dropped) == {1, 2}
    scene.ear.push(FRAME)
    scene.ear.speech_began(trio.current_time())
    scene.ear.speech_paused(trio.current_time())
    assert len(scene.worker.orders) == 2


@pytest.mark.parametrize(
    ("text", "seconds", "expected"),
    [
        ("Hello,  there.", 1.0, "Hello, there."), ("You", 1.0, ""), ("you.", 0.3, ""), ("?", 1, ""), ("", 1, ""),
        ("...", 1, ""), ("Thank you.", 1, "Thank you."), ("No.", 0.3, "No."), ("x" * 200, 1.0, ""),
        ("I am so I am so I am so I am so I am so", 3, "I am so"), ("no no no", 1, "no no no"),
        ("very very very very very good", 2, "very good"), ("9 9 9 9 9 9 9 1", 3, "9 9 9 9 9 9 9 1"),
    ],
)  # fmt: skip
def test_what_the_model_makes_up(text: str, seconds: float, expected: str) -> None:
    """What it writes for noise is nothing, and its loops are cut; what people say stays, dictated digits too."""
    assert understood(text, seconds) == expected
