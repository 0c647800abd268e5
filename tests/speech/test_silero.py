"""The detector on recorded speech, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.speech.ports import Samples, SpeechBegan, SpeechPaused
from invorto.speech.vad.silero import BACKLOG, STARVED, Silero, SileroStream, SileroVad
from tests.speech.sound import NAMES, cough, frames, noise, recorded, silence

type Verdict = SpeechBegan | SpeechPaused

MODEL = Silero()


class Caller:
    """A caller whose audio arrives in real time, as the clock has it."""

    def __init__(self, vad: SileroVad, rate: int) -> None:
        self.rate = rate
        self.verdicts: list[Verdict] = []
        self.told_at: list[float] = []
        self.probabilities: list[float] = []
        self.stream = vad.attach(rate, self._notify)
        self.began = trio.current_time()

    def _notify(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        self.told_at.append(trio.current_time())

    async def speak(self, samples: Samples, frame: float = 0.02) -> None:
        for piece in frames(samples, self.rate, frame):
            await trio.sleep(len(piece) / self.rate)
            self.stream.push(piece, trio.current_time())
            self.probabilities.append(self.stream.probability)

    def outline(self) -> list[tuple[str, float]]:
        return [(type(verdict).__name__, round(verdict.at - self.began, 2)) for verdict in self.verdicts]


@pytest.fixture
async def vad(nursery: trio.Nursery) -> AsyncIterator[SileroVad]:
    """A running detector."""
    vad = SileroVad(MODEL)
    await nursery.start(vad.run)
    yield vad
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
async def test_a_sentence_begins_and_pauses(autojump_clock: MockClock, vad: SileroVad, rate: int) -> None:
    """At every rate of a call a sentence is one utterance, found where it is."""
    caller = Caller(vad, rate)
    await caller.speak(np.concatenate((recorded("libri_0880", rate), silence(rate, 0.4))))
    (began, onset), (paused, end) = caller.outline()
    assert (began, paused) == ("SpeechBegan", "SpeechPaused")
    assert 0.15 < onset < 0.35
    assert 2.75 < end < 3.0
    assert caller.stream.skipped == 0


async def test_verdicts_are_quick(autojump_clock: MockClock, vad: SileroVad) -> None:
    """Somebody who speaks is noticed within 64 ms of speech, a window and the batch's patience."""
    caller = Caller(vad, 8000)
    await caller.speak(np.concatenate((recorded("libri_0870", 8000), silence(8000, 0.4))))
    assert caller.verdicts
    for verdict, told_at in zip(caller.verdicts, caller.told_at, strict=True):
        longest = 0.064 if isinstance(verdict, SpeechBegan) else 0.096
        assert told_at - verdict.at <= longest + 0.02 + 0.010 + 0.005


@pytest.mark.parametrize(
    "sound",
    [silence(8000, 2), noise(8000, 2, 300), noise(8000, 2, 3000), cough(8000), cough(8000, 0.19)],
    ids=["silence", "hiss", "roar", "cough", "longer cough"],
)
async def test_noise_is_not_speech(autojump_clock: MockClock, vad: SileroVad, sound: Samples) -> None:
    """What is not a voice takes no floor: a cough shorter than 200 ms hushes no agent."""
    caller = Caller(vad, 8000)
    await caller.speak(sound)
    await caller.speak(silence(8000, 0.3))
    assert caller.verdicts == []


async def test_batches_judge_as_one_by_one(autojump_clock: MockClock, vad: SileroVad) -> None:
    """Twelve callers at once hear the same verdicts as each would alone, whatever their frames are cut into."""
    sizes = (0.01, 0.02, 0.03, 0.06)
    together = [Caller(vad, 8000) for _ in range(12)]
    speech = [recorded(NAMES[number % 3], 8000)[:16_000] for number in range(12)]
    batches = vad.tally.batches
    async with trio.open_nursery() as nursery:
        for number, caller in enumerate(together):
            nursery.start_soon(caller.speak, speech[number], sizes[number % 4])
    assert vad.tally.windows > 3 * (vad.tally.batches - batches), "windows of several callers share a batch"
    outlines = [caller.outline() for caller in together]
    for number, caller in enumerate(together):
        alone = Caller(vad, 8000)
        await alone.speak(speech[number], sizes[number % 4])
        await trio.sleep(0.02)  # the last window waits for company
        assert outlines[number] == alone.outline() != []
        assert np.allclose(caller.stream.state, alone.stream.state, atol=1e-3)


