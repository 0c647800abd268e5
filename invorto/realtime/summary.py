"""A call's summary by rules, for when no model makes one: what came of it, why it ended, what is to be done next.

Pure: from the transcript as it was heard, the reason of the end and what the tools did.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from invorto.model.call import EndReason
from invorto.model.record import Summary, Utterance

_QUOTED: Final = 160
"""Characters of somebody's words that a summary quotes at most."""
_MOST_STEPS: Final = 5

_REASONS: Final = {
    EndReason.HANGUP: "the caller hung up",
    EndReason.AGENT: "the agent ended the call",
    EndReason.TIMEOUT: "the longest time for a call was over",
    EndReason.SILENCE: "nobody spoke any more",
    EndReason.TRANSFER: "the caller was transferred",
    EndReason.ERROR: "something failed",
    EndReason.CAPACITY_LOST: "there was no capacity left to hold it",
    EndReason.DRAINED: "the server was stopped",
    EndReason.API: "it was ended over the API",
    EndReason.RESUME_TIMEOUT: "the connection was lost and did not come back",
    EndReason.NODE_LOST: "the server that held it was lost",
    EndReason.USAGE_CAP: "the day's budget was used up",
    EndReason.CONSENT_DECLINED: "the caller did not consent",
    EndReason.VOICEMAIL: "a machine answered",
    EndReason.CANCELED: "it was canceled",
    EndReason.REJECTED: "it was rejected",
    EndReason.NO_ANSWER: "nobody answered",
    EndReason.BUSY: "the line was busy",
}
_OUTCOMES: Final = {
    EndReason.TRANSFER: "transferred",
    EndReason.CONSENT_DECLINED: "declined",
    EndReason.VOICEMAIL: "voicemail",
    EndReason.CANCELED: "canceled",
    EndReason.REJECTED: "rejected",
    EndReason.NO_ANSWER: "no_answer",
    EndReason.BUSY: "busy",
    EndReason.ERROR: "failed",
    EndReason.CAPACITY_LOST: "failed",
    EndReason.NODE_LOST: "failed",
}
"""Those that the reason alone decides."""
_CUT_SHORT: Final = {
    EndReason.TIMEOUT, EndReason.DRAINED, EndReason.RESUME_TIMEOUT, EndReason.USAGE_CAP, EndReason.SILENCE,
}  # fmt: skip
_PROMISE: Final = re.compile(
    r"\b(?:I'll|I will|we'll|we will|I'm going to|we are going to|someone will|somebody will|you'll (?:get|receive)|"
    r"you will (?:get|receive))\b[^.!?।]*",
    re.IGNORECASE,
)
_IDLE_PROMISE: Final = re.compile(
    r"\b(?:I'll|I will|we'll|we will) (?:be (?:glad|happy)|help|check|look|see|wait|need|ask|repeat|just|try)\b",
    re.IGNORECASE,
)


@attrs.frozen
class ToolUse:
    """A tool that was called: whether it did what it should, and if not, why."""

    name: str
    succeeded: bool
    error: str = ""
    turn: int = 0
    args: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    latency_ms: float = 0.0


def summarize(transcript: Sequence[Utterance], reason: EndReason, tools: Sequence[ToolUse] = ()) -> Summary:
    """
    Summarize a call.

    *outcome* is one of ``completed``, ``incomplete``, ``no_conversation``, ``transferred``, ``declined``,
    ``voicemail``, ``canceled``, ``rejected``, ``no_answer``, ``busy``, ``failed``.
    """
    said = [turn for turn in transcript if turn.role == "user" and turn.text.strip()]
    answered = [turn for turn in transcript if turn.role == "assistant" and turn.text.strip()]
    return Summary(
        outcome=_outcome(reason, said, tools),
        reason=_REASONS[reason],
        next_steps=_next_steps(answered, reason, tools, spoke=bool(said)),
        text=_text(said, answered, reason, tools),
    )


def _outcome(reason: EndReason, said: Sequence[Utterance], tools: Sequence[ToolUse]) -> str:
    if decided := _OUTCOMES.get(reason):
        return decided
    if not said:
        return "no_conversation"
    done = {tool.name for tool in tools if tool.succeeded}
    failed = {tool.name for tool in tools if not tool.succeeded} - done
    return "incomplete" if failed or reason in _CUT_SHORT else "completed"


def _next_steps(
    answered: Sequence[Utterance], reason: EndReason, tools: Sequence[ToolUse], *, spoke: bool
) -> tuple[str, ...]:
    done = {tool.name for tool in tools if tool.succeeded}
    steps = [
        f"See to what {tool.name} did not do: {tool.error or 'it failed'}" for tool in tools if tool.name not in done
    ]
    for turn in answered:
        steps += [
            f"Promised: {_short(found[0])}"
            for found in _PROMISE.finditer(turn.text)
            if not _IDLE_PROMISE.match(found[0])
        ]
    if reason in {EndReason.VOICEMAIL, EndReason.NO_ANSWER, EndReason.BUSY}:
        steps.append("Try again later")
    elif spoke and (reason in _CUT_SHORT or _OUTCOMES.get(reason) == "failed"):
        steps.append("Call back: the conversation was cut short")
    return tuple(dict.fromkeys(steps))[:_MOST_STEPS]


def _text(said: Sequence[Utterance], answered: Sequence[Utterance], reason: EndReason, tools: Sequence[ToolUse]) -> str:
    if not said:
        return f"No words of the caller were heard; {_REASONS[reason]}."
    parts = [f"The caller said: “{_short(said[0].text)}”."]
    if len(said) > 1:
        parts.append(f"{len(said)} turns of the caller and {len(answered)} of the agent followed one another.")
    if interruptions := sum(turn.interrupted for turn in answered):
        parts.append(f"The agent was interrupted {'once' if interruptions == 1 else f'{interruptions} times'}.")
    if done := tuple(dict.fromkeys(tool.name for tool in tools if tool.succeeded)):
        parts.append(f"Done: {', '.join(done)}.")
    if failed := tuple(dict.fromkeys(tool.name for tool in tools if not tool.succeeded and tool.name not in done)):
        parts.append(f"Failed: {', '.join(failed)}.")
    if answered:
        parts.append(f"The agent's last words: “{_short(answered[-1].text)}”.")
    parts.append(f"In the end {_REASONS[reason]}.")
    return " ".join(parts)


def _short(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= _QUOTED:
        return text
    return text[:_QUOTED].rsplit(" ", 1)[0] + " …"
