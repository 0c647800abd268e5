"""The simulated caller: goes through the steps of a scenario, frame by frame, and looks at what came of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import trio

from invorto.audio.resample import resample
from invorto.audio.wav import read_wav
from invorto.errors import Invalid, UsageError
from invorto.model.agent_document import Document, merge, tidy
from invorto.model.call import Direction
from invorto.realtime import protocol as p
from invorto.realtime.line import HungUp
from invorto.realtime.turns import Floor
from invorto.simulate.checks import Left, faults
from invorto.simulate.engines import WordsLlm
from invorto.simulate.scenario import Expected, Scenario, Step
from invorto.simulate.stage import FRAME, LOUD, QUIET, RATE, SLOW, SLOW_FRAME, Stage, open_stage
from invorto.speech.ports import Llm, Samples
from invorto.speech.scripted import Script, ScriptedLlm

PACE = 1 / 3
"""Seconds that a word takes the caller."""
BREATH = 0.5
"""Seconds of silence in small frames after a sound: pauses are found exactly."""
PATIENCE = 90.0
"""Seconds that the caller waits for the agent to begin or to finish."""
WALL = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
"""When simulated calls begin, a Monday: so that "tomorrow" is the same each time."""


@attrs.frozen(kw_only=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    left: Left
    faults: tuple[str, ...]
    seconds: float
    """Of virtual time."""

    @property
    def passed(self) -> bool:
        """Whether all was as expected."""
        return not self.faults


def document_of(agent: Document, scenario: Scenario) -> Document:
    """Make the agent that is simulated: the scenario's changes over it, and tools that never leave this process."""
    document = dict(merge(agent, tidy(scenario.agent)))
    document.pop("stt", None)
    document.pop("tts", None)
    document["tools"] = [_tool(tool) for tool in document.get("tools", ()) if isinstance(tool, dict)]
    return document


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tool.items() if key not in {"url", "headers", "method"}}


def mind_of(scenario: Scenario) -> Llm:
    """Make the mind: scripted where the scenario says what it answers, else the agent's flow by words alone."""
    if scenario.engine is None:
        return WordsLlm(WALL.date())
    try:
        return ScriptedLlm(Script.parse(dict(scenario.engine)))
    except Invalid as error:
        raise UsageError(f"{scenario.name}: $.engine: {error}") from None


async def hold(agent: Document, scenario: Scenario) -> Outcome:
    """Hold the conversation of *scenario* with *agent*; for a virtual clock."""
    found: list[str] = []
    stage: Stage | None = None
    document = document_of(agent, scenario)
    with trio.move_on_after(scenario.limit) as limit:
        async with open_stage(
            document, llm=mind_of(scenario), tools=scenario.tools, variables=scenario.variables,
            wall=WALL.timestamp(), direction=Direction(scenario.direction),
        ) as stage:  # fmt: skip
            caller = Caller(stage, scenario.folder)
            for number, step in enumerate(scenario.steps, 1):
                if step.expect is not None:
                    await caller.hear_out()
                    found += [f"step {number}: {fault}" for fault in faults(step.expect, Left.of(stage))]
                elif stage.over.is_set():
                    found.append(f"step {number} ({step.name}) did not happen: the call was over")
                    break
                else:
                    found += [f"step {number} ({step.name}): {fault}" for fault in await caller.do(step)]
            if _waits(scenario.expect) and not stage.over.is_set():
                await caller.wait_until(stage.over.is_set)
    if limit.cancelled_caught:
        found.append(f"the call was cut after {scenario.limit:g} s")
    if stage is None:
        raise AssertionError("a call without a stage")
    left = Left.of(stage)
    return Outcome(
        scenario=scenario, left=left, faults=(*found, *faults(scenario.expect, left)),
        seconds=left.record.duration if left.record is not None else stage.now,
    )  # fmt: skip


def _waits(expected: Expected) -> bool:
    """Tell whether the agent is expected to end the call."""
    return expected.end_reason not in {None, "hangup"}