async def test_probabilities_are_those_of_the_model(autojump_clock: MockClock, vad: SileroVad) -> None:
    """Cutting a stream into windows changes nothing: the model alone, window by window, says the same."""
    speech = recorded("libri_0920", 8000)[: 256 * 40]
    caller = Caller(vad, 8000)
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros(32, np.int16)
    for window in frames(speech, 8000, 0.032):
        caller.stream.push(window, trio.current_time())
        await trio.sleep(0.032)
        probability, state = MODEL.judge(8000, np.concatenate((context, window))[None], state)
        context = window[-32:]
        assert caller.stream.probability == pytest.approx(float(probability[0]), abs=1e-4)


async def test_one_callers_trouble_is_not_the_others(autojump_clock: MockClock, vad: SileroVad) -> None:
    """A listener that raises is logged; everybody else hears of their speech."""

    def broken(_: Verdict) -> None:
        raise RuntimeError("a fault of this call")

    bad, good = vad.attach(8000, broken), Caller(vad, 8000)
    for piece in frames(recorded("libri_0880", 8000)[:12_000], 8000):
        bad.push(piece, trio.current_time())
        await good.speak(piece)
    assert [name for name, _ in good.outline()] == ["SpeechBegan"]
    assert bad.speaking


async def test_falling_behind_skips_the_oldest(autojump_clock: MockClock) -> None:
    """Without a chance to judge, a caller keeps the last three windows, and the others are counted."""
    vad = SileroVad(MODEL)
    stream = vad.attach(8000, lambda _: None)
    stream.push(noise(8000, 0.032 * 10, 1000), trio.current_time())
    assert (len(stream.waiting), stream.skipped) == (BACKLOG, 10 - BACKLOG)
    with trio.move_on_after(1):
        await vad.run()
    assert (len(stream.waiting), vad.tally.windows) == (0, BACKLOG)


async def test_audio_that_stops_is_a_pause(autojump_clock: MockClock, vad: SileroVad) -> None:
    """Somebody whose line goes dead while they speak is taken to be silent half a second later."""
    caller = Caller(vad, 8000)
    await caller.speak(recorded("libri_0880", 8000)[:12_000])
    stopped = trio.current_time()
    await trio.sleep(2)
    assert isinstance(caller.verdicts[-1], SpeechPaused)
    assert caller.told_at[-1] == pytest.approx(stopped + STARVED, abs=0.02)


async def test_nothing_is_done_while_nothing_is_heard(autojump_clock: MockClock, vad: SileroVad) -> None:
    """A detector without audio sleeps: an hour passes without one wake-up."""
    caller = Caller(vad, 8000)
    await caller.speak(silence(8000, 0.5))
    await trio.sleep(1)

    class Wakes(trio.abc.Instrument):
        count = 0

        def task_scheduled(self, task: trio.lowlevel.Task) -> None:
            self.count += "SileroVad" in task.name

    wakes = Wakes()
    trio.lowlevel.add_instrument(wakes)
    await trio.sleep(3600)
    trio.lowlevel.remove_instrument(wakes)
    assert wakes.count == 0


async def test_a_closed_stream_hears_nothing(autojump_clock: MockClock, vad: SileroVad) -> None:
    """After a call has gone its audio is dropped and nobody is told anything; closing twice is harmless."""
    caller = Caller(vad, 8000)
    await caller.speak(recorded("libri_0880", 8000)[:1600])
    caller.stream.close()
    caller.stream.close()
    await caller.speak(recorded("libri_0880", 8000))
    await trio.sleep(2)
    assert caller.verdicts == []


async def test_a_longer_barge_in_is_waited_for(autojump_clock: MockClock, vad: SileroVad) -> None:
    """What the agent says about barge-in counts from then on."""
    quick, slow = Caller(vad, 8000), Caller(vad, 8000)
    slow.stream.expect(400)
    speech = recorded("libri_0920", 8000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quick.speak, speech)
        nursery.start_soon(slow.speak, speech)
    assert quick.verdicts[0] == slow.verdicts[0]
    assert slow.told_at[0] - quick.told_at[0] == pytest.approx(0.336, abs=0.04)


def test_the_model_is_vendored_with_its_notice() -> None:
    """The model is in the package, with its licence beside it."""
    from importlib.resources import files

    data = files("invorto.speech.vad") / "data"
    assert len((data / "silero_vad.onnx").read_bytes()) > 2_000_000
    assert "MIT License" in (data / "NOTICE.txt").read_text("utf-8")


def test_streams_are_small() -> None:
    """A caller costs a few kilobytes here."""
    import tracemalloc

    async def many() -> int:
        vad = SileroVad(MODEL)
        tracemalloc.start()
        streams: list[SileroStream] = [vad.attach(8000, lambda _: None) for _ in range(100)]
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return size // len(streams)

    assert trio.run(many) < 8000
