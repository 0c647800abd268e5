"""Thinking from the first pause on: it saves time where the pause was the last, and leaves no trace elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from invorto.realtime import protocol as p
from invorto.realtime.guess import Foresight, Guess
from invorto.realtime.reply import prompt_of
from invorto.speech.ports import Delta, Message, Usage
from invorto.speech.scripted import Script, ScriptedLlm
from tests.realtime.stage import open_stage

SLOW: dict[str, Any] = {
    "sttMs": 40,
    "llmMs": 150,
    "ttsMs": 30,
    "heard": ["I want a table for two please."],
    "replies": ["Of course."],
}
QUIET: dict[str, Any] = {"greeting": None, "endpointing": {"silenceMs": 500}}


class Counting(ScriptedLlm):
    """Counts what it is asked."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.asked: list[str] = []

    def answer(self, prompt):
        self.asked.append(prompt.history[-1].text)
        return super().answer(prompt)


async def answered(*, speculate: bool, document: dict[str, Any] | None = None) -> float:
    """Say one sentence; give the milliseconds from its end to the answer's first audio."""
    async with open_stage(document or QUIET, SLOW, speculate=speculate) as stage:
        await stage.line.speak(1)
        await stage.line.wait(2)
        (metrics,) = stage.metrics
        assert metrics.voice_to_voice_ms is not None
    assert stage.transcript() == [("user", SLOW["heard"][0]), ("assistant", "Of course.")]
    return metrics.voice_to_voice_ms


async def test_an_answer_comes_sooner(autojump_clock) -> None:
    """What thinking takes and what the pause takes run beside each other, and the record is the same."""
    without, with_it = await answered(speculate=False), await answered(speculate=True)
    assert without - with_it == pytest.approx(150, abs=25)


async def test_who_goes_on_is_answered_once(autojump_clock) -> None:
    """A pause in a sentence costs a question to the model, and the answer is to all that was said."""
    script = Script.parse({**SLOW, "heard": ["I want a table", "for two please."]})
    llm = Counting(script)
    async with open_stage(QUIET, script, llm=llm, speculate=True) as stage:
        await stage.line.speak(0.6)
        await stage.line.wait(0.2)
        await stage.line.speak(0.6)
        await stage.line.wait(2)
    assert llm.asked == ["I want a table", "I want a table for two please."]
    assert stage.transcript() == [("user", "I want a table for two please."), ("assistant", "Of course.")]
    assert len(stage.line.of(p.LlmDelta)) == 2


async def test_a_tool_waits_for_the_end_of_the_turn(autojump_clock) -> None:
    """A guess calls no tool: only the answer that is given does."""
    tool = {"name": "book", "args": {}}
    script = {**SLOW, "heard": ["Book a table", "for two please."], "replies": [{"tool": tool}, "Done."]}
    document = QUIET | {"tools": [{"name": "book"}]}
    async with open_stage(document, script, speculate=True) as stage:
        await stage.line.speak(0.6)
        await stage.line.wait(0.2)
        assert not stage.line.of(p.ToolCallMessage)
        await stage.line.speak(0.6)
        await stage.line.wait(1.5)
        assert len(stage.line.of(p.ToolCallMessage)) == 1


async def test_a_guess_that_fails_is_a_failure_only_where_it_is_wanted(autojump_clock) -> None:
    """An engine that fails while it guesses is told once, when the answer is due."""
    script = {**SLOW, "replies": [{"say": "", "fail": "down"}]}
    async with open_stage(QUIET, script, speculate=True) as stage:
        await stage.line.speak(0.6)
        await stage.line.wait(0.12)
        assert not stage.line.of(p.ErrorMessage)
        await stage.line.wait(2)
        assert [message.code for _, message in stage.line.of(p.ErrorMessage)] == ["provider_failed"]


async def test_what_ends_the_call_is_not_thought_about(autojump_clock) -> None:
    """Words that end the call, and answers to a request for consent, are nobody's guess."""
    script = Script.parse({**SLOW, "heard": ["Yes.", "goodbye"]})
    llm = Counting(script)
    document = QUIET | {"endCall": {"phrases": ["goodbye"]}, "consent": {"prompt": "May I record?"}}
    async with open_stage(document, script, llm=llm, speculate=True) as stage:
        await stage.line.wait(2)
        for _ in range(2):
            await stage.line.speak(0.6)
            await stage.line.wait(2)
        await stage.over.wait()
    assert llm.asked == []


@pytest.mark.parametrize("wait", [0.0, 0.05, 0.14, 0.5])
async def test_what_a_guess_took_is_told_where_nobody_wanted_it(wait: float, autojump_clock) -> None:
    """Tokens of an answer that was whole and not wanted are counted; leaving in the middle leaves no task."""
    script = Script.parse(SLOW)
    used: list[Usage] = []
    async with open_stage(QUIET, SLOW) as stage:
        agent = stage.call.conversation.agent
    prompt = prompt_of(agent, [Message(role="user", text="Hi.")], "c_1")
    foresight = Foresight()
    async with trio.open_nursery() as nursery:
        assert foresight.changes("Hi.")
        nursery.start_soon(foresight.begin(Guess(prompt, ScriptedLlm(script), used.append)).think)
        await trio.sleep(wait)
        assert not foresight.changes("Hi.")
        assert foresight.changes(None)
        assert foresight.take() is None
    assert len(used) == (wait >= 0.15)


async def test_a_guess_gives_what_the_engine_gives(autojump_clock) -> None:
    """Adopted early, late or in the middle: the same thoughts, in order, none twice."""
    async with open_stage(QUIET, SLOW) as stage:
        agent = stage.call.conversation.agent
    prompt = prompt_of(agent, [Message(role="user", text="Hi.")], "c_1")
    for wait in (0.0, 0.15, 1.0):
        used: list[Usage] = []
        guess = Guess(prompt, ScriptedLlm(Script.parse(SLOW)), used.append)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guess.think)
            await trio.sleep(wait)
            async with guess.answer() as thoughts:
                got = [thought async for thought in thoughts]
        assert got[:2] == [Delta("Of"), Delta(" course.")]
        assert isinstance(got[2], Usage)
        assert len(got) == 4
        assert used == []
