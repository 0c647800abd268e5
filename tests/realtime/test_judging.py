"""What rules make of a call: its disposition, whether it was a success, and the data that is known."""

from __future__ import annotations

from typing import Any

import pytest

from invorto.model.agent import SummarySettings
from invorto.model.call import EndReason
from invorto.model.record import Utterance
from invorto.realtime.judging import DISPOSITIONS, disposition, gather, judge
from invorto.realtime.summary import ToolUse, summarize


def said(*texts: str, role: Any = "user") -> list[Utterance]:
    """Make what somebody said."""
    return [Utterance(role=role, text=text, began=n, ended=n + 1, turn=n) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "reason", "wanted"),
    [
        (["I want a table."], EndReason.HANGUP, "resolved"),
        (["I want a table."], EndReason.TIMEOUT, "unresolved"),
        (["Please never call me again!"], EndReason.HANGUP, "do_not_call"),
        (["Don’t call here again, and take my number off."], EndReason.AGENT, "do_not_call"),
        (["You have the wrong number."], EndReason.HANGUP, "wrong_number"),
        (["Can you call me back in an hour?"], EndReason.HANGUP, "callback"),
        (["I'm driving just now"], EndReason.HANGUP, "callback"),
        (["No, I am not interested, call me later"], EndReason.HANGUP, "callback"),
        (["not interested"], EndReason.HANGUP, "not_interested"),
        (["call me back"], EndReason.TRANSFER, "transferred"),
        ([], EndReason.HANGUP, "no_conversation"),
        (["Hello"], EndReason.VOICEMAIL, "voicemail"),
        (["Hello"], EndReason.ERROR, "failed"),
    ],
)
def test_disposition(texts: list[str], reason: EndReason, wanted: str) -> None:
    """How the call ended decides first, then what the caller said, the gravest first."""
    transcript = said(*texts)
    assert disposition(summarize(transcript, reason), transcript) == wanted
    assert wanted in DISPOSITIONS


def test_a_promise_is_a_follow_up() -> None:
    """Where the agent has promised something the matter is not over."""
    transcript = [*said("I want a table."), *said("I will send you a message.", role="assistant")]
    assert disposition(summarize(transcript, EndReason.AGENT), transcript) == "follow_up"


@pytest.mark.parametrize(
    ("tools", "reason", "passed", "score"),
    [
        ([ToolUse("book", succeeded=True)], EndReason.AGENT, True, 9),
        ([], EndReason.AGENT, True, 8),
        ([ToolUse("book", succeeded=False)], EndReason.AGENT, False, 1),
        ([ToolUse("book", succeeded=False), ToolUse("book", succeeded=True)], EndReason.AGENT, True, 9),
        ([], EndReason.TIMEOUT, False, 3),
        ([], EndReason.ERROR, False, 1),
    ],
)
def test_success(tools: list[ToolUse], reason: EndReason, passed: bool, score: int) -> None:
    """A call is a success when it came to its end and its tools did what they should; the rubric says how it is put."""
    transcript = said("I want a table.")
    summary = summarize(transcript, reason, tools)
    judged = {
        rubric: judge(summary, SummarySettings(rubric=rubric), transcript, tools)["success"]
        for rubric in ("PassFail", "NumericScale", "text")
    }
    assert judged["PassFail"] is passed
    assert judged["NumericScale"] == score
    assert ("did what it was for" in judged["text"]) is passed
    assert "success" not in judge(summary, SummarySettings(), transcript)


def test_data_comes_from_slots_and_tools() -> None:
    """What is known and fits is taken, by name however it is written, the latest first; what does not fit is not."""
    schema = {
        "type": "object",
        "properties": {
            "guestCount": {"type": "integer"}, "name": {"type": "string"}, "vip": {"type": "boolean"},
            "price": {"type": "number"}, "day": {"enum": ["Monday"]}, "note": {"type": "string"}, "x": True,
        },
        "required": ["guestCount", "name"],
    }  # fmt: skip
    tools = [
        ToolUse("book", succeeded=True, args={"guest_count": "2", "vip": "yes", "day": "Sunday"}),
        ToolUse("book", succeeded=True, args={"guest_count": "three", "price": "9.5"}),
    ]
    assert gather(schema, tools, {"Name": "Anna"}) == {"guestCount": 2, "name": "Anna", "vip": True, "price": 9.5}
    transcript = said("Two, please.")
    judged = judge(summarize(transcript, EndReason.AGENT), SummarySettings(schema=schema), transcript, tools, {})
    assert judged["data"]["guestCount"] == 2
    assert judged["complete"] is False
    assert gather({"type": "array"}, tools, {}) == {}
