"""How much of what was said was understood."""

from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.demo.words import plain, said_within, word_errors

TEXTS = st.lists(st.sampled_from(["had", "he", "married", "woman", "was"]), min_size=1, max_size=8).map(" ".join)


@pytest.mark.parametrize(
    ("said", "heard", "rate"),
    [
        ("one two three four", "one two three four", 0), ("one two three four", "One, two; three - four.", 0),
        ("one two three four", "one too three four", 0.25), ("one two three four", "one two", 0.5),
        ("one two", "one two three", 0.5), ("one two", "", 1), ("", "", 0), ("", "one", 1),
        ("ill disposed", "ill-disposed", 0), ("see you tomorrow", "see you to-morrow", 0), ("goodbye", "good-bye", 0),
        ("that's all", "that’s all", 0),
    ],
)  # fmt: skip
def test_word_errors(said: str, heard: str, rate: float) -> None:
    """Words changed, left out or added, by the words said; signs, case and spelling do not count."""
    assert word_errors(said, heard) == rate


@given(TEXTS, TEXTS)
def test_the_rate_is_the_one_that_everybody_means(said: str, heard: str) -> None:
    """It agrees with the library that the field uses."""
    assert word_errors(said, heard) == pytest.approx(jiwer.wer(said, heard))


def test_what_is_said_within_something() -> None:
    """Words in a row, wherever they stand; nothing is not within anything."""
    assert said_within("4 7 1 2", "Its number is 4 7 1 2. Is there anything else?")
    assert said_within("Is that right?", "and Anna. Is that right?")
    assert not said_within("4 7 1 2", "Its number is 4 7 2 1.")
    assert not said_within("", "anything")
    assert plain("") == []
