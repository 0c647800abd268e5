"""A scenario: what a simulated caller does, step by step, and what must have come of it; read from YAML or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import attrs
import yaml

from invorto.convert import structure
from invorto.errors import Invalid, UsageError

_DOING = ("say", "interrupt", "cough", "hear", "type", "wait", "expect", "hangUp")

type Tools = Mapping[str, Any]
"""What tools answer, by name: a value, a list of values in turn, or ``{"error": "…"}``."""


@attrs.frozen(kw_only=True)
class Step:
    """One thing that the caller does; exactly one of the first group, the others refine it."""

    say: str | None = None
    """Speaks these words when the agent has finished."""
    interrupt: str | None = None
    """Speaks these words into what the agent says next, *at* seconds after its first sound."""
    cough: float | None = None
    """Makes a sound of so many seconds without a word, into what the agent says next."""
    hear: str | None = None
    """Plays a sound file, whose *words* are understood; a path beside the scenario."""
    type: str | None = None
    """Types these words."""
    wait: float | None = None
    """Is silent for so many seconds."""
    hang_up: bool = False
    expect: Expected | None = None
    """Looks at what has been so far."""
    lasts: float | None = None
    """Seconds that the words take; without it three words a second."""
    after: float = 0.6
    """Seconds of silence before *say*, once the agent has finished."""
    at: float = 1.0
    words: str | None = None

    @property
    def name(self) -> str:
        """Say what it does, in a word or two."""
        for field in ("say", "interrupt", "cough", "hear", "type", "wait"):
            if (value := getattr(self, field)) is not None:
                return f"{field} {value}"
        return "hang up" if self.hang_up else "expect"


@attrs.frozen(kw_only=True)
class Bound:
    """Limits of a number; either may be missing."""

    above: float | None = None
    below: float | None = None


@attrs.frozen(kw_only=True)
class Called:
    """A tool that must have been called, with at least these arguments."""

    tool: str
    args: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    times: int | None = None


@attrs.frozen(kw_only=True)
class Expected:
    """What must have been; texts are looked for in what was heard of the agent, case and spaces aside."""

    said: tuple[str, ...] = ()
    not_said: tuple[str, ...] = ()
    last_said: str | None = None
    """In what the agent said last."""
    called: tuple[Called, ...] = ()
    not_called: tuple[str, ...] = ()
    end_reason: str | None = None
    outcome: str | None = None
    disposition: str | None = None
    success: Any = None
    data: Mapping[str, Any] | None = None
    """Part of the structured data that the call left."""
    events: tuple[str, ...] = ()
    """Kinds of events that are on the timeline."""
    interruptions: int | None = None
    duration: Bound | None = None
    """Seconds of the call."""
    answered_in: Bound | None = None
    """Milliseconds from the caller's last sound to the agent's first, of every turn."""


@attrs.frozen(kw_only=True)
class Scenario:
    """One conversation."""

    name: str
    steps: tuple[Step, ...]
    expect: Expected = Expected()
    agent: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """What is different of the agent."""
    variables: Mapping[str, str] = attrs.field(factory=dict[str, str])
    engine: Mapping[str, Any] | None = None
    """What the scripted mind answers, as in ``SCRIPTED_ENGINE``; without it the agent's `flow` is spoken, by words."""
    tools: Tools = attrs.field(factory=dict[str, Any])
    direction: str = "web"
    limit: float = 3600.0
    """Seconds of virtual time after which a call that does not end is cut."""
    folder: Path = Path()


def read_document(path: Path) -> Any:
    """Read a YAML or JSON file; `UsageError` where there is none or it cannot be parsed."""
    try:
        return yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is neither YAML nor JSON: {' '.join(str(error).split())}") from None


def read_scenarios(path: Path) -> list[Scenario]:
    """Read a scenario, a list of them, or a folder of such files; `UsageError` names what is wrong, and where."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in {".yaml", ".yml", ".json"})
        if not files:
            raise UsageError(f"there is no scenario in {path}: expected files that end in .yaml or .json")
        return [scenario for file in files for scenario in read_scenarios(file)]
    document = read_document(path)
    every = cast("list[Any]", document) if isinstance(document, list) else [document]
    return [_scenario(one, path, place if isinstance(document, list) else None) for place, one in enumerate(every)]


def _scenario(document: Any, path: Path, place: int | None) -> Scenario:
    where = f"{path}" if place is None else f"{path}[{place}]"
    if not isinstance(document, dict):
        raise UsageError(f"{where}: expected an object with `steps`")
    given: dict[str, Any] = {"name": path.stem if place is None else f"{path.stem} {place + 1}", **document}
    given.pop("folder", None)
    try:
        scenario = structure(given, Scenario)
    except Invalid as error:
        raise UsageError(f"{where}: {error}") from None
    for number, step in enumerate(scenario.steps):
        done = [getattr(step, name) for name in _DOING if name != "hangUp"]
        if sum(one is not None for one in done) + step.hang_up != 1:
            raise UsageError(f"{where}: $.steps[{number}] must do one thing: {', '.join(_DOING)}")
    return attrs.evolve(scenario, folder=path.parent)
