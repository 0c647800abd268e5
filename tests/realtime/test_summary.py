"""Summaries by rules: what came of a call, in a few words that are true."""

from __future__ import annotations

import pytest

from invorto.model.call import EndReason
from invorto.model.record import Utterance
from invorto.realtime.summary import ToolUse, summarize


def turns(*texts: str, interrupted: bool = False) -> list[Utterance]:
    """Make a transcript: the agent first, then by turns."""
    roles = ("assistant", "user")
    return [
        Utterance(
            role=roles[number % 2], text=text, began=number, ended=number + 1, turn=number,
            interrupted=interrupted and number == 2,
        )
        for number, text in enumerate(texts)
    ]  # fmt: skip


BOOKING = turns(
    "Hello, how can I help?", "I would like a table for two.", "For when? I'll check that.", "Tomorrow at eight.",
    "Done. I will send you a confirmation. Goodbye!", interrupted=True,
)  # fmt: skip


def test_a_call_that_did_what_was_asked():
    """What was wanted, done and promised is there; a polite phrase is no promise."""
    summary = summarize(BOOKING, EndReason.AGENT, [ToolUse("book_table", True)])
    assert summary.outcome == "completed"
    assert summary.reason == "the agent ended the call"
    assert summary.next_steps == ("Promised: I will send you a confirmation",)
    assert summary.text == (
        "The caller said: “I would like a table for two.”. "
        "2 turns of the caller and 3 of the agent followed one another. The agent was interrupted once. "
        "Done: book_table. "
        "The agent's last words: “Done. I will send you a confirmation. Goodbye!”. In the end the agent ended the call."
    )


def test_a_tool_that_failed_is_to_be_seen_to():
    """A failure that no later try mended makes the call incomplete, and is the first thing to do."""
    failed = ToolUse("book_table", False, "no answer in time")
    summary = summarize(BOOKING, EndReason.HANGUP, [failed])
    assert summary.outcome == "incomplete"
    assert summary.next_steps[0] == "See to what book_table did not do: no answer in time"
    assert "Failed: book_table." in summary.text
    mended = summarize(BOOKING, EndReason.HANGUP, [failed, ToolUse("book_table", True)])
    assert mended.outcome == "completed"
    assert "Failed" not in mended.text


@pytest.mark.parametrize("reason", EndReason, ids=str)
def test_every_reason_has_its_words(reason):
    """Each way for a call to end gives a summary, with words and without."""
    for transcript in ([], turns("Hello?"), BOOKING):
        summary = summarize(transcript, reason)
        assert summary.reason
        assert summary.outcome
        assert summary.text.endswith(f"{summary.reason}.")


@pytest.mark.parametrize(
    ("reason", "outcome", "step"),
    [
        (EndReason.TRANSFER, "transferred", None),
        (EndReason.CONSENT_DECLINED, "declined", None),
        (EndReason.VOICEMAIL, "voicemail", "Try again later"),
        (EndReason.BUSY, "busy", "Try again later"),
        (EndReason.NO_ANSWER, "no_answer", "Try again later"),
        (EndReason.NODE_LOST, "failed", "Call back: the conversation was cut short"),
        (EndReason.RESUME_TIMEOUT, "incomplete", "Call back: the conversation was cut short"),
        (EndReason.DRAINED, "incomplete", "Call back: the conversation was cut short"),
    ],
    ids=str,
)
def test_the_end_decides(reason, outcome, step):
    """Ends that are no success say so, and what to do."""
    summary = summarize(turns("Hello.", "I need help.", "Of course."), reason)
    assert summary.outcome == outcome
    assert summary.next_steps == ((step,) if step else ())


def test_nobody_spoke():
    """A call without a word of the caller is no conversation, whoever hung up."""
    summary = summarize(turns("Hello, how can I help?"), EndReason.SILENCE)
    assert summary.outcome == "no_conversation"
    assert summary.text == "No words of the caller were heard; nobody spoke any more."
    assert summary.next_steps == ()


def test_it_stays_short():
    """Long speeches are quoted in part, and a long list of steps is cut."""
    speech = "word " * 500
    promises = " ".join(f"I will call number {number}." for number in range(50))
    summary = summarize(turns("Hello.", speech, promises), EndReason.HANGUP)
    assert len(summary.text) < 700
    assert "word …" in summary.text
    assert len(summary.next_steps) == 5
