"""Whether a caller said yes or no: a small table of words, for the one question that must not be guessed."""

from __future__ import annotations

from typing import Literal

from invorto.realtime.endpointing import words_of

_NO = frozenset(
    "no nope nah not don't dont do-not never refuse decline stop disagree object nahi nahin nai mat".split()
)
_YES = frozenset(
    "yes yeah yep yup sure okay ok fine agree agreed accept consent alright right absolutely certainly haan han ji theek".split()
)
_YES_PHRASES = ("go ahead", "of course", "no problem", "not a problem", "don't mind", "do not mind", "no objection", "why not")


def judge(text: str) -> Literal["yes", "no", "unclear"]:
    """Tell what an answer to a request for consent means; both, or neither, is unclear."""
    said = " ".join(words_of(text))
    agreed = False
    for phrase in _YES_PHRASES:
        if phrase in said:
            agreed, said = True, said.replace(phrase, " ")
    heard = set(said.split())
    refused = bool(heard & _NO)
    agreed = agreed or bool(heard & _YES)
    if agreed == refused:
        return "unclear"
    return "yes" if agreed else "no"
