"""How figures are told: a table for people, one JSON line for machines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.bench import machine


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value that *share* of all are not above; not a number where there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(math.ceil(share * len(ordered)), len(ordered)) - 1]


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], notes: Sequence[str] = ()) -> None:
    """Print a table, and what is to be known about it."""
    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*(_text(value) for value in row))
    console.print(table)
    for note in (*notes, machine.described()):
        console.print(f"[dim]{note}[/dim]")


def tell(named: Mapping[str, Any]) -> None:
    """Print the last line."""
    print(json.dumps({name: _plain(value) for name, value in named.items()}))


def _text(value: Any) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 3)
    return value
