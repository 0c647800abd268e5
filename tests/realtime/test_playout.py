"""What is sent, and what of it was heard."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.realtime.playout import CHUNK, Playout, first_words
from invorto.speech.ports import Word

RATE = 8000


def tone(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    """Make audio whose every sample says where it is."""
    return np.arange(round(seconds * RATE), dtype=np.int16)


def loaded(*sentences: tuple[str, float], closed: bool = True, lead: float = 0.2) -> Playout:
    """Make a playout that holds *sentences* of so many seconds."""
    playout = Playout(RATE, lead)
    for text, seconds in sentences:
        playout.begin_sentence(text)
        playout.add(tone(seconds))
        playout.end_sentence()
    if closed:
        playout.close()
    return playout


def run(playout: Playout, now: float, until: float) -> list[tuple[float, int]]:
    """Send what is due until *until*; give when each piece went out and its samples."""
    sent: list[tuple[float, int]] = []
    while now <= until + 1e-6:
        while (piece := playout.take(now)) is not None:
            sent.append((round(now, 4), len(piece[0])))
        if playout.deadline <= now:
            break
        now = playout.deadline
    return sent


def test_goes_out_on_an_absolute_clock_and_never_far_ahead() -> None:
    """The lead at once, then a piece each tenth of a second, so that at most 200 ms are ahead of what plays."""
    playout = loaded(("One two three.", 0.5))
    assert run(playout, 10.0, 11.0) == [(10.0, 800), (10.0, 800), (10.1, 800), (10.2, 800), (10.3, 800)]
    assert not playout.finished(10.49)
    assert playout.finished(10.5)


def test_running_dry_moves_the_clock() -> None:
    """Audio that comes late plays when it comes, and what was heard counts from there."""
    playout = loaded(("One two.", 0.2), closed=False)
    run(playout, 0.0, 1.0)
    playout.begin_sentence("Three four.")
    playout.add(tone(0.2))
    assert run(playout, 5.0, 6.0) == [(5.0, 800), (5.0, 800)]
    assert playout.played(5.1) == 1600 + 800


@pytest.mark.parametrize(
    ("at", "heard"),
    [
        (0.0, ""),
        (0.55, "One"),
        (1.0, "One two"),
        (2.0, "One two three, four."),
        (2.6, "One two three, four. Five"),
        (9.0, "One two three, four. Five six."),
    ],
)
def test_heard_is_what_was_played(at: float, heard: str) -> None:
    """By proportion of a sentence's audio, whole words only, and whole sentences as they were written."""
    playout = loaded(("One two three, four.", 2.0), ("Five six.", 1.0))
    run(playout, 0.0, at)
    assert playout.heard(at) == heard


def test_word_times_are_believed() -> None:
    """Where the engine tells when each word is spoken, a word counts when half of it has been played."""
    playout = Playout(RATE, 0.2)
    playout.begin_sentence("Well, Bartholomew.")
    playout.add(tone(2.0), (Word("Well", 0.0, 0.2), Word("Bartholomew", 0.2, 2.0)))
    run(playout, 0.0, 1.0)
    assert playout.heard(1.05) == "Well,"
    run(playout, 1.0, 1.2)
    assert playout.heard(1.15) == "Well, Bartholomew."


def test_hush_takes_back_what_was_not_played() -> None:
    """After a hush nothing goes out, and going on begins where the far end stopped hearing."""
    playout = loaded(("One two three four.", 2.0))
    run(playout, 0.0, 1.0)
    assert playout.sent == 9600
    assert playout.hush(1.0) == 8000
    assert playout.take(1.5) is None
    assert playout.deadline == math.inf
    assert playout.heard(5.0) == "One two"
    playout.resume()
    piece = playout.take(7.0)
    assert piece is not None
    assert piece[0][0] == 8000
    assert playout.played(7.05) == 8400


def test_marks_hold_the_clock_back() -> None:
    """What the far end has not echoed has not been heard, until the echo is a second late."""
    playout = loaded(("One two.", 1.0), ("Three four.", 1.0))
    run(playout, 0.0, 0.9)
    playout.await_mark(0)
    assert playout.played(0.9) == 0
    playout.marked(0, 0.4)
    assert playout.heard_by == "marks"
    assert playout.played(0.9) == 4000
    playout.await_mark(8000)
    run(playout, 0.9, 2.0)
    assert playout.played(2.0) == 8000
    assert playout.played(2.5) > 8000


def test_marks_of_dropped_audio_do_not_count() -> None:
    """A mark that comes back after the clear says nothing."""
    playout = loaded(("One two.", 1.0))
    run(playout, 0.0, 0.3)
    playout.await_mark(0)
    playout.hush(0.3)
    playout.marked(0, 0.4)
    assert playout.heard_by == "timed"
    assert playout.heard(0.5) == ""


