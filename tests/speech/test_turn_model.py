"""The model that judges pauses by their sound: on recorded speech, in its process, and in whole calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.config import load
from invorto.errors import ProviderFailed
from invorto.speech.opening import Opening
from invorto.speech.plugins import configured, open_engines
from invorto.speech.ports import GoesOn, Samples, TurnEar, TurnModel
from invorto.speech.turn.features import features
from invorto.speech.turn.smart import APART, LEAD, LOOK_BACK, WAITING, SmartEar, open_turn
from invorto.speech.turn.smart_model import SmartTurn
from invorto.speech.worker import Worker
from tests.realtime.stage import open_stage
from tests.speech.sound import noise, recorded, silence


def test_the_picture_of_a_voice() -> None:
    """80 mels by 800 frames, the end of what was said at its end, as loud as any: level is no matter."""
    spoken = np.concatenate((recorded("libri_0870"), silence(16_000, 0.2)))
    picture = features(spoken)
    assert picture.shape == (80, 800)
    assert picture.dtype == np.float32
    assert np.abs(features((spoken // 2).astype(np.int16)) - picture).mean() < 0.02
    assert np.array_equal(features(np.concatenate((noise(16_000, 9, 500), np.resize(spoken, 128_000)))),
                          features(np.resize(spoken, 128_000)))  # fmt: skip
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(128_000) / 16_000)).astype(np.int16)
    assert features(tone).mean(axis=1).argmax() == 26  # 15 mels at 1 kHz, of 45.2 in 81 steps
    assert np.isfinite(features(silence(16_000, 0))).all()


def test_recorded_sentences() -> None:
    """Sentences that were read to their end sound finished, one that breaks off does not; at 8 kHz too."""
    model = SmartTurn()
    after = silence(16_000, 0.2)
    for name in ("libri_0870", "libri_0920"):
        assert model.goes_on(np.concatenate((recorded(name), after))) < 0.5
        (told,) = model.work(
            "judge", {"pcm": np.concatenate((recorded(name, 8000), after)).astype("<i2").tobytes(), "rate": 8000}
        )
        assert told["goesOn"] < 0.5
    whole = recorded("libri_0870")
    assert model.goes_on(np.concatenate((whole[: round(len(whole) * 0.3)], after))) > 0.5
    with pytest.raises(ValueError, match="sing"):
        next(model.work("sing", {}))


# -- one caller's ear -----------------------------------------------------------------------------


class FakeWorker:
    """Takes orders, and answers when told."""

    def __init__(self) -> None:
        self.ready, self.pending = True, 0
        self.orders: dict[int, tuple[Any, Callable[[Any, bool], None]]] = {}
        self.dropped: list[int] = []

    def submit(self, _: str, body: Any, told: Callable[[Any, bool], None], urgent: int = 0) -> int:
        """Take an order."""
        if self.pending < 0:
            raise ProviderFailed("smart-turn", "turn", "closed")
        self.orders[len(self.orders) + 1] = (body, told)
        return len(self.orders)

    def drop(self, number: int) -> None:
        """Forget one."""
        self.dropped.append(number)

    def answer(self, number: int, goes_on: float) -> None:
        """Answer one."""
        told = self.orders[number][1]
        told({"goesOn": goes_on}, False)
        told(None, True)


def ear_of(worker: FakeWorker, heard: list[GoesOn]) -> SmartEar:
    """Make an ear at 1 kHz."""
    return SmartEar(cast("Worker", worker), 1000, heard.append)


async def test_a_pause_is_judged(autojump_clock: MockClock) -> None:
    """The model is shown the turn with a moment before it, and what it says is about that pause."""
    worker, heard = FakeWorker(), list[GoesOn]()
    ear = ear_of(worker, heard)
    ear.push(np.zeros(5000, np.int16))
    ear.began(trio.current_time() - 0.1)
    ear.push(np.ones(1000, np.int16))
    ear.paused(1.0)
    assert len(worker.orders[1][0]["pcm"]) == 2 * round((LEAD + 0.1 + 1.0) * 1000)
    worker.answer(1, 0.7)
    assert heard == [GoesOn(0.7, 1.0)]
    ear.close()
    assert not worker.dropped


async def test_who_goes_on_is_judged_no_more(autojump_clock: MockClock) -> None:
    """Speech that goes on drops the judgement, keeps what was said before, and the next pause is judged anew."""
    worker, heard = FakeWorker(), list[GoesOn]()
    ear = ear_of(worker, heard)
    ear.began(0.0)
    ear.push(np.ones(1000, np.int16))
    ear.paused(1.0)
    ear.began(1.0 + APART)
    assert worker.dropped == [1]
    ear.push(np.ones(20_000, np.int16))
    ear.paused(9.0)
    ear.paused(9.1)
    assert worker.dropped == [1, 2]
    assert len(worker.orders[2][0]["pcm"]) == 2 * LOOK_BACK * 1000
    ear.close()
    ear.close()
    assert worker.dropped == [1, 2, 3]
    assert not heard


async def test_a_busy_model_is_not_asked(autojump_clock: MockClock) -> None:
    """A model that is not loaded, has too much to do, or is gone, says nothing, and nothing breaks."""
    worker = FakeWorker()
    ear = ear_of(worker, [])
    for ready, pending in ((False, 0), (True, WAITING), (True, -1)):
        worker.ready, worker.pending = ready, pending
        ear.paused(1.0)
    assert not worker.orders


async def test_in_its_process() -> None:
    """The model loads in a process of its own, which is named in health, and answers about the pause it was told of."""
    config = load({"ENDPOINTING_MODEL": "smart-turn", "STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted"})
    assert configured(config)["turn"] == ("smart-turn",)
    send, receive = trio.open_memory_channel[GoesOn](1)
    with trio.fail_after(30):
        async with open_engines({"vad": ("scripted",), "turn": ("smart-turn",)}, config) as engines, send, receive:
            await engines.wait_ready()
            assert ("turn", "smart-turn", "smart-turn 3.2", True) in [
                (one.kind, one.name, one.version, one.ready) for one in engines.health()
            ]
            assert engines.turn is not None
            ear = engines.turn.attach(16_000, send.send_nowait)
            ear.began(trio.current_time())
            ear.push(np.concatenate((recorded("libri_0920"), silence(16_000, 0.2))))
            ear.paused(12.5)
            judged = await receive.receive()
            ear.close()
    assert judged.at == 12.5
    assert 0 <= judged.probability < 0.5


async def test_nobody_is_waited_for() -> None:
    """While the model is still loading a pause goes unjudged."""
    async with open_turn(Opening(config=load({}))) as model:
        heard: list[GoesOn] = []
        ear = model.attach(8000, heard.append)
        ear.push(np.zeros(800, np.int16))
        ear.paused(1.0)
        assert not model.ready
        assert model.worker.pending == 0


# -- whole calls ----------------------------------------------------------------------------------


class Oracle(TurnModel, TurnEar):
    """Always thinks the same."""

    name, version = "oracle", "1"

    def __init__(self, goes_on: float) -> None:
        self.goes_on = goes_on
        self.pushed = self.closed = 0

    def attach(self, rate: int, hear: Callable[[GoesOn], None]) -> Oracle:
        """Listen."""
        self._hear = hear
        return self

    def push(self, samples: Samples) -> None:
        """Count."""
        self.pushed += len(samples)

    def began(self, at: float) -> None:
        """Wait."""

    def paused(self, at: float) -> None:
        """Say what it always says."""
        self._hear(GoesOn(self.goes_on, at))

    def close(self) -> None:
        """Note it."""
        self.closed += 1


@pytest.mark.parametrize(("goes_on", "answered_at"), [(0.9, 1.72), (0.1, 1.2), (0.5, 1.22)])
async def test_a_call_heeds_the_hint(goes_on: float, answered_at: float, autojump_clock: MockClock) -> None:
    """Who sounds unfinished is given half a second more; the model hears every frame and is let go at the end."""
    oracle = Oracle(goes_on)
    script = {"sttMs": 100, "heard": ["a table for two"], "replies": ["Sure."]}
    async with open_stage({"greeting": None}, script, turn=oracle) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.5)
        first = stage.line.played[0][0]
    assert first == pytest.approx(answered_at, abs=0.021)
    assert oracle.pushed == 2.5 * 8000
    assert oracle.closed == 1
