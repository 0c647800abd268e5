"""What seldom happens to the floor: pauses in a hush, backchannels that pile up, words that come late."""

from __future__ import annotations

from invorto.model.agent import Endpointing
from invorto.realtime.turns import AudioBegan, Cancel, Held, Hush, Listen, PlayedOut, Reply, Resume, Typed
from invorto.speech.ports import Final, Partial, SpeechBegan, SpeechPaused
from tests.realtime.test_turns import answering, play, said, taker


def test_a_pause_in_a_hush_goes_on_with_the_agent() -> None:
    """Who pauses while the agent is hushed hears the rest of its answer afterwards."""
    turns = answering(taker())
    assert play(turns, [(3.0, SpeechBegan(3.0)), (3.1, Held(on=True)), (9.0, Held(on=False))]) == [
        (3.0, Hush(0)),
        (9.0, Resume(0)),
    ]
    assert play(turns, [(10.0, PlayedOut(0))]) == []


def test_the_detector_s_pause_after_a_hold_owes_no_words() -> None:
    """What the detector says late of speech that a pause has cut already is not waited for a second time."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.5, Held(on=True)), (1.6, Final("I want a table."))])
    acts = play(turns, [(3.0, Held(on=False)), (3.1, SpeechPaused(3.0)), (4.0, None)])
    assert acts == [(3.165, Reply(0, "I want a table."))]


def test_backchannels_do_not_pile_up() -> None:
    """What did not take the floor before is no part of what takes it now."""
    turns = answering(taker())
    assert said(turns, "Okay.", 3.0, 3.2) == [(3.0, Hush(0)), (3.3, Resume(0))]
    assert said(turns, "I want a table.", 4.0, 5.0) == [(4.0, Hush(0)), (5.1, Cancel(0))]
    assert play(turns, [(6.0, None)]) == [(5.165, Reply(1, "I want a table."))]


def test_a_hush_lasts_until_the_last_word_is_known() -> None:
    """A backchannel at first does not release the agent while the transcript of the rest is owed."""
    turns = answering(taker())
    script = [
        (3.0, SpeechBegan(3.0)),
        (3.2, SpeechPaused(3.1)),
        (3.3, Partial("Okay")),
        (3.4, Final("Okay, but stop.")),
    ]
    assert play(turns, script) == [(3.0, Hush(0)), (3.4, Cancel(0))]


def test_late_words_are_heard_before_the_silence_ends_the_call() -> None:
    """Whoever speaks in the last second of the silence is waited for until the transcript is there."""
    turns = taker()
    play(turns, [(0.0, Listen()), (12.0, None), (12.5, AudioBegan(0)), (14.0, PlayedOut(0))])
    acts = said(turns, "I want a table.", 59.0, 61.0)
    assert (*acts, *play(turns, [(62.0, None)])) == ((61.165, Reply(1, "I want a table.")),)


def test_only_the_client_says_when_its_turn_ends() -> None:
    """Where the client says when a turn ends, a transcript that does not come ends it neither."""
    turns = taker(endpointing=Endpointing(provider="off"))
    script = [
        (0.0, Listen()),
        (1.0, SpeechBegan(1.0)),
        (1.5, Partial("I want")),
        (2.1, SpeechPaused(2.0)),
        (30.0, None),
    ]
    assert play(turns, script) == []
    assert play(turns, [(31.0, Typed(""))]) == [(31.0, Reply(0, "I want"))]
