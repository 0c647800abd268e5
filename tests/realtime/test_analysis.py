"""What a model is asked about a call, what its answer is taken for, and when it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import attrs
import msgspec
import pytest
import trio
from trio.testing import MockClock

from invorto.convert import unstructure
from invorto.errors import StoreUnavailable
from invorto.model.agent import AgentConfig, LlmSettings, Redaction, SummarySettings
from invorto.model.record import OutboxEvent, Summary, Utterance
from invorto.realtime.analysis import (
    LONGEST,
    MOST_WORDS,
    Order,
    Unusable,
    prompt_of,
    read_answer,
    read_order,
    schema_of,
)
from invorto.realtime.analyst import ATTEMPTS, Analyst, Patience, can_analyse
from invorto.speech.llm.chat import request_of
from invorto.speech.ports import Llm
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedLlm
from invorto.storage.analyses import Claimed
from tests.realtime.stage import open_stage

SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"guests": {"type": "integer"}}, "required": ["guests"],
    "additionalProperties": False,
}  # fmt: skip
GOOD: dict[str, Any] = {
    "summary": "A table for two was booked. Call 98450 12345.", "nextSteps": ["Confirm"], "disposition": "resolved",
    "outcome": "completed", "success": True, "rationale": "It was booked.", "data": {"guests": 2},
}  # fmt: skip
TRANSCRIPT = (Utterance(role="user", text="A table for two.", began=0, ended=1, turn=0),)
ORDER = Order(
    prompt="You book tables.", llm=LlmSettings(provider="scripted"),
    summary=SummarySettings(schema=SCHEMA, rubric="PassFail"),
    ruled={"by": "rules", "disposition": "resolved"}, made=Summary(outcome="completed", reason="the caller hung up"),
    fact=OutboxEvent(type="agent.summary", data={"schemaVersion": 1, "summary": None, "x": 1}, event_id="evt_1"),
    agent={"locale": "en-IN"},
)  # fmt: skip


def answer(**changes: Any) -> str:
    """Make an answer."""
    return msgspec.json.encode({key: value for key, value in (GOOD | changes).items() if value is not None}).decode()


def test_the_question_holds_all() -> None:
    """The model is told what the agent is for, what was said, how it ended, the schema; then what was wrong."""
    prompt = prompt_of(ORDER, TRANSCRIPT)
    assert "You book tables." in prompt.history[0].text
    assert "Caller: A table for two." in prompt.history[0].text
    assert "the caller hung up" in prompt.history[0].text
    assert '"guests"' in prompt.agent.prompt
    assert prompt.settings.temperature == 0
    assert request_of(prompt, "m")["response_format"]["json_schema"]["schema"] == schema_of(ORDER)
    again = prompt_of(ORDER, TRANSCRIPT, ("{}", "it is empty"))
    assert [message.role for message in again.history] == ["user", "assistant", "user"]
    assert "it is empty" in again.history[2].text
    assert "response_format" not in request_of(again, "m")
    endless = [attrs.evolve(TRANSCRIPT[0], text="word " * 1000)] * 50
    assert len(prompt_of(ORDER, endless).history[0].text) < MOST_WORDS + 1000


def test_a_good_answer() -> None:
    """Summary and analysis are the model's, who said so is told, and fences or words around it do not matter."""
    for text in (answer(), f"Sure:\n```json\n{answer()}\n```"):
        summary, analysis = read_answer(text, ORDER, "m-1")
        assert summary == Summary(
            outcome="completed", reason="the caller hung up", next_steps=("Confirm",), text=GOOD["summary"]
        )
        assert analysis == {
            "by": "llm", "model": "m-1", "disposition": "resolved", "success": True, "rationale": "It was booked.",
            "data": {"guests": 2}, "complete": True,
        }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["", "no", "[1]", "{", answer(summary=None), answer(disposition="great"), answer(success="yes"),
     answer(data={"guests": "two"}), answer(data={"guests": 2, "more": 1}), answer(extra=1),
     answer(nextSteps=["x"] * 9), "{" * 20_000, answer(summary="x" * LONGEST)],
)  # fmt: skip
def test_a_bad_answer_is_none(text: str) -> None:
    """What is no JSON, lacks something, has too much or the wrong kind, is said to be so."""
    with pytest.raises(Unusable):
        read_answer(text, ORDER, "m")


def test_what_the_end_decides_is_not_the_model_s() -> None:
    """Of a call that was transferred nobody asks whether it was completed."""
    order = attrs.evolve(ORDER, made=Summary(outcome="transferred", reason="the caller was transferred"))
    assert "outcome" not in schema_of(order)["properties"]
    summary, _ = read_answer(answer(outcome=None), order, "m")
    assert summary.outcome == "transferred"


def test_personal_data_is_taken_out() -> None:
    """What the model writes is redacted like all else, where the agent's data is."""
    agent = unstructure(AgentConfig(redaction=Redaction(enabled=True)))
    order = attrs.evolve(ORDER, agent={"redaction": agent["redaction"], "locale": "en-IN"})
    summary, _ = read_answer(answer(), read_order(unstructure(order)), "m")
    assert summary.text == "A table for two was booked. Call [phone]."


