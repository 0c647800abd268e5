"""Silero's detector for all calls at once: windows of many callers go through the model in one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, NoReturn, cast

import attrs
import numpy as np
import structlog
import trio
from numpy.typing import NDArray

from invorto.audio.resample import Resampler
from invorto.speech.gate import Gate
from invorto.speech.onnx import open_model
from invorto.speech.opening import Opening
from invorto.speech.ports import Samples, SpeechBegan, SpeechPaused

log = structlog.get_logger(__name__)

PATIENCE = 0.010
"""Seconds that a window waits for others to share its batch."""
BACKLOG = 3
"""Windows a caller may have waiting, about 100 ms: older ones are skipped, since a late verdict is worth nothing."""
LARGEST = 32
"""Windows in one batch, about 1.5 ms: between two batches every other task has its turn."""
STARVED = 0.5
"""Seconds without audio after which a caller who was speaking counts as silent."""

type Notify = Callable[[SpeechBegan | SpeechPaused], None]


class Silero:
    """The model, loaded once: probabilities for a batch of windows, and the states to hand in with the next ones."""

    def __init__(self) -> None:
        model = files("invorto.speech.vad").joinpath("data/silero_vad.onnx").read_bytes()
        self._session = open_model(model, threads=1)
        self._rates = {rate: np.array(rate, np.int64) for rate in (8000, 16000)}

    def judge(
        self, rate: int, windows: NDArray[np.int16], states: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Give probabilities (n,) and states (2, n, 128) for *windows* (n, context + window) after *states*."""
        inputs = {"input": windows.astype(np.float32) / 32768, "state": states, "sr": self._rates[rate]}
        probabilities, after = cast("list[Any]", self._session.run(None, inputs))
        return probabilities[:, 0], after


