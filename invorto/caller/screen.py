"""Shows a call as it goes: in a terminal with partial words in place, elsewhere as plain lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from invorto.caller.reach import Event
from invorto.caller.story import Line, Story

_STYLES = {"agent": "green", "caller": "cyan", "note": "dim"}


@attrs.define
class Screen:
    """A call on a console."""

    console: Console
    live: Live | None = None
    story: Story = attrs.field(factory=Story)

    def take(self, at: float, event: Event) -> None:
        """Show an event."""
        before = (self.story.speech, self.story.words)
        lines = self.story.take(at, event)
        if self.live is not None and before != (self.story.speech, self.story.words):
            self.live.update(self._now(), refresh=not lines)  # printing a line refreshes too
        for line in lines:
            self.show(line)

    def note(self, at: float, text: str) -> None:
        """Show a remark."""
        self.show(Line(at, "note", text))

    def show(self, line: Line) -> None:
        """Show a line, for good."""
        if not self.console.is_terminal:
            unheard = f" [not heard: {line.unheard}]" if line.unheard else ""
            who = "" if line.who == "note" else line.who
            self.console.file.write(f"{line.at:6.1f}  {who:6}  {line.text}{unheard}\n")
            self.console.file.flush()
            return
        text = Text(line.text, style="dim" if line.who == "note" else "")
        if line.unheard:
            text.append(f" {line.unheard}", style="dim strike")
        self.console.print(_row(f"{line.at:6.1f}", line.who, text))

    def _now(self) -> RenderableType:
        """Make what is being said just now."""
        table = _grid()
        for who, text in (("agent", self.story.speech), ("caller", self.story.words)):
            if text:
                table.add_row("", Text(who, style=_STYLES[who]), Text(f"{text} …", style="italic"))
        return table


@contextmanager
def open_screen(console: Console) -> Iterator[Screen]:
    """Show a call for the length of the block."""
    if not console.is_terminal:
        yield Screen(console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield Screen(console, live)


def _grid() -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=6, style="dim", justify="right")
    table.add_column(width=6)
    table.add_column(ratio=1)
    return table


def _row(at: str, who: str, text: Text) -> Table:
    table = _grid()
    table.add_row(at, Text("" if who == "note" else who, style=_STYLES[who]), text)
    return table
