"""Consent: yes or no by a small table of words, for the one question that must not be guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from invorto.model.agent import Consent
from invorto.realtime.endpointing import words_of

TRIES = 2
"""How often the question is put before an unclear answer counts as none."""

_NO = frozenset({
    "no", "nope", "nah", "not", "dont", "cannot", "never", "refuse", "decline", "stop", "disagree", "object", "rather",
    "nahi", "nahin", "nai", "mat", "नहीं", "नही", "ना", "मत",
})  # fmt: skip
_YES = frozenset({
    "yes", "yeah", "yep", "yup", "sure", "okay", "ok", "fine", "agree", "agreed", "accept", "consent", "alright",
    "right", "absolutely", "certainly", "haan", "han", "ji", "theek", "हाँ", "हां", "जी", "ठीक",
})  # fmt: skip
_YES_PHRASES = (
    "go ahead", "of course", "no problem", "not a problem", "don't mind", "do not mind", "no objection", "why not",
)  # fmt: skip


def judge(text: str) -> Literal["yes", "no", "unclear"]:
    """Tell what an answer to a request for consent means: a refusal outweighs all else, and none is unclear."""
    said = " ".join(words_of(text))
    agreed = False
    for phrase in _YES_PHRASES:
        if phrase in said:
            agreed, said = True, said.replace(phrase, " ")
    heard = set(said.split())
    if heard & _NO or any(word.endswith("n't") for word in heard):
        return "no"
    return "yes" if agreed or heard & _YES else "unclear"


@attrs.define
class Asking:
    """One call's request for consent, until it is settled."""

    consent: Consent
    granted: bool | None = None
    """None: not settled yet."""
    _left: int = TRIES
    _answer: str = ""
    _at: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether it is known."""
        return self.granted is not None

    def answer(self, text: str, at: float) -> None:
        """Take what the caller said, *at* seconds into the call."""
        self._answer, self._at = text, at
        self._left -= 1
        meant = judge(text)
        if meant != "unclear":
            self.granted = meant == "yes"
        elif self._left <= 0:
            self.granted = not self.consent.required

    def record(self) -> Mapping[str, Any]:
        """Give what is kept: what was asked, what was answered, when, and whether it was granted."""
        return {"prompt": self.consent.prompt, "answer": self._answer, "granted": bool(self.granted), "at": self._at}