def test_a_hushed_turn_has_heard_what_it_had() -> None:
    """While hushed nothing more is heard, and nothing is finished, however long it takes."""
    playout = loaded(("One two.", 1.0))
    run(playout, 0.0, 0.4)
    playout.hush(0.4)
    assert playout.played(99.0) == 3200
    assert not playout.finished(99.0)
    assert playout.ahead == pytest.approx(0.6)


def test_text_is_all_of_it() -> None:
    """The turn's text is what was to be said, heard or not."""
    assert loaded(("One two. ", 1.0), ("Three.", 1.0)).text == "One two. Three."


def test_a_mark_that_comes_too_late_takes_nothing_back() -> None:
    """What was believed to be heard when the far end's echo did not come stays heard when it comes after all."""
    playout = loaded(("One two.", 1.0), ("Three four.", 1.0))
    run(playout, 0.0, 0.1)
    playout.await_mark(800)
    run(playout, 0.2, 2.0)
    believed = playout.played(1.8)
    assert believed == 14_400
    playout.marked(800, 1.8)
    assert playout.played(1.8) == believed
    assert playout.heard_by == "timed"


def test_audio_that_has_been_heard_is_let_go() -> None:
    """A sentence that has been played keeps its words and not its audio; one still being made keeps both."""
    playout = loaded(("One two.", 0.3), closed=False)
    playout.begin_sentence("Three four.")
    playout.add(tone(0.3))
    run(playout, 0.0, 0.9)
    playout.add(tone(0.3))
    run(playout, 1.0, 1.0)
    assert [len(sentence.chunks) for sentence in playout.sentences] == [0, 2]
    playout.end_sentence()
    playout.begin_sentence("Five.")
    run(playout, 1.0, 2.0)
    playout.add(tone(0.3))
    run(playout, 2.5, 2.5)
    assert [len(sentence.chunks) for sentence in playout.sentences] == [0, 0, 1]
    assert playout.heard(2.5) == "One two. Three four."


def test_a_sentence_that_broke_off_keeps_its_audio() -> None:
    """Only what is known to be complete is let go of: a voice that failed in mid-sentence has no end."""
    playout = Playout(RATE, 0.2)
    for text in ("One two.", "Three four."):
        playout.begin_sentence(text)
        playout.add(tone(0.3))
    run(playout, 0.0, 1.0)
    assert [len(sentence.chunks) for sentence in playout.sentences] == [1, 1]


def test_an_empty_turn_is_over_at_once() -> None:
    """A reply without audio does not keep the floor."""
    playout = Playout(RATE, 0.2)
    playout.close()
    assert playout.finished(0.0)


def test_long_turns_do_not_pile_up() -> None:
    """Audio of sentences that were played is let go of."""
    playout = loaded(*((f"Sentence {n}.", 1.0) for n in range(20)))
    run(playout, 0.0, 19.0)
    assert sum(len(chunk) for sentence in playout.sentences for chunk in sentence.chunks) <= 3 * RATE


@given(st.text(), st.integers(0, 40))
def test_first_words_are_a_prefix(text: str, count: int) -> None:
    """However many words are asked for, they are the first ones of the text."""
    kept = first_words(text, count)
    assert " ".join(text.split()).startswith(kept)


@given(
    pieces=st.lists(st.integers(1, 4000), min_size=1, max_size=12),
    steps=st.lists(st.tuples(st.floats(0, 0.4), st.booleans()), max_size=40),
)
def test_every_sample_is_sent_once_and_in_order(pieces: list[int], steps: list[tuple[float, bool]]) -> None:
    """Whatever the pieces and however often it is hushed, what plays is the audio, whole and in order."""
    playout = Playout(RATE, 0.2)
    playout.begin_sentence("Whatever.")
    start = 0
    for size in pieces:
        playout.add(np.arange(start, start + size).astype(np.int16))
        start += size
    playout.end_sentence()
    playout.close()
    now, expected = 0.0, 0
    for wait, hush in [*steps, (100.0, False)]:
        until = now + wait
        while now <= until + 1e-6:
            while (piece := playout.take(now)) is not None:
                assert piece[0][0] == np.int16(np.array(expected).astype(np.int16))
                assert len(piece[0]) <= CHUNK * RATE
                expected += len(piece[0])
                assert expected - playout.played(now) <= 0.2 * RATE + 1
            if playout.deadline <= now:
                break
            now = playout.deadline
        now = until
        if hush:
            expected = playout.hush(now)
            playout.resume()
    assert expected == start
    assert playout.finished(now)
