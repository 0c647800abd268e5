"""Yes or no, as people say them: pure."""

from __future__ import annotations

from invorto.speech.llm.spoken import plain

_YES = frozenset({
    "yes", "yeah", "yep", "yup", "yah", "correct", "right", "exactly", "sure", "okay", "ok", "fine", "perfect",
    "absolutely", "definitely", "great", "good", "haan", "ji", "please",
})  # fmt: skip
_NO = frozenset({
    "no", "nope", "nah", "not", "wrong", "incorrect", "don't", "isn't", "neither", "nahi", "change",
})  # fmt: skip


def agreed(heard: str) -> bool | None:
    """Tell whether a yes (True) or a no (False) was said; None for neither. "No, that's right" is a yes."""
    words = plain(heard)[:6]
    if not words:
        return None
    if words[0] == "no" and any(word in {"right", "correct", "fine", "perfect"} for word in words[1:]):
        return "not" not in words
    if any(word in _NO for word in words):
        return False
    return True if any(word in _YES for word in words) else None
