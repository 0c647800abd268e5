"""What is expected to be answered, and what a tool brings late: both are rules of the floor."""

from __future__ import annotations

from invorto.model.call import EndReason
from invorto.realtime.turns import (
    AudioBegan,
    Cancel,
    Floor,
    Interject,
    Leave,
    Listen,
    News,
    PlayedOut,
    Reply,
)
from invorto.speech.ports import Final, Partial, SpeechBegan, SpeechPaused
from tests.realtime.test_turns import answering, play, taker


def test_what_is_expected_to_be_answered() -> None:
    """Nothing while the caller speaks or words are owed; then all that was said, until it is answered or goes on."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.5, Partial("I want"))])
    assert turns.expected is None
    play(turns, [(2.0, SpeechPaused(2.0))])
    assert turns.expected is None
    play(turns, [(2.05, Final("I want a table"))])
    assert turns.expected == "I want a table"
    play(turns, [(2.1, SpeechBegan(2.1))])
    assert turns.expected is None
    play(turns, [(2.5, SpeechPaused(2.5)), (2.6, Final("for two."))])
    assert turns.expected == "I want a table for two."
    assert play(turns, [(4.0, None)])[0][1] == Reply(0, "I want a table for two.")
    assert turns.expected is None


def test_where_the_agent_leaves_nothing_is_expected() -> None:
    """Its goodbye is all that it says."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (2.0, SpeechPaused(2.0)), (2.1, Final("Goodbye"))])
    turns.step(Leave(EndReason.API), 2.15)
    assert turns.expected is None


def test_news_is_told_when_nobody_has_the_floor() -> None:
    """At once where the floor is open; else after the agent's turn; the caller's own question tells it too."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    assert play(turns, [(1.0, News())]) == [(1.0, Reply(0, ""))]
    play(turns, [(1.2, AudioBegan(0))])
    assert play(turns, [(1.5, News())]) == []
    assert play(turns, [(2.0, PlayedOut(0))]) == [(2.0, Reply(1, ""))]
    play(turns, [(2.2, AudioBegan(1)), (3.0, PlayedOut(1))])
    assert turns.floor is Floor.OPEN


def test_news_waits_for_the_caller() -> None:
    """What the caller says is answered with the news in mind, once."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.5, News())])
    acts = play(turns, [(2.0, SpeechPaused(2.0)), (2.1, Final("And then what happened?")), (4.0, None)])
    assert [act for _, act in acts] == [Reply(0, "And then what happened?")]
    assert play(turns, [(4.2, AudioBegan(0)), (5.0, PlayedOut(0))]) == []


def test_news_after_what_waits_to_be_said() -> None:
    """A text that somebody wants said comes first; it is counted while it waits."""
    turns = answering(taker())
    play(turns, [(3.1, Interject("One moment.")), (3.2, News())])
    assert turns.waiting == 1
    (said,) = play(turns, [(4.0, PlayedOut(0))])
    assert not isinstance(said[1], Reply | Cancel)
    assert turns.waiting == 0
    play(turns, [(4.2, AudioBegan(1))])
    assert play(turns, [(5.0, PlayedOut(1))]) == [(5.0, Reply(2, ""))]
