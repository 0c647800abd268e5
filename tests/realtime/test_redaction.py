"""Personal data in whole calls: the model hears it, and nothing that is kept, published or logged has it."""

from __future__ import annotations

import io
import json
from typing import Any, Self

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock

from invorto.errors import Invalid
from invorto.model.agent_document import check, resolve, tidy
from invorto.model.pii import Redactor
from invorto.observability.logs import set_up_logs
from invorto.realtime import protocol as p
from invorto.speech.ports import Delta, Llm, Prompt, Thought, ToolCall
from tests.realtime.stage import Stage, open_stage

SAID = "I am Anna, 98450 12345, write to anna@example.com."
PRIVATE = ("98450 12345", "anna@example.com", "4111 1111 1111 1111")
TOOL = {"name": "book", "description": "Books.", "inputSchema": {"type": "object"}, "timeoutMs": 500}


class Parrot(Llm):
    """Says what it heard, and calls a tool with it."""

    name, version = "parrot", "1"

    def __init__(self) -> None:
        self.heard: list[str] = []

    def answer(self, prompt: Prompt) -> Any:
        """Answer once with a tool, then with words."""
        self.heard.append(prompt.history[-1].text)
        tooled = any(message.role == "tool" for message in prompt.history)
        return _Said([Delta(f"Noted: {SAID}")] if tooled else [ToolCall("1", "book", {"number": "98450 12345"})])


@attrs.define
class _Said:
    thoughts: list[Thought]

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()

    def __aiter__(self) -> _Said:
        return self

    async def __anext__(self) -> Thought:
        await trio.lowlevel.checkpoint()
        if not self.thoughts:
            raise StopAsyncIteration
        return self.thoughts.pop(0)


async def a_call(redaction: Any) -> tuple[Stage, Parrot]:
    """Hold a call in which something personal is said by both, and given to a tool."""
    mind = Parrot()
    agent = {"greeting": None, "tools": [TOOL], "redaction": redaction}
    async with open_stage(agent, {"sttMs": 100, "heard": [SAID]}, llm=mind) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.0)
        ((_, call),) = stage.line.of(p.ToolCallMessage)
        assert call.args == {"number": "98450 12345"}  # who runs the tool needs it
        place = next(n for n, (_, message) in enumerate(stage.line.told) if message is call)
        stage.line.say(p.ToolResult(id=stage.line.ids[place], result={"card": "4111 1111 1111 1111"}))
        await stage.line.wait(6.0)
    return stage, mind


def kept(stage: Stage) -> str:
    """Give all that a call leaves, as one text."""
    return json.dumps(
        [
            [attrs.asdict(event) for event in (*stage.books.events, *stage.books.facts)],
            attrs.asdict(stage.record),
        ],
        default=str,
    )


async def test_nothing_personal_is_kept(autojump_clock: MockClock) -> None:
    """Timeline, transcript, summary and facts have kinds in brackets; the model and the client had the words."""
    stage, mind = await a_call(redaction=True)
    assert SAID in mind.heard
    assert [message.text for _, message in stage.line.of(p.SttFinal)] == [SAID]
    assert not any(secret in kept(stage) for secret in PRIVATE)
    assert stage.record.transcript[0].text == "I am Anna, [phone], write to [email]."
    assert {"stt.final", "tool.requested"} <= set(stage.books.kinds())


async def test_an_agent_may_keep_it(autojump_clock: MockClock) -> None:
    """Where redaction is off all is kept as it was said, and where kinds are named, only those are taken out."""
    stage, _ = await a_call(redaction=False)
    assert stage.record.transcript[0].text == SAID
    assert all(secret in kept(stage) for secret in PRIVATE[:2])
    stage, _ = await a_call(redaction={"enabled": True, "kinds": ["email"]})
    assert stage.record.transcript[0].text == "I am Anna, 98450 12345, write to [email]."


def test_the_installation_says_and_the_agent_decides() -> None:
    """An agent that says nothing does as the installation; true or false is enough; unknown kinds are refused."""
    defaults = {"redaction": {"enabled": True}}
    assert resolve({}, defaults).redaction.enabled
    assert resolve({"redaction": False}, defaults).redaction.enabled is False
    assert resolve({"redaction": {"kinds": ["pan"]}}, defaults).redaction.enabled
    assert check(tidy({"redaction": True}), {}).redaction.enabled
    with pytest.raises(Invalid, match="redaction"):
        check({"redaction": {"kinds": ["shoe size"]}}, {})


def test_logs_are_scrubbed() -> None:
    """A line that quotes somebody has no number in it, and keeps its ids, times and figures."""
    out = io.StringIO()
    set_up_logs("info", "json", out, scrub=Redactor.of((), "en-IN").text)
    try:
        call_id = "c_01987c0e-1111-7111-8111-111111111111"
        structlog.get_logger("x").info("heard", text=SAID, call_id=call_id, at=1700000000.123, n=1700000000)
    finally:
        set_up_logs("info", "json")
    line = json.loads(out.getvalue())
    assert line["text"] == "I am Anna, [phone], write to [email]."
    assert (line["call_id"], line["at"], line["n"]) == (call_id, 1700000000.123, 1700000000)
