"""How long a pause must be before the caller has finished."""

from __future__ import annotations

import math
from typing import Any

import pytest

from invorto.errors import Invalid
from invorto.model.agent import Endpointing
from invorto.realtime.endpointing import (
    ASKED,
    COMPLETE,
    DICTATING,
    FEW_WORDS,
    HESITATING,
    UNSURE,
    patience,
    says_one_of,
    wait_function,
)  # fmt: skip

RULES = Endpointing()
PAUSE = RULES.silence_ms / 1000


def waits(text: str, rules: Endpointing = RULES, **more: Any) -> float:
    """Give the pause after *text*."""
    return patience(rules, text, wait=wait_function(rules.wait_function), **more)


@pytest.mark.parametrize(
    ("text", "more", "pause"),
    [
        ("I want a table", {}, PAUSE),
        ("I want a table.", {}, PAUSE * COMPLETE),
        ("Table", {}, PAUSE + FEW_WORDS),
        ("Table", {"asked": True}, PAUSE + FEW_WORDS + ASKED),
        ("my number is one two", {}, PAUSE + DICTATING),
        ("my number is 4711 0815", {}, PAUSE + DICTATING),
        ("I want a table and", {}, PAUSE + HESITATING),
        ("Well, I...", {}, PAUSE + HESITATING),
        ("I want a table", {"goes_on": 0.9}, PAUSE + UNSURE),
        ("I want a table", {"goes_on": 0.1}, PAUSE * COMPLETE),
        ("I want a table", {"goes_on": 0.5}, PAUSE),
    ],
)
def test_a_pause_ends_a_turn(text: str, more: dict[str, Any], pause: float) -> None:
    """A complete sentence shortens it; a word alone, digits, a hesitation, and a doubtful tone lengthen it."""
    assert waits(text, **more) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("text", "more", "pause"),
    [("I want a table", {}, 4.2), ("I want a table.", {}, 1.0), (" ", {}, 4.2), ("I want", {"goes_on": 1.0}, 8.2)],
)
def test_a_wait_function_of_the_probability(text: str, more: dict[str, Any], pause: float) -> None:
    """Where it is asked for, the wait is the function's, in milliseconds, at the probability that somebody goes on."""
    assert waits(text, Endpointing(provider="livekit"), **more) == pytest.approx(pause)


def test_a_client_may_say_when_a_turn_ends() -> None:
    """Then no pause does."""
    assert waits("I want a table.", Endpointing(provider="off")) == math.inf


@pytest.mark.parametrize(
    ("text", "x", "value"),
    [
        ("200 + 8000 * x", 0.5, 4200), ("-x + +2 ** 3 / 4 - 1", 0.5, 0.5), ("max(1, min(x, 2), abs(-3))", 0.1, 3),
        ("sqrt(16) + exp(0) + log(1)", 0.0, 5), ("1 / x", 0.0, math.inf), ("10 ** (400 * x)", 1.0, math.inf),
        ("log(x)", 0.0, math.inf), ("(0 - x) ** 0.5", 0.0, 0.0), ("exp(1000 * x)", 1.0, math.inf),
        ("1e308 * 10 * x", 1.0, math.inf),
    ],
)  # fmt: skip
def test_arithmetic_is_computed(text: str, x: float, value: float) -> None:
    """Numbers, x, operators and a few functions; where it has no value the wait is without end."""
    if text == "(0 - x) ** 0.5":
        with pytest.raises(Invalid, match="real"):
            wait_function(text)
        return
    assert wait_function(text)(x) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "x +", "import os", "__import__('os')", "x.real", "True", "'a'", "y", "x if x else 1", "[x]", "lambda: 1",
        "max()", "max(x, key=abs)", "open(1)", "x @ x", "not x", "1" + " + 1" * 200, "(" * 300, "x\0",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """Nothing of it is run, and the one who wrote it is told so."""
    with pytest.raises(Invalid, match="waitFunction must be arithmetic"):
        wait_function(text)


def test_a_phrase_is_found_whatever_stands_around_it() -> None:
    """Whole words in a row, however they are written; an empty phrase is in nothing."""
    assert says_one_of("Well, THAT's all, thank you.", ["that's all"])
    assert not says_one_of("that is all over", ["that is al", ""])
