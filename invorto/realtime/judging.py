"""What is made of a call by rules, for when no model does: disposition, success, data from slots and tools; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast, get_args

from invorto.model.agent import SummarySettings
from invorto.model.json_schema import faults
from invorto.model.record import Summary, Utterance
from invorto.realtime.summary import ToolUse

type Disposition = Literal[
    "resolved", "unresolved", "follow_up", "callback", "transferred", "not_interested", "wrong_number", "do_not_call",
    "voicemail", "no_answer", "busy", "no_conversation", "declined", "canceled", "failed",
]  # fmt: skip
DISPOSITIONS: Final[tuple[Disposition, ...]] = get_args(Disposition.__value__)

_BY_OUTCOME: Final[Mapping[str, Disposition]] = {
    "completed": "resolved", "incomplete": "unresolved", "no_conversation": "no_conversation",
    "transferred": "transferred", "declined": "declined", "voicemail": "voicemail", "canceled": "canceled",
    "rejected": "no_answer", "no_answer": "no_answer", "busy": "busy", "failed": "failed",
}  # fmt: skip
_BY_WORDS: Final[Sequence[tuple[Disposition, str]]] = (
    ("do_not_call", r"\b(?:do not|don't|never|stop) (?:ever )?call(?:ing)? (?:me|us|this|here|again)"),
    ("do_not_call", r"\b(?:take (?:me|my number) off|remove (?:me|my number))\b|phir se call mat"),
    ("wrong_number", r"\bwrong (?:number|person)\b|\bno (?:one|body) (?:here )?(?:by|of) that name\b|galat number"),
    ("callback", r"\bcall (?:me |us )?(?:back|later|again|to-?morrow|in the (?:morning|evening|afternoon))\b"),
    ("callback", r"\b(?:not a good time|i am driving|i'm driving|busy (?:just|right) now)\b|baad mein call"),
    ("not_interested", r"\bnot interested\b|\bdon't (?:need|want) (?:it|any|this)\b|nahi chahiye"),
    ("not_interested", r"\bno,? (?:thank you|thanks),? (?:i am|i'm|we are|we're) (?:fine|good)\b"),
)
"""What callers say that decides, the gravest first."""
_KEPT: Final = frozenset({"resolved", "unresolved"})


def judge(
    summary: Summary,
    settings: SummarySettings,
    transcript: Sequence[Utterance],
    tools: Sequence[ToolUse] = (),
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """
    Judge a call by its *summary*, what was said, what tools did, and what slots are *known* in the end.

    ``success`` is as the agent's rubric wants it: a bool, 1 to 10, or a sentence; ``data`` holds what of its schema
    is known and fits, and ``complete`` whether that is all that the schema requires.
    """
    analysis: dict[str, Any] = {"by": "rules", "disposition": disposition(summary, transcript)}
    if settings.rubric is not None:
        analysis["success"] = _success(settings.rubric, summary, tools)
    if settings.schema is not None:
        analysis["data"] = gather(settings.schema, tools, known or {})
        analysis["complete"] = not faults(analysis["data"], settings.schema)
    return analysis


def disposition(summary: Summary, transcript: Sequence[Utterance]) -> Disposition:
    """Name what became of the caller's matter."""
    usual = _BY_OUTCOME.get(summary.outcome, "unresolved")
    if usual not in _KEPT:
        return usual
    said = " ".join(one.text.replace("’", "'") for one in transcript if one.role == "user")
    for found, pattern in _BY_WORDS:
        if re.search(pattern, said, re.IGNORECASE):
            return found
    return "follow_up" if usual == "resolved" and summary.next_steps else usual


def _success(rubric: str, summary: Summary, tools: Sequence[ToolUse]) -> bool | int | str:
    done = {tool.name for tool in tools if tool.succeeded}
    failed = {tool.name for tool in tools if not tool.succeeded} - done
    passed = summary.outcome in {"completed", "transferred"} and not failed
    if rubric == "PassFail":
        return passed
    if rubric == "NumericScale":
        score = 8 if passed else 4 if summary.outcome in {"completed", "transferred", "incomplete"} else 1
        return max(1, min(10, score + min(len(done), 2) - 2 * len(failed) - min(len(summary.next_steps), 1)))
    state = "The call did what it was for" if passed else "The call did not do what it was for"
    return f"{state}: it is {summary.outcome.replace('_', ' ')}, and {summary.reason}."


def gather(schema: Mapping[str, Any], tools: Sequence[ToolUse], known: Mapping[str, Any]) -> dict[str, Any]:
    """Take from slots and the tools' arguments, the latest first, what fits the schema's properties by name."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    sources: list[Mapping[str, Any]] = [known, *(tool.args for tool in reversed(tools))]
    plain = [{_plain(name): value for name, value in source.items()} for source in sources]
    data: dict[str, Any] = {}
    for name, wanted in cast("Mapping[str, Any]", properties).items():
        for source in plain:
            value = _as(source.get(_plain(name)), wanted)
            if value is not None and not faults(value, wanted if isinstance(wanted, Mapping) else {}):
                data[name] = value
                break
    return data


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _as(value: Any, wanted: Any) -> Any:
    """Make of a text the number or the truth that is wanted; what cannot be made is left as it is."""
    kind = cast("Mapping[str, Any]", wanted).get("type") if isinstance(wanted, Mapping) else None
    if not isinstance(value, str):
        return value
    try:
        match kind:
            case "integer":
                return int(value)
            case "number":
                return float(value)
            case "boolean":
                return {"yes": True, "true": True, "no": False, "false": False}.get(value.strip().lower(), value)
            case _:
                return value
    except ValueError:
        return value
