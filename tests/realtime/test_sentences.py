"""Sentences: cut early, in the right places, and the same however the text streams in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.realtime.sentences import FIRST_LEAST, FIRST_MOST, MOST, NO_WORD, SentenceCutter


def cut(text: str) -> list[str]:
    """Cut a whole text."""
    cutter = SentenceCutter()
    return [*cutter.push(text), *cutter.flush()]


CASES = [
    # what ends a sentence, by case; "|" stands where it is cut
    "Hello there. |How are you? |I am fine! |And you?",
    "Really?! |Yes... |No way!! |Fine.",
    'She said "Stop." |Then (quietly.) |Then **loudly.** |Then left.',
    "hello there. |how are you",
    # what does not
    "Dr. Rao and Mrs. Iyer vs. Mr. Das met Prof. Sen.",
    "Meet Shri. Kumar, Smt. Devi and डॉ. शर्मा today.",
    "It costs ₹1,00,000.50 or Rs. 500 or Rs. ₹20 now.",
    "Pay 500 Rs. |Then come.",
    "Pi is 3.14159, v2.0.1 is out e.g. today i.e. now.",
    "Mail a.b@example.co.in or see https://www.example.com/a.b?c=d.e for more. |Thanks!",
    "Visit example.com. |Thanks!",
    "At 5 p.m. today. |At 6 a.m. |Then we open.",
    "Is Acme Pvt. Ltd. here? |Or Acme Inc. too, etc. and so on.",
    "Apples, pears etc. |We have them all.",
    "A. P. J. Abdul Kalam and J.R.D. Tata met.",
    "So do I. |Then we go.",
    "No. |I can't. |No. 5 is free. |See fig. 2 there.",
    "In the U.S. |We live in the U.K. today.",
    "Wait... what? |Wait… |What?",
    "1. Apples\n|2. Pears\n|- Plums\n\n|Done.",
    # other scripts
    "नमस्ते। |आप कैसे हैं? |ठीक है।|चलो॥ |अच्छा।",
    "你好。|再见！|好",  # noqa: RUF001 - full stops of another script
    # nothing to speak is not a piece of its own
    "... Hello. |:-) Bye.",
    " \n Hello. |Bye. ",
]


@pytest.mark.parametrize("text", CASES, ids=range(len(CASES)))
def test_sentences_end_where_people_end_them(text):
    """Each kind of full stop, abbreviation, number, address and script is cut as a reader would."""
    assert cut(text.replace("|", "")) == text.split("|")


def test_the_first_piece_may_be_a_clause():
    """Speech begins after the first clause; later sentences are left whole."""
    text = "Sure, I can help you with that booking, and then, when it is done, I call. But then, later on, again, I go."
    assert cut(text) == [
        "Sure, I can help you with that booking, ",
        "and then, when it is done, I call. ",
        "But then, later on, again, I go.",
    ]
    assert len(cut(text)[0]) >= FIRST_LEAST


def test_long_sentences_are_cut_between_words():
    """Text without a full stop is spoken in pieces of bounded length, at a comma where there is one, in no word."""
    pieces = cut("word " * 200)
    assert len(pieces[0]) <= FIRST_MOST
    assert all(len(piece) <= MOST for piece in pieces)
    assert all(piece.split() == ["word"] * (len(piece) // 5) for piece in pieces)
    later = cut("Yes. " + "clause word" * 12 + ", " + "word " * 60)
    assert later[1] == "clause word" * 12 + ", "


def test_what_is_no_word_is_bounded():
    """Ten thousand characters without a space do not pile up."""
    assert [len(piece) for piece in cut("x" * 10_000)][:-1] == [NO_WORD] * 9


def test_a_sentence_comes_out_as_soon_as_it_is_sure():
    """A sentence is given with the first letter of the next, and not kept for more."""
    cutter = SentenceCutter()
    assert cutter.push("Hello there.") == []
    assert cutter.push(" ") == []
    assert cutter.push("H") == ["Hello there. "]
    assert cutter.flush() == ["H"]


def test_after_flush_a_new_text_begins():
    """A cutter that was flushed holds nothing of before, its first clause may be short again."""
    cutter = SentenceCutter()
    cutter.push("One. Two")
    assert cutter.flush() == ["Two"]
    assert cutter.flush() == []
    assert cutter.push("This is a first clause here, and more") == ["This is a first clause here, "]


PIECES = st.sampled_from([
    "Hello", "dr", "Dr", ".", ". ", "..", "…", "! ", "?", " ", "  ", "\n", ",", ", ", "5", "₹", "1,000.50", "a.b@c.de",
    "p.m", "No", "I", "A", "।", "॥ ", "है", "”", '"', ")", "*", "-", "e.g", "etc", "—", "word word word word", "é",
    "\u00a0", "。", "x" * 40,
])  # fmt: skip


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=200), st.data())
def test_any_split_gives_the_same_sentences(text, data):
    """However the text streams in, the sentences are the same, and joined they are the text."""
    whole = cut(text)
    assert "".join(whole) == text
    assert all(whole)
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    cutter, pieces = SentenceCutter(), []
    for begin, end in zip([0, *places], [*places, len(text)], strict=True):
        pieces += cutter.push(text[begin:end])
    assert [*pieces, *cutter.flush()] == whole
    cutter = SentenceCutter()
    assert [piece for char in text for piece in cutter.push(char)] + cutter.flush() == whole


@given(
    st.lists(st.sampled_from(["hello", "Dr.", "3.5", "a@b.co", "No.", "etc.", "end.", "x,", "why?", "है।"]), max_size=80)
)
def test_no_word_is_split(words):
    """A cut always falls between words."""
    for piece in cut(" ".join(words))[:-1]:
        assert piece.endswith(" ")
