"""`invorto replay`: a recorded call again, in virtual time, through another configuration; both side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import attrs
import msgspec
import trio
from rich.console import Console
from rich.table import Table

from invorto.errors import UsageError
from invorto.model.agent_document import Document
from invorto.realtime.line import HungUp
from invorto.simulate.caller import WALL, Caller, document_of
from invorto.simulate.recorded import Event, Moment, Recorded, Sound, read
from invorto.simulate.scenario import Scenario, read_document
from invorto.simulate.stage import FRAME, LOUD, QUIET, open_stage
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedLlm

LLM_MS = 400
"""Milliseconds that the agent thinks in a replay."""
AFTER = 90.0
"""Seconds after the recorded end in which the replayed call is to end."""
NEAR = 1.5
"""Seconds within which the same thing on both sides stands in one row."""


@attrs.frozen(kw_only=True)
class Replayed:
    """A call, as it was and as it would have been."""

    then: Recorded
    now: Recorded


def load(path: Path) -> tuple[list[Event], Document | None]:
    """Read a timeline from a file: the timeline route's answer, a list of events, or one event a line."""
    if path.suffix in {".ndjson", ".jsonl"}:
        try:
            return [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.strip()], None
        except (OSError, msgspec.DecodeError) as error:
            raise UsageError(f"{path} cannot be read: {error}") from None
    document = read_document(path)
    if isinstance(document, dict):
        whole = cast("dict[str, Any]", document)
        agent = whole.get("agent")
        return list(whole.get("timeline") or []), agent if isinstance(agent, dict) else None
    if isinstance(document, list):
        return cast("list[Event]", document), None
    raise UsageError(f"{path} holds no timeline")


async def replay(recorded: Recorded, agent: Document) -> Replayed:
    """
    Bring the recorded caller's sounds, at their times, to an agent configured as *agent*; for a virtual clock.

    The agent says what it said then, in the order of its answers: what may differ is when it does, and whether it is
    interrupted. The caller does not react: who was answered later talks on all the same.
    """
    scenario = Scenario(name="replay", steps=())
    script = Script.parse({"llmMs": LLM_MS, "replies": [*recorded.replies, "All right."]})
    async with open_stage(
        document_of(agent, scenario), llm=ScriptedLlm(script), tools={}, variables={}, wall=WALL.timestamp()
    ) as stage:
        caller, began = Caller(stage), trio.current_time()
        for sound in sorted(recorded.sounds, key=lambda sound: sound.began):
            await caller.silent(began + sound.began - trio.current_time())
            await _make(caller, sound)
        await caller.silent(began + recorded.ended - trio.current_time())
        if recorded.reason == "hangup" and not stage.over.is_set():
            stage.line.do(HungUp(1000))
        await caller.silent(AFTER)  # until the call is over
        if not stage.over.is_set():
            stage.line.do(HungUp(1000))
    events: list[Event] = [attrs.asdict(event) for event in stage.books.events]
    return Replayed(then=recorded, now=read(events))


async def _make(caller: Caller, sound: Sound) -> None:
    """Make a sound exactly as long as it was."""
    ear, seconds = caller.stage.stt.ear, max(sound.ended - sound.began, FRAME)
    if ear is not None:
        ear.told(sound.text, trio.current_time(), seconds)
    for _ in range(max(round(seconds / FRAME), 1)):
        await trio.sleep(FRAME)
        if not caller.stage.over.is_set():
            caller.stage.line.do(LOUD)
    for _ in range(6):  # the pause that ends it, whatever comes next
        await trio.sleep(FRAME)
        if not caller.stage.over.is_set():
            caller.stage.line.do(QUIET)


def rows(then: tuple[Moment, ...], now: tuple[Moment, ...]) -> list[tuple[Moment | None, Moment | None]]:
    """Put two timelines side by side, in the order of time; what is the same and near in time is one row."""
    left, paired = list(now), list[tuple[Moment | None, Moment | None]]()
    for one in then:
        same = next((other for other in left if _alike(one, other)), None)
        if same is not None:
            left.remove(same)
        paired.append((one, same))
    paired += [(None, other) for other in left]
    return sorted(paired, key=lambda pair: min(one.at for one in pair if one is not None))


def _alike(one: Moment, other: Moment) -> bool:
    words, others = one.what.split(" after ")[0], other.what.split(" after ")[0]
    return (one.who, words.rstrip(" ✂")) == (other.who, others.rstrip(" ✂")) and abs(one.at - other.at) <= NEAR


def show(replayed: Replayed, console: Console) -> None:
    """Print both timelines side by side, and what is different in a few figures."""
    table = Table(box=None, pad_edge=False)
    for title in ("then", "", "now", ""):
        table.add_column(title, overflow="fold")
    for one, other in rows(replayed.then.moments, replayed.now.moments):
        cells = [f"{moment.at:7.2f}" if moment else "" for moment in (one, other)]
        told = [f"{moment.who:6} {moment.what}" if moment else "" for moment in (one, other)]
        table.add_row(cells[0], told[0], cells[1], told[1])
    console.print(table)
    for name, call in (("then", replayed.then), ("now", replayed.now)):
        cut = sum(moment.what.endswith(" ✂") for moment in call.moments)
        answers = sum(moment.what.startswith("answers after") for moment in call.moments)
        console.print(
            f"{name}: {answers} answers, {cut} cut short, ended after {call.ended:.1f} s ({call.reason})", markup=False
        )


def as_json(replayed: Replayed) -> str:
    """Give both timelines as JSON."""
    sides = {name: [attrs.asdict(one) for one in call.moments] for name, call in
             (("then", replayed.then), ("now", replayed.now))}  # fmt: skip
    return msgspec.json.encode(sides).decode()
