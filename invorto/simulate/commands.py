"""The commands `simulate talk` and `replay`: find the agent, run virtual time, report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import structlog
import trio
from rich.console import Console
from trio.testing import MockClock

from invorto.caller.reach import Server
from invorto.config import Config
from invorto.dev import recall
from invorto.errors import Invalid, UsageError
from invorto.model.agent_document import Document, check, merge, tidy
from invorto.simulate import replay as again
from invorto.simulate.caller import Outcome, document_of, hold
from invorto.simulate.recorded import Event, read
from invorto.simulate.report import show, write_junit
from invorto.simulate.scenario import Scenario, read_document, read_scenarios
from invorto.simulate.stage import ENGINES


def talk(
    config: Config, agent: str, files: tuple[Path, ...], *, url: str | None, key: str | None, junit: Path | None,
    verbose: bool,
) -> int:  # fmt: skip
    """Hold all scenarios with the agent; gives the exit code: 0 where all was as expected, else 1."""
    scenarios = [scenario for file in files for scenario in read_scenarios(file)]
    document = _agent(config, agent, url, key)
    for scenario in scenarios:
        _checked(document_of(document, scenario), scenario.name)
    outcomes = [_one(document, scenario) for scenario in scenarios]
    show(outcomes, Console(highlight=False), verbose=verbose)
    if junit is not None:
        write_junit(outcomes, junit)
    return 0 if all(one.passed for one in outcomes) else 1


def replay(
    config: Config, call: str, *, agent: Path | None, url: str | None, key: str | None, json: bool
) -> int:  # fmt: skip
    """Run a recorded call again and show both; gives the exit code."""
    events, document = _recorded(config, call, url, key)
    if agent is not None:
        document = _document(read_document(agent), str(agent))
    recorded = read(events)
    document = document or {}
    _checked(document_of(document, Scenario(name="replay", steps=())), "the agent")
    replayed = virtually(lambda: again.replay(recorded, document))
    if json:
        print(again.as_json(replayed))  # noqa: T201 - it is what was asked for
    else:
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 200  # a file or a pipe has no edge to wrap at
        again.show(replayed, console)
    return 0


def virtually[T](body: Callable[[], Awaitable[T]]) -> T:
    """Run *body* on a clock that leaps to whatever happens next."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # what matters is in the report
    try:
        return trio.run(_run, body, clock=MockClock(autojump_threshold=0))
    finally:
        structlog.configure(**before)


async def _run[T](body: Callable[[], Awaitable[T]]) -> T:
    return await body()


def _one(document: Document, scenario: Scenario) -> Outcome:
    return virtually(lambda: hold(document, scenario))


def _checked(document: Document, name: str) -> None:
    try:
        check(tidy(document), ENGINES)
    except Invalid as error:
        raise UsageError(f"{name}: the agent is wrong: {error}") from None


# -- where things are -----------------------------------------------------------------------------


def _agent(config: Config, agent: str, url: str | None, key: str | None) -> Document:
    path = Path(agent)
    if path.suffix in {".json", ".yaml", ".yml"} or path.is_file():
        return _document(read_document(path), agent)
    answer = _get(config, f"/v1/agents/{quote(agent, safe='')}", url, key)
    return tidy(answer["config"])


def _document(read: Any, where: str) -> Document:
    """Take an agent as it is posted: nested or flat, with its name beside the configuration."""
    if not isinstance(read, dict):
        raise UsageError(f"{where}: expected an agent as an object")
    given = cast("dict[str, Any]", read)
    config = given.get("config")
    flat = {key: value for key, value in given.items() if key not in {"name", "status", "config", "metadata", "id"}}
    try:
        return merge(tidy(flat), tidy(config)) if isinstance(config, dict) else tidy(flat)
    except Invalid as error:
        raise UsageError(f"{where}: {error}") from None


def _recorded(config: Config, call: str, url: str | None, key: str | None) -> tuple[list[Event], Document | None]:
    path = Path(call)
    if path.suffix in {".json", ".yaml", ".ndjson", ".jsonl"} or path.is_file():
        return again.load(path)
    events: list[Event] = []
    after = ""
    while True:
        page = _get(config, f"/v1/calls/{quote(call, safe='')}/timeline?count=500{after}", url, key)
        events += page["timeline"]
        if not page.get("next"):
            break
        after = f"&after={quote(page['next'], safe='')}"
    kept = cast("Mapping[str, Any]", _get(config, f"/v1/calls/{quote(call, safe='')}", url, key))
    agent = kept.get("agent")
    return events, tidy(agent) if isinstance(agent, dict) else None


def _get(config: Config, path: str, url: str | None, key: str | None) -> Any:
    if url is None or key is None:
        known = recall(config.stores.data_dir)
        url, key = url or known["url"], key or known["key"]
    return trio.run(Server(url, key).get, path)
