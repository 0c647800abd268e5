"""Which of the things an agent knows a caller means: likeness of meaning, shared words, and what was said outright."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from invorto.speech.llm.spoken import plain

SURE = 0.868
"""From this score on one of the agent's own things is meant. Chosen on 60 phrases in and out of the domain: sentences
that mean the same have a likeness of 0.87 and more with this model, those that share nothing 0.74 to 0.85."""
SURE_BUILT_IN = 0.935
"""The same for small talk, which is short and like everything: it must be all but said outright."""
WORDS = 0.08
"""What sharing all words adds to a likeness."""

_COMMON = frozenset({
    "a", "an", "and", "are", "at", "be", "can", "could", "do", "does", "for", "from", "have", "how", "i", "i'd",
    "i'm", "in", "is", "it", "like", "me", "my", "of", "on", "or", "our", "please", "so", "that", "the", "there",
    "this", "to", "we", "what", "when", "where", "which", "will", "with", "would", "you", "your", "want", "need",
    "get", "us",
})  # fmt: skip


@attrs.frozen
class Known:
    """Something that can be meant, and how people say it."""

    kind: str
    """``intent`` or ``faq``."""
    name: str
    examples: tuple[str, ...]
    sure: float = SURE
    """The score from which it counts as meant."""


def best(heard: str, known: Iterable[Known], near: Mapping[str, float]) -> tuple[Known | None, float]:
    """Give what is most likely meant and its score; *near* is the likeness of each example to what was heard."""
    said = plain(heard)
    winner, top, highest = None, 0.0, float("-inf")
    for one in known:
        for example in one.examples:
            score = _score(said, plain(example), near.get(example))
            if score - one.sure > highest:  # the first of equals wins: the agent's own come before what is built in
                winner, top, highest = one, score, score - one.sure
    return winner, top


def _score(said: list[str], example: list[str], likeness: float | None) -> float:
    if not example or not said:
        return 0.0
    if outright(said, example):
        return 1.0 + len(example) / 100
    ours, theirs = _content(said), _content(example)
    both = ours & theirs
    # all of the example among many other words counts nearly as much as the same words and no others
    shared = (
        max(len(both) / len(ours | theirs), 0.8 * len(both) / len(theirs) if len(both) > 1 else 0.0) if both else 0.0
    )
    if likeness is None:  # the model is away: go by the words alone
        likeness = 0.78 + 0.12 * shared
    return likeness + WORDS * shared


def outright(said: list[str], example: list[str]) -> bool:
    """Tell whether the example was said in so many words; one or two words count only if little else was said."""
    size = len(example)
    if size < 3 and len(said) > 2 * size + 2:
        return False
    return any(said[at : at + size] == example for at in range(len(said) - size + 1))


def _content(words: list[str]) -> set[str]:
    return {re.sub(r"(?:'s|ing|ed|s)$", "", word) or word for word in words if word not in _COMMON}
