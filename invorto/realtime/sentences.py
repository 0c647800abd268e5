"""Cuts a stream of text into sentences to speak, each as soon as it is sure to be one.

Pure and causal: a cut depends on the text before it and on the first letter after it, never on how the text came in.
The pieces joined are the text, white space included. No word, number, address or abbreviation is cut.
"""

from __future__ import annotations

import re
from typing import Final

FIRST_LEAST: Final = 24
"""Characters from which a comma may end the first piece, so that speech begins early."""
FIRST_MOST: Final = 100
"""Characters at which the first piece ends at the last comma, or else between words."""
MOST: Final = 300
"""The same of the other pieces: engines breathe badly in longer ones."""
NO_WORD: Final = 1000
"""Characters without a space that are no word of any language and are cut anyway."""

_BARS: Final = "।॥。！？"  # noqa: RUF001 - full stops of other scripts
"""End a sentence, whatever follows."""
_ENDS: Final = ".!?…" + _BARS
"""End a sentence where space follows, unless they end an abbreviation."""
_COMMAS: Final = ",;:–—"
_CLOSING: Final = "\"'”’»)]}*_"
"""Belong to the sentence before them."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLES: Final = _words("""
    dr mr mrs ms mx prof shri sri smt kum st gen col capt lt maj sgt rev fr hon adv er pt messrs vs viz cf e.g i.e eg ie
    approx pvt डॉ श्री सुश्री प्रो
""")
"""Abbreviations after which the sentence always goes on."""
_BEFORE_NUMBERS: Final = _words("""
    no nos fig vol ch pg pp sec art jan feb mar apr jun jul aug sep sept oct nov dec tel ph ext flat rs रु
""")
"""Abbreviations in front of a number, words or last words elsewhere."""
_MIDWAY: Final = _words("""
    etc inc ltd co corp llc jr sr a.m p.m am pm dept govt ave rd min max hr hrs sq ft u.s u.k b.a m.a b.sc m.sc ph.d
""")
"""Abbreviations that may end a sentence: then a capital follows, or a script that has none."""
_INITIALS: Final = re.compile(r"(?!I$)[^\W\d_](\.[^\W\d_])*")
_OPENING: Final = "\"'“‘([{*_"  # noqa: RUF001 - a quotation mark
_LIST_NUMBER: Final = re.compile(r"\s*[(\[]?(\d{1,3}|[a-zA-Z])\.")


class SentenceCutter:
    """One stream of text: `push` as it comes, `flush` at its end."""

    def __init__(self) -> None:
        self._first = True
        self._begin("")

    def _begin(self, piece: str) -> None:
        self._piece = piece
        """What came and is not given out."""
        self._seen = 0
        """How much of it has been looked at."""
        self._comma = self._space = 0
        """Where the last clause and the last word but one end, with the space after them; 0: nowhere yet."""

    def push(self, text: str) -> list[str]:
        """Take more text; gives the sentences that are complete, perhaps none."""
        self._piece += text
        pieces: list[str] = []
        while self._seen < len(self._piece):
            cut = self._cut_before(self._seen)
            if not cut:
                self._seen += 1
                continue
            pieces.append(self._piece[:cut])
            self._first = False
            self._begin(self._piece[cut:])
        return pieces

    def flush(self) -> list[str]:
        """Give what is left, if anything is, and begin anew."""
        rest = [self._piece] if self._piece else []
        self._first = True
        self._begin("")
        return rest

    def _cut_before(self, at: int) -> int:
        """Look at the character at *at*; gives where to cut, there or before it, or 0."""
        char = self._piece[at]
        if not at or char.isspace():
            return 0
        before = self._piece[at - 1]
        if before.isspace():
            head = self._piece[:at]
            text = head.rstrip()
            if any(letter.isalnum() for letter in text):
                if "\n" in head[len(text) :] or _ends(text, char):
                    return at
                if text[-1] in _COMMAS:
                    self._comma = at
                    if self._first and at >= FIRST_LEAST:
                        return at
                self._space = at
        elif before in _BARS and char not in _ENDS + _CLOSING:
            return at
        return self._too_long(at)

    def _too_long(self, at: int) -> int:
        most = FIRST_MOST if self._first else MOST
        if at < most:
            return 0
        if self._comma > most // 3:
            return self._comma
        return self._space or (at if at >= NO_WORD else 0)


def _ends(text: str, follows: str) -> bool:
    """Tell whether *text*, with space after it and then the character *follows*, is a whole sentence."""
    core = text.rstrip(_CLOSING)
    if not core or core[-1] not in _ENDS:
        return False
    if core[-1] in "!?" + _BARS:
        return True
    if core[-1] == "…" or core[-2:] == "..":
        return not follows.islower()
    last = (core[:-1].split() or [""])[-1].lstrip(_OPENING)
    word = last.lower()
    if word in _MIDWAY:
        return not (follows.islower() or follows.isdigit() or follows in _COMMAS)
    if word in _BEFORE_NUMBERS:
        return not (follows.isdigit() or follows == "₹")
    if word in _TITLES or _INITIALS.fullmatch(last):
        return False
    return bool(word) and not _LIST_NUMBER.fullmatch(core)
