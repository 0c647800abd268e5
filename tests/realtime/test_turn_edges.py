"""Turns at their edges: what is said around a pause, a hush and the end of patience."""

from __future__ import annotations

from invorto.model.agent import Endpointing, Silence
from invorto.realtime.turns import AudioBegan, Cancel, Held, Hush, Listen, PlayedOut, Reply, Resume, Speak, Typed
from invorto.speech.ports import Final, Partial, SpeechBegan, SpeechPaused
from tests.realtime.test_turns import answering, play, said, taker


def test_typed_while_an_open_floor_is_held_waits() -> None:
    """The same between two turns, even where only the client says when a turn ends."""
    turns = taker(endpointing=Endpointing(provider="off"))
    assert play(turns, [(0.0, Listen()), (1.0, Held(on=True)), (1.5, Typed("hello there")), (3.0, None)]) == []
    assert play(turns, [(4.0, Held(on=False))]) == [(4.0, Reply(0, "hello there"))]


def test_typed_while_a_consent_prompt_is_held_waits_for_its_end() -> None:
    """What may not be interrupted goes on after a pause, and what was typed then answers it."""
    turns = taker()
    play(turns, [(0.0, Speak(interruptible=False)), (0.1, AudioBegan(0)), (1.0, Held(on=True))])
    assert play(turns, [(2.0, Typed("yes"))]) == []
    assert play(turns, [(3.0, Held(on=False))]) == [(3.0, Resume(0))]
    assert play(turns, [(5.0, PlayedOut(0)), (6.0, None)]) == [(5.0, Reply(1, "yes"))]


def test_words_that_arrive_while_held_take_the_floor() -> None:
    """Who broke in just before the pause, and whose words are known only in it, is answered when it goes on."""
    turns = answering(taker())
    acts = play(turns, [(3.0, SpeechBegan(2.9)), (3.1, Held(on=True)), (3.2, Final("Stop, I want to book."))])
    assert acts == [(3.0, Hush(0)), (3.2, Cancel(0))]
    assert play(turns, [(5.0, Held(on=False)), (6.0, None)]) == [(5.165, Reply(1, "Stop, I want to book."))]


def test_a_backchannel_before_a_pause_takes_nothing() -> None:
    """Hushed for a sound, then paused: the agent goes on where it was."""
    turns = answering(taker())
    acts = play(turns, [(3.0, SpeechBegan(2.9)), (3.1, Held(on=True)), (3.2, Final("mm-hm")), (5.0, Held(on=False))])
    assert acts == [(3.0, Hush(0)), (5.0, Resume(0))]


def test_a_pause_of_nobody_owes_no_words() -> None:
    """The detector may tell of a silence that a pause has told of already: no transcript is waited for."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.5, Partial("A table for two.")), (2.0, Held(on=True))])
    acts = play(turns, [(3.0, Held(on=False)), (3.1, SpeechPaused(3.1)), (5.0, None)])
    assert acts == [(3.265, Reply(0, "A table for two."))]


def test_a_released_backchannel_is_no_part_of_what_comes_next() -> None:
    """What did not count the first time is not put before the words that do the second time."""
    turns = answering(taker())
    said(turns, "mm-hm", 3.0, 3.2)
    play(turns, [(4.0, SpeechBegan(4.0)), (4.3, Partial("Stop"))])
    play(turns, [(5.0, SpeechPaused(4.9)), (5.1, Final("Stop, I want to book."))])
    assert play(turns, [(6.0, None)])[-1][1] == Reply(1, "Stop, I want to book.")


def test_a_hush_is_not_released_before_the_last_words() -> None:
    """A partial that does not count yet is no verdict while the final one is on its way."""
    turns = answering(taker())
    play(turns, [(3.0, SpeechBegan(2.95)), (3.2, SpeechPaused(3.15))])
    assert play(turns, [(3.25, Partial("okay"))]) == []
    assert play(turns, [(3.3, Final("Okay, stop now."))]) == [(3.3, Cancel(0))]


def test_off_does_not_give_a_late_transcript_up_for_the_client() -> None:
    """With the provider `off` a transcript that never comes does not end the caller's turn either."""
    turns = taker(endpointing=Endpointing(provider="off"))
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.5, Partial("I want")), (2.1, SpeechPaused(2.0))])
    assert play(turns, [(20.0, None)]) == []


def test_silence_is_not_given_up_while_words_are_awaited() -> None:
    """Who has just spoken when the silence is over is heard out before anybody says goodbye."""
    turns = taker(silence=Silence(nudge_after=500, hang_up_after=60))
    acts = play(turns, [(0.0, Listen()), (58.0, SpeechBegan(58.0)), (59.9, SpeechPaused(59.8)), (61.0, None)])
    assert acts == []
    assert play(turns, [(61.0, Final("I am here.")), (62.0, None)]) == [(61.0, Reply(0, "I am here."))]
