"""What the agent is told to say from outside: when it is said, and what it gives way to."""

from __future__ import annotations

from invorto.model.call import EndReason
from invorto.realtime.turns import (
    AudioBegan,
    Cancel,
    Final,
    Floor,
    Held,
    Hush,
    Interject,
    Leave,
    Listen,
    Partial,
    PlayedOut,
    Recite,
    Reply,
    SpeechBegan,
    SpeechPaused,
)
from tests.realtime.test_turns import answering, play, taker


def test_said_at_once_while_nobody_speaks() -> None:
    """While nobody has the floor it is said at once, and what comes after it in its turn."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    assert play(turns, [(1.0, Interject("One.")), (1.1, Interject("Two."))]) == [(1.0, Recite(0, "One."))]
    assert turns.waiting == 1
    assert play(turns, [(1.5, AudioBegan(0)), (2.0, PlayedOut(0))]) == [(2.0, Recite(1, "Two."))]
    assert play(turns, [(3.0, PlayedOut(1))]) == []
    assert turns.floor is Floor.OPEN


def test_the_caller_is_heard_and_answered_first() -> None:
    """It never talks into the caller: the words are awaited and answered, then it is said."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0))])
    assert play(turns, [(1.2, Interject("By the way."))]) == []
    said = play(turns, [(1.4, Partial("I want a table")), (2.0, SpeechPaused(2.0)), (2.1, Final("I want a table."))])
    said += play(turns, [(4.0, None)])
    assert [act for _, act in said] == [Reply(0, "I want a table.")]
    assert play(turns, [(5.0, AudioBegan(0)), (6.0, PlayedOut(0))]) == [(6.0, Recite(1, "By the way."))]


def test_said_after_a_noise() -> None:
    """A caller who only made a noise is not answered, and it is said when that is known."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.2, Interject("Hello?"))])
    said = play(turns, [(1.3, SpeechPaused(1.3)), (1.4, Final("")), (3.0, None)])
    assert [act for _, act in said] == [Recite(0, "Hello?")]


def test_an_urgent_one_ends_what_is_being_said() -> None:
    """It takes the place of the agent's turn, hushed or not yet heard, and goes before what waits."""
    turns = answering(taker())
    play(turns, [(3.0, Interject("Later.")), (3.1, AudioBegan(0))])
    assert play(turns, [(3.5, Interject("Now!", urgent=True))]) == [
        (3.5, Hush(0)), (3.5, Cancel(0)), (3.5, Recite(1, "Now!")),
    ]  # fmt: skip
    assert play(turns, [(5.0, PlayedOut(1))]) == [(5.0, Recite(2, "Later."))]


def test_nothing_is_said_while_held_or_leaving() -> None:
    """A conversation that is held says it when it goes on; one that is ending never does."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, Held(on=True))])
    assert play(turns, [(2.0, Interject("Back again.", urgent=True))]) == []
    assert play(turns, [(9.0, Held(on=False))]) == [(9.0, Recite(0, "Back again."))]
    play(turns, [(10.0, Leave(EndReason.API))])
    assert play(turns, [(10.1, Interject("No."))]) == []
    assert turns.waiting == 0


def test_it_may_be_made_to_be_heard_out() -> None:
    """One that may not be interrupted is played to its end, whatever the caller says."""
    turns = taker()
    play(
        turns, [(0.0, Listen()), (1.0, Interject("This call is recorded.", interruptible=False)), (1.1, AudioBegan(0))]
    )
    assert play(turns, [(2.0, SpeechBegan(2.0)), (2.5, Partial("stop, I want"))]) == []