class SileroStream:
    """One caller's windows, state and gate."""

    def __init__(self, batch: _Batch, resampler: Resampler | None, notify: Notify) -> None:
        self.probability = 0.0
        self.skipped = 0
        """Windows that were thrown away since the detector fell behind."""
        self.gate = Gate()
        self.state = np.zeros((2, 128), np.float32)
        self.waiting: deque[tuple[Samples, float]] = deque()
        self.closed = False
        self.heard_at = 0.0
        self._batch, self._resampler, self._notify = batch, resampler, notify
        # The context that the model wants in front of each window, then what has come of the next one.
        self._pending = bytearray(2 * batch.context)
        self._whole = 2 * (batch.context + batch.window)

    @property
    def speaking(self) -> bool:
        """Whether speech has begun and not paused."""
        return self.gate.speaking

    def push(self, samples: Samples, at: float) -> None:
        """Take in audio whose end was heard at *at*."""
        if self.closed:
            return
        self.heard_at = at
        if self._resampler is not None:
            samples = self._resampler.push(samples)
        pending, batch = self._pending, self._batch
        pending += samples.tobytes()
        while len(pending) >= self._whole:
            window = np.frombuffer(bytes(pending[: self._whole]), np.int16)
            del pending[: 2 * batch.window]
            batch.add(self, window, at - (len(pending) // 2 - batch.context) / batch.rate)

    def expect(self, barge_in_ms: float) -> None:
        """Speech counts as begun after this many milliseconds of it."""
        self.gate.barge_in = barge_in_ms / 1000

    def judged(self, probability: float, began: float, ended: float) -> None:
        """Take in the model's verdict on a window."""
        if not self.closed:
            self.probability = probability
            self.tell(self.gate.step(probability, began, ended))

    def tell(self, verdict: SpeechBegan | SpeechPaused | None) -> None:
        """Pass a verdict on: one caller's trouble with it must not keep the others' from them."""
        if verdict is None:
            return
        self._batch.speaking(self)
        try:
            self._notify(verdict)
        except Exception:
            log.exception("vad_notify_failed", verdict=type(verdict).__name__)

    def close(self) -> None:
        """Forget the caller."""
        self.closed = True
        self.waiting.clear()
        self._batch.forget(self)


class _Batch:
    """The windows of all callers at one rate, oldest first, at most one of each caller at a time."""

    def __init__(self, rate: int, wake: Callable[[], None]) -> None:
        self.rate = rate
        self.window, self.context = (256, 32) if rate == 8000 else (512, 64)
        self.talkers: set[SileroStream] = set()
        self._wake = wake
        self._ready: deque[SileroStream] = deque()
        self._since: float | None = None

    @property
    def deadline(self) -> float:
        """When the batch should run: the oldest window has waited enough."""
        return float("inf") if self._since is None else self._since + PATIENCE

    def add(self, stream: SileroStream, window: Samples, at: float) -> None:
        """Line up a window that ended at *at*."""
        if not stream.waiting:
            self._ready.append(stream)
        elif len(stream.waiting) >= BACKLOG:
            stream.waiting.popleft()
            stream.skipped += 1
        stream.waiting.append((window, at))
        if self._since is None:
            self._since = trio.current_time()
            self._wake()

    def take(self) -> list[tuple[SileroStream, Samples, float]]:
        """Take the next windows to judge, none twice from the same caller."""
        todo: list[tuple[SileroStream, Samples, float]] = []
        for _ in range(min(LARGEST, len(self._ready))):
            stream = self._ready.popleft()
            if stream.waiting:  # else it was closed
                todo.append((stream, *stream.waiting.popleft()))
                if stream.waiting:
                    self._ready.append(stream)
        if not self._ready:
            self._since = None
        return todo

    def speaking(self, stream: SileroStream) -> None:
        """Keep in mind who is speaking, so that it is noticed when their audio stops."""
        if stream.speaking:
            self.talkers.add(stream)
            self._wake()
        else:
            self.talkers.discard(stream)

    def forget(self, stream: SileroStream) -> None:
        """Forget a caller."""
        self.talkers.discard(stream)


@attrs.define
class Tally:
    """What the detector has done since the start."""

    windows: int = 0
    batches: int = 0
    seconds: float = 0.0
    """Spent in the model."""


class SileroVad:
    """The detector of the process; nothing is judged unless `run` runs."""

    name = "local"
    version = "silero 6.2.3"

    def __init__(self, model: Silero | None = None) -> None:
        self.tally = Tally()
        self._model = model or Silero()
        self._changed = trio.Event()
        self._batches = {rate: _Batch(rate, self._wake) for rate in (8000, 16000)}

    def attach(self, rate: int, notify: Notify) -> SileroStream:
        """Listen to a caller: 24 and 48 kHz are brought to 16."""
        if rate in self._batches:
            return SileroStream(self._batches[rate], None, notify)
        return SileroStream(self._batches[16000], Resampler(rate, 16000), notify)

    def _wake(self) -> None:
        self._changed.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Judge what is pushed, for ever; sleeps while nothing is."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            with trio.move_on_at(self._deadline()):
                await self._changed.wait()
            now = trio.current_time()
            for batch in self._batches.values():
                while batch.deadline <= now:
                    self._judge(batch)
                    await trio.lowlevel.checkpoint()
                for stream in [one for one in batch.talkers if one.heard_at + STARVED <= now]:
                    stream.tell(stream.gate.silence(now))

    def _deadline(self) -> float:
        batches = self._batches.values()
        starving = (talker.heard_at + STARVED for batch in batches for talker in batch.talkers)
        return min(*(batch.deadline for batch in batches), *starving)

    def _judge(self, batch: _Batch) -> None:
        todo = batch.take()
        if not todo:
            return
        windows = np.stack([window for _, window, _ in todo])
        states = np.stack([stream.state for stream, _, _ in todo], axis=1)
        began = trio.current_time()
        probabilities, after = self._model.judge(batch.rate, windows, states)
        self.tally.seconds += trio.current_time() - began
        self.tally.windows += len(todo)
        self.tally.batches += 1
        span = batch.window / batch.rate
        for place, (stream, _, at) in enumerate(todo):
            stream.state = after[:, place].copy()  # a view would keep the whole batch alive
            stream.judged(float(probabilities[place]), at - span, at)


@asynccontextmanager
async def open_vad(_: Opening) -> AsyncIterator[SileroVad]:
    """Load the model; its task is `SileroVad.run`."""
    yield await trio.to_thread.run_sync(SileroVad)
