"""How much of what was said was understood: pure."""

from __future__ import annotations

import re

_SAME = {"goodbye": "good bye", "tomorrow": "to morrow", "today": "to day", "okay": "ok"}
"""Spellings of one word, by what they are taken for."""


def plain(text: str) -> list[str]:
    """Give the words alone: in small letters, without signs, one spelling each."""
    spoken: list[str] = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower().replace("’", "'"))
    return " ".join(_SAME.get(word, word) for word in spoken).split()


def word_errors(said: str, heard: str) -> float:
    """Give the word error rate: words that were changed, left out or added, by the number of words *said*."""
    reference, words = plain(said), plain(heard)
    if not reference:
        return float(bool(words))
    costs = list(range(len(words) + 1))
    for row, wanted in enumerate(reference, 1):
        before, costs[0] = costs[0], row
        for column, word in enumerate(words, 1):
            changed = before + (word != wanted)
            before = costs[column]
            costs[column] = min(changed, costs[column] + 1, costs[column - 1] + 1)
    return costs[-1] / len(reference)


def said_within(part: str, whole: str) -> bool:
    """Tell whether all of *part*'s words stand in *whole*, one after the other."""
    wanted, words = plain(part), plain(whole)
    return bool(wanted) and any(words[at : at + len(wanted)] == wanted for at in range(len(words) - len(wanted) + 1))