@attrs.define
class Caller:
    """Acts on the stage."""

    stage: Stage
    folder: Path = Path()

    async def do(self, step: Step) -> list[str]:
        """Do one step; says what kept it from being done."""
        if step.say is not None:
            await self.hear_out()
            await self.silent(step.after)
            await self.speak(step.say, step.lasts)
        elif step.interrupt is not None or step.cough is not None:
            if not await self.wait_for_agent(step.at):
                return ["the agent said nothing to speak into"]
            if step.interrupt is not None:
                await self.speak(step.interrupt, step.lasts)
            else:
                await self.speak("", step.cough)
        elif step.hear is not None:
            await self.hear_out()
            await self.silent(step.after)
            await self.play(step.hear, step.words)
        elif step.type is not None:
            await self.hear_out()
            self.stage.line.do(p.Text(step.type))
            await self.silent(FRAME)
        elif step.wait is not None:
            await self.silent(step.wait)
        else:
            await self.hear_out()
            self.stage.line.do(HungUp(1000))
            await self.stage.over.wait()
        return []

    # -- sounds -----------------------------------------------------------------------------------

    async def speak(self, text: str, lasts: float | None) -> None:
        """Make the sound of *text*; of nothing, for so many seconds."""
        seconds = lasts if lasts is not None else max(len(text.split()) * PACE, 0.2)
        await self.sound([LOUD] * max(round(seconds / FRAME), 1), text)

    async def play(self, name: str, words: str | None) -> None:
        """Play a file; without its words they are transcribed beforehand, by this machine's ear."""
        try:
            samples, rate = read_wav(self.folder / name)
        except Invalid as error:
            raise UsageError(str(error)) from None
        text = words if words is not None else transcribed(samples, rate)
        audio, size = resample(samples, rate, RATE), int(RATE * FRAME)
        await self.sound([audio[at : at + size] for at in range(0, len(audio), size)], text)

    async def sound(self, frames: list[Samples], text: str) -> None:
        """Bring frames in real time, whose words are *text*, and a breath of silence."""
        if self.stage.stt.ear is not None:
            self.stage.stt.ear.told(text, trio.current_time(), len(frames) * FRAME)
        for frame in frames:
            await self._frame(frame, FRAME)
        await self.silent(BREATH)

    async def silent(self, seconds: float) -> None:
        """Be silent, in small frames first."""
        until = trio.current_time() + seconds
        fine = trio.current_time() + BREATH
        while (now := trio.current_time()) < until - FRAME / 2 and not self.stage.over.is_set():
            slow = now >= fine and until - now >= SLOW_FRAME
            await self._frame(SLOW if slow else QUIET, SLOW_FRAME if slow else FRAME)

    async def _frame(self, frame: Samples, seconds: float) -> None:
        await trio.sleep(seconds)
        if not self.stage.over.is_set():
            self.stage.line.do(frame)

    # -- waiting ----------------------------------------------------------------------------------

    async def wait_until(self, when: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Be silent until something is so; False where it does not become so in time, or the call is over."""
        until = trio.current_time() + patience
        while not when():
            if trio.current_time() >= until or self.stage.over.is_set():
                return when()
            await self._frame(QUIET, FRAME)
        return True

    async def hear_out(self) -> None:
        """Wait until the agent has answered what was said, and has finished."""
        turns = self.stage.call.conversation.turns
        await self.silent(2 * FRAME)  # in which it begins to greet
        await self.wait_until(lambda: turns.floor in {Floor.OPEN, Floor.HELD, Floor.MACHINE, Floor.CLOSED})

    async def wait_for_agent(self, seconds: float) -> bool:
        """Wait until the agent has been heard for so long in the turn that it is at, or comes to."""
        line, turns = self.stage.line, self.stage.call.conversation.turns

        def audible() -> bool:
            speaking = turns.floor is Floor.AGENT and line.turn_heard == turns.turn
            return speaking and trio.current_time() - line.turn_began >= seconds

        return await self.wait_until(audible)


def transcribed(samples: Samples, rate: int) -> str:
    """Transcribe a recording with this machine's ear; `UsageError` where it is not installed."""
    try:
        from invorto.speech.stt.moonshine import Moonshine

        (heard,) = Moonshine().work("transcribe", {"pcm": samples.astype("<i2").tobytes(), "rate": rate})
    except ImportError:
        raise UsageError(
            "give the `words` of sound files, or install what understands them: pip install 'invorto[local]'"
        ) from None
    return str(heard["text"])
