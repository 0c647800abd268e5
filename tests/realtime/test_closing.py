"""What webhooks are told of whole calls: every fact fits its schema, and the summary is complete."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from invorto.convert import structure
from invorto.model.agent import AgentConfig
from invorto.model.call import ENDS, EndReason
from invorto.model.record import Cost, FinishedCall, OutboxEvent, TurnMetrics, Utterance
from invorto.realtime import protocol as p
from invorto.realtime.closing import HIDDEN, Closing, shown
from invorto.realtime.summary import ToolUse, summarize
from invorto.realtime.watch import Watch
from invorto.webhooks.envelope import body
from tests.realtime.stage import Stage, open_stage, ticket
from tests.webhooks.judge import faults

SECONDS = st.floats(0, 1e6)
AMOUNTS = st.decimals(0, 10**6, places=4)
WRITTEN = datetime(2026, 1, 2, tzinfo=UTC)
TABLE: dict[str, Any] = {
    "sttMs": 100, "llmMs": 50, "ttsMs": 30,
    "heard": ["I want a table.", "you idiot", "stop it please", "for two people.", "listen to me now", "and again now"],
    "replies": [{"tool": {"name": "book", "args": {"at": "seven"}}}, *9 * ["Sure, for how many people would it be?"]],
}  # fmt: skip
AGENT: dict[str, Any] = {
    "greeting": "Hello.",
    "emotion": {"windows": True},
    "tools": [{"name": "book", "description": "Books.", "inputSchema": {"type": "object"}, "timeoutMs": 500}],
}


def told(stage: Stage) -> list[dict[str, Any]]:
    """Give the bodies of all that a call told, in its order."""
    return bodies_of([*stage.books.facts, *stage.record.outbox])


def bodies_of(facts: Sequence[OutboxEvent]) -> list[dict[str, Any]]:
    """Give what is sent of facts."""
    return [
        json.loads(
            body(
                type_=fact.type, event_id=fact.event_id, tenant_id="t_1", call_id="c_1", seq=number, data=fact.data,
                written_at=WRITTEN,
            )
        )
        for number, fact in enumerate(facts, 1)
    ]  # fmt: skip


async def test_a_stormy_call(autojump_clock: MockClock) -> None:
    """A tool that fails, abuse, and a caller who breaks in again and again: all of it is told, as the schemas say."""
    async with open_stage(AGENT, TABLE) as stage:
        await stage.line.wait(2.0)
        for _ in range(6):
            await stage.line.speak(1.0)
            await stage.line.wait(1.2)
    facts = told(stage)
    assert [fault for fact in facts for fault in faults(fact)] == []
    types = [fact["type"] for fact in facts]
    assert types[:2] == ["call.started", "call.answered"]
    assert types[-3:] == ["call.ended", "billing.usage.updated", "agent.summary"]
    assert {"stt.final", "agent.tool_call", "qa.flags"} == set(types[2:-3])
    flagged = [flag for fact in facts if fact["type"] == "qa.flags" for flag in fact["data"]["flags"]]
    summary = facts[-1]["data"]
    assert flagged == summary["flags"] == ["toxicity", "overlap_risk"]
    (tool,) = summary["toolCalls"]
    assert (tool["name"], tool["succeeded"], tool["args"]) == ("book", False, {"at": "seven"})
    assert summary["kpis"]["toolCalls"] == {"total": 1, "failed": 1}
    assert summary["kpis"]["interruptions"] >= 3
    assert summary["emotion"]["speakingSeconds"] > 1
    assert summary["carrier"]["name"] == "web"
    assert summary["media"]["sampleRate"] == 8000
    assert summary["usage"]["costs"]
    assert summary["agent"]["greeting"] == "Hello."
    assert summary["artifacts"]["transcript"] == "/v1/calls/c_1/transcript"
    assert "qa.flags" in stage.books.kinds()


async def test_a_call_that_never_came_to_words(autojump_clock: MockClock) -> None:
    """A caller who hangs up before anything is said leaves the same events, with nothing in them that is not so."""
    async with open_stage({"greeting": None, "summary": {"enabled": False}, "transcription": False}) as stage:
        stage.line.say(p.End())
    facts = told(stage)
    assert [fault for fact in facts for fault in faults(fact)] == []
    summary = facts[-1]["data"]
    assert (summary["summary"], summary["emotion"], summary["messages"]) == (None, None, [])
    assert summary["endReason"] == "hangup"


@given(
    st.lists(st.builds(Utterance, role=st.sampled_from(["user", "assistant", "system", "tool"]), text=st.text(),
                       began=SECONDS, ended=SECONDS, turn=st.integers(0, 100), interrupted=st.booleans(),
                       heard_by=st.sampled_from([None, "marks", "timed"]), confidence=st.none() | st.floats(0, 1))),
    st.lists(st.builds(TurnMetrics, turn=st.integers(0, 100), eou_ms=st.none() | SECONDS, stt_ms=st.none() | SECONDS)),
    st.lists(st.builds(Cost, kind=st.sampled_from(["stt", "llm"]), provider=st.text(), unit=st.just("tokens"),
                       quantity=AMOUNTS, inr=AMOUNTS)),
    st.lists(st.builds(ToolUse, st.text(), st.booleans(), st.text(), st.integers(0, 9))),
    st.sampled_from(EndReason),
)  # fmt: skip
def test_whatever_a_call_leaves(
    said: list[Utterance], metrics: list[TurnMetrics], costs: list[Cost], tools: list[ToolUse], reason: EndReason
) -> None:
    """However a call went, what is told of its end fits the schemas."""
    call = ticket().call
    record = FinishedCall(
        call_id=call.id, tenant_id=call.tenant_id, epoch=1, status=ENDS[reason], reason=reason, started_at=WRITTEN,
        ended_at=WRITTEN, duration=0.0, transcript=tuple(said), costs=tuple(costs), metrics=tuple(metrics),
        summary=summarize(said, reason, tools),
    )  # fmt: skip
    closing = Closing(
        record=record, call=call, agent=AgentConfig(), rate=8000, recording=None, tools=tools,
        watch=Watch(lambda *_: None), address="",
    )  # fmt: skip
    assert [fault for fact in bodies_of(closing.facts()) for fault in faults(fact)] == []


def test_keys_of_tools_stay_here() -> None:
    """An agent's configuration is shown with the names of its tools' headers, never with what they hold."""
    tool = {"name": "crm", "url": "https://crm.example/x", "headers": {"Authorization": "Bearer sesame"}}
    agent = shown(structure({"tools": ["other", tool]}, AgentConfig))
    assert agent["tools"][0] == "other"
    assert agent["tools"][1]["headers"] == {"Authorization": HIDDEN}
    assert "sesame" not in json.dumps(agent)