@pytest.mark.parametrize(
    ("rubric", "success", "fits"),
    [("PassFail", True, True), ("PassFail", 5, False), ("NumericScale", 7, True), ("NumericScale", 11, False),
     ("text", "Well.", True), ("text", 1, False)],
)  # fmt: skip
def test_rubrics(rubric: Any, success: Any, fits: bool) -> None:
    """Success is a bool, 1 to 10, or words."""
    order = attrs.evolve(ORDER, summary=SummarySettings(rubric=rubric, schema=SCHEMA))
    if fits:
        assert read_answer(answer(success=success), order, "m")[1]["success"] == success
    else:
        with pytest.raises(Unusable):
            read_answer(answer(success=success), order, "m")


# -- the analyst ----------------------------------------------------------------------------------


@attrs.define
class Desk:
    """A queue in memory, and what was settled."""

    queue: list[Claimed] = attrs.field(factory=list)
    settled: list[tuple[Summary, dict[str, Any], OutboxEvent]] = attrs.field(factory=list)
    away: int = 0
    done: trio.Event = attrs.field(factory=trio.Event)

    async def claim(self, most: int, lease: float) -> list[Claimed]:
        """Give what is due."""
        await trio.lowlevel.checkpoint()
        if self.away:
            self.away -= 1
            raise StoreUnavailable("away")
        taken, self.queue = self.queue[:most], self.queue[most:]
        return taken

    async def read(self, tenant_id: str, call_id: str) -> Sequence[Utterance]:
        """Give the transcript."""
        await trio.lowlevel.checkpoint()
        return TRANSCRIPT

    async def settle(self, claimed: Claimed, summary: Summary, analysis: dict[str, Any], fact: OutboxEvent) -> bool:
        """Take it down."""
        await trio.lowlevel.checkpoint()
        self.settled.append((summary, analysis, fact))
        self.done.set()
        return True


async def analysed(*answers: Any, attempts: int = 1, desk: Desk | None = None) -> Desk:
    """Have one call analysed by an engine that gives *answers*."""
    desk = desk or Desk()
    desk.queue.append(
        Claimed(call_id="c_1", tenant_id="t_1", asked=unstructure(ORDER), attempts=attempts, token=uuid4())
    )
    mind = ScriptedLlm(Script.parse({"analysis": list(answers)}))

    async def minds(_: LlmSettings) -> Sequence[Llm]:
        await trio.lowlevel.checkpoint()
        return [mind] if can_analyse(mind) else []

    analyst = Analyst(
        claim=desk.claim, read=desk.read, settle=desk.settle, minds=minds, knows=lambda _: True,
        patience=Patience(answer=5.0),
    )  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(analyst.run)
        with trio.fail_after(60):
            await desk.done.wait()
        nursery.cancel_scope.cancel()
    return desk


async def test_a_call_is_analysed(autojump_clock: MockClock) -> None:
    """What the model says is written, and told in the call's fact, whose id and other words stay."""
    desk = await analysed(answer())
    ((summary, analysis, fact),) = desk.settled
    assert analysis["by"] == "llm"
    assert summary.text == GOOD["summary"]
    assert fact.event_id == "evt_1"
    assert fact.data["x"] == 1
    assert fact.data["analysis"] == analysis
    assert fact.data["summary"]["outcome"] == "completed"


@pytest.mark.parametrize("first", ["nonsense", {"say": "{", "fail": "broken"}, {"stall": True}])
async def test_it_is_asked_once_more(first: Any, autojump_clock: MockClock) -> None:
    """An answer that is unusable, breaks off or never comes is asked for once more."""
    script = [first, answer()] if first == "nonsense" else [first, first]
    desk = await analysed(*script)
    ((_, analysis, _),) = desk.settled
    assert analysis["by"] == ("llm" if first == "nonsense" else "rules")


async def test_rules_count_where_no_model_answers(autojump_clock: MockClock) -> None:
    """After two bad answers, without an engine, or when it was tried too often, the summary is told all the same."""
    for desk in (await analysed("no", "no"), await analysed(), await analysed(answer(), attempts=ATTEMPTS + 1)):
        ((summary, analysis, fact),) = desk.settled
        assert summary == ORDER.made
        assert analysis == ORDER.ruled
        assert fact.data["analysis"] == ORDER.ruled


async def test_a_store_that_is_away_is_waited_for(autojump_clock: MockClock) -> None:
    """While the queue cannot be read nothing is lost, and it goes on when it can."""
    desk = await analysed(answer(), desk=Desk(away=3))
    assert len(desk.settled) == 1


async def test_an_engine_that_fails_hurts_nobody(autojump_clock: MockClock) -> None:
    """One broken order is left to its lease; the next is done."""
    desk = Desk([Claimed(call_id="c_0", tenant_id="t_1", asked={"nonsense": 1}, attempts=1, token=uuid4())])
    await analysed(answer(), desk=desk)
    assert len(desk.settled) == 1


# -- a call's record ------------------------------------------------------------------------------


async def test_a_call_without_a_model_is_told_at_once(autojump_clock: MockClock) -> None:
    """Rules make the analysis, and `agent.summary` stands in the call's own transaction."""
    agent = {"greeting": None, "summary": {"rubric": "PassFail", "schema": SCHEMA}}
    async with open_stage(agent, {"heard": ["A table for two."], "replies": ["Done."]}) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(2.0)
    assert stage.record.order is None
    assert stage.record.analysis == {
        "by": "rules", "disposition": "resolved", "success": True, "data": {}, "complete": False,
    }  # fmt: skip
    summary = stage.record.outbox[-1]
    assert summary.type == "agent.summary"
    assert summary.data["analysis"] == stage.record.analysis
