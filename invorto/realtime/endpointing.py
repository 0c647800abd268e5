"""How long a pause must be before the caller has finished: pure arithmetic over what was said."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from invorto.errors import Invalid
from invorto.model.agent import Endpointing

COMPLETE = 0.75
"""A complete sentence shortens the pause to this share."""
FEW_WORDS = 0.25
UNSURE = 0.5
DICTATING = 0.8
HESITATING = 0.6
ASKED = 0.1
"""Seconds that each of these adds."""

_DIGIT_WORDS = frozenset({
    "zero", "oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "double", "triple",
    "ek", "do", "teen", "char", "paanch",
})  # fmt: skip
_HESITATION = re.compile(
    r"(?:\b(?:and|but|or|so|because|to|the|a|an|my|is|um|uh|er|hmm|aur|lekin|matlab)|,|\.\.\.|…)$", re.IGNORECASE
)
_MOST_NODES = 100
# Parts of a waitFunction: the longest anybody has written has fifteen.
_LETTER = (
    r"(?:[^\W_]|[\u0300-\u036f\u0900-\u0963\u0966-\u0dff])"  # vowel signs of Indian scripts are marks, not letters
)
_SPOKEN = re.compile(rf"{_LETTER}+(?:'{_LETTER}+)?")


def words_of(text: str) -> list[str]:
    """Split *text* into lower-case words, without punctuation."""
    return _SPOKEN.findall(text.lower().replace("’", "'"))


def says_one_of(text: str, phrases: Iterable[str]) -> bool:
    """Tell whether the words of one of *phrases* stand together in *text*."""
    said = f" {' '.join(words_of(text))} "
    return any(f" {' '.join(phrase)} " in said for phrase in map(words_of, phrases) if phrase)


def patience(
    rules: Endpointing, text: str, *, goes_on: float | None = None, asked: bool = False, wait: Callable[[float], float]
) -> float:
    """
    Give the seconds of silence after which *text* counts as finished; infinite where the client says so.

    *goes_on* is the probability that the speaker goes on, where a model gave one; *asked* tells that the agent
    had put a question; *wait* is the agent's ``waitFunction``, milliseconds of x.
    """
    if rules.provider == "off":
        return math.inf
    if rules.provider == "livekit":
        return min(max(wait(_goes_on(text) if goes_on is None else goes_on), 0.0), 30_000.0) / 1000
    pause = rules.silence_ms / 1000
    said = words_of(text)
    stripped = text.rstrip()
    if dictating(said):
        return pause + DICTATING
    if _HESITATION.search(stripped.rstrip(".").rstrip() if not stripped.endswith(("...", "…")) else stripped):
        return pause + HESITATING
    if goes_on is not None and goes_on >= rules.confidence:
        pause += UNSURE
    if len(said) < rules.min_words:
        return pause + FEW_WORDS + (ASKED if asked else 0.0)
    if stripped.endswith((".", "?", "!", "।")) or (goes_on is not None and goes_on <= 1 - rules.confidence):
        pause *= COMPLETE
    return pause + (ASKED if asked else 0.0)


def dictating(said: list[str]) -> bool:
    """Tell whether the words end in digits that are being read out, one after the other."""
    tail = said[-3:]
    return len(tail) > 1 and all(word in _DIGIT_WORDS or (word.isdigit() and len(word) <= 4) for word in tail[-2:])


def _goes_on(text: str) -> float:
    if not text.strip():
        return 0.5
    return 0.1 if text.rstrip().endswith((".", "?", "!", "।")) else 0.5


_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": min, "max": max, "abs": abs, "sqrt": math.sqrt, "exp": math.exp, "log": math.log,
}  # fmt: skip


def wait_function(text: str) -> Callable[[float], float]:
    """
    Make a function of x from arithmetic such as ``200 + 8000 * x``; it is parsed, never run as code.

    Numbers, x, ``+ - * / **``, brackets and min, max, abs, sqrt, exp, log. `Invalid` for anything else. Where the
    arithmetic fails at some x (a division by zero), the result there is infinite.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if sum(1 for _ in ast.walk(tree)) > _MOST_NODES:
            raise ValueError("too long")
        with suppress(ZeroDivisionError, OverflowError):
            _evaluate(tree, 0.5)
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise Invalid(f"waitFunction must be arithmetic of x, such as '200 + 8000 * x' ({error})") from None

    def wait(x: float) -> float:
        try:
            value = _evaluate(tree, x)
        except (ArithmeticError, ValueError):
            return math.inf
        return value if math.isfinite(value) else math.inf

    return wait


def _evaluate(node: Any, x: float) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.Name(id="x"):
            return x
        case ast.BinOp(left=left, op=op, right=right):
            value = _OPERATORS[type(op)](_evaluate(left, x), _evaluate(right, x))
        case ast.UnaryOp(op=op, operand=operand):
            value = _OPERATORS[type(op)](_evaluate(operand, x))
        case ast.Call(func=ast.Name(id=name), args=[*args], keywords=[]) if args:
            value = _FUNCTIONS[name](*(_evaluate(arg, x) for arg in args))
        case _:
            raise ValueError(f"'{ast.unparse(node)}' is not allowed")
    if isinstance(value, complex):
        raise ValueError("the result is not a real number")  # noqa: TRY004
    return float(value)
