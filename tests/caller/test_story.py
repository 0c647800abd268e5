"""What a spectator reads of a call."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from invorto.caller.screen import open_screen
from invorto.caller.story import Line, Story, plain, quickness

METRICS = {
    "t": "turn.metrics", "turn": 1, "eouMs": 300.4, "sttMs": 180.0, "llmFirstTokenMs": 20.0, "ttsFirstChunkMs": 130.0,
    "voiceToVoiceMs": 450.0,
}  # fmt: skip


def told(*events: dict[str, Any]) -> list[Line]:
    story = Story()
    return [line for at, event in enumerate(events) for line in story.take(float(at), event)]


def test_both_sides_are_told_with_their_times() -> None:
    """The caller's words as they were understood, the agent's as they were heard, at when they began."""
    lines = told(
        {"t": "connected", "callId": "c", "agentId": "a"},
        {"t": "stt.partial", "text": "I want"},
        {"t": "stt.final", "text": "I want a table."},
        METRICS,
        {"t": "tts.mark", "turn": 1, "text": "Of course. "},
        {"t": "tts.mark", "turn": 1, "text": "For when?"},
        {"t": "tts.done", "turn": 1, "heard": "Of course. For when?", "interrupted": False},
        {"t": "end", "reason": "agent"},
    )
    assert lines == [
        Line(0, "note", "call c to agent a"),
        Line(2, "caller", "I want a table."),
        Line(4, "agent", "Of course. For when?"),
        Line(4, "note", "answered in 450 ms: end of turn 300 (words 180), thought 20, voice 130"),
        Line(7, "note", "the call is over: agent"),
    ]


def test_an_interruption_shows_what_was_not_heard() -> None:
    """The turn is cut to what was heard; the rest stands beside it."""
    lines = told(
        {"t": "tts.mark", "turn": 3, "text": "We are open every day."},
        {"t": "control.bargein", "turn": 3, "playedMs": 700, "action": "stop-tts"},
        {"t": "tts.done", "turn": 3, "heard": "We are", "interrupted": True},
    )
    assert lines[0].text == "✂ the caller breaks in: the agent stops after 0.7 s of its turn"
    assert lines[1] == Line(0, "agent", "We are", "open every day.")


def test_an_answer_that_nobody_heard_is_not_told() -> None:
    """What was cancelled before its first sound was never said."""
    assert told({"t": "tts.done", "turn": 3, "heard": "", "interrupted": True}) == []


def test_tools_errors_and_false_interruptions_are_told() -> None:
    """Everything that a spectator would wonder about has a line; what is new to us has none."""
    lines = told(
        {"t": "tool.call", "id": "1-1", "name": "book", "args": {"day": "today", "people": 2}},
        {"t": "control.resume", "turn": 1, "fromMs": 3},
        {"t": "error", "code": "provider_failed", "message": "the stt engine failed"},
        {"t": "from.the.future"},
    )
    assert [line.text for line in lines] == [
        "⚙ the agent asks for book(day='today', people=2)",
        "that was no interruption: the agent goes on",
        "error provider_failed: the stt engine failed",
    ]


def test_what_did_not_happen_is_a_dash() -> None:
    """A turn without a first token, such as a goodbye by phrase, still has its line."""
    bare = {**METRICS, "llmFirstTokenMs": None, "sttMs": None}
    assert quickness(bare) == "answered in 450 ms: end of turn 300, thought –, voice 130"


def test_nothing_that_is_said_reaches_the_terminal_as_a_command() -> None:
    """A transcript may hold whatever a server sends: escapes are blanks."""
    assert plain("a\x1b[2Jb\nc\u202ed") == "a [2Jb c d"


def show(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=60, color_system=None if not terminal else "standard")
    with open_screen(console) as screen:
        screen.take(0.5, {"t": "tts.mark", "turn": 0, "text": "Hello there."})
        screen.take(1.0, {"t": "stt.partial", "text": "I [bold]want"})
        screen.take(2.0, {"t": "tts.done", "turn": 0, "heard": "Hello", "interrupted": True})
        screen.take(3.0, {"t": "stt.final", "text": "I [bold]want it."})
        screen.note(4.0, "and so on")
    return out.getvalue()


def test_elsewhere_than_in_a_terminal_lines_are_plain() -> None:
    """A file or a pipe gets one line for each thing, no colours, no partial words."""
    assert show(terminal=False).splitlines() == [
        "   0.5  agent   Hello [not heard: there.]",
        "   3.0  caller  I [bold]want it.",
        "   4.0          and so on",
    ]


@pytest.mark.parametrize("text", ["I [bold]want …", "Hello there. …", "I [bold]want it.", "and so on"])
def test_in_a_terminal_partial_words_stand_in_place(text: str) -> None:
    """What is being said is shown, and replaced; brackets are brackets."""
    assert text in show(terminal=True)
