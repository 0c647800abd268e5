"""Numbers as they are said and written: runs of digits in a text, with where each stands; pure.

"nine eight double four", "98-44" and "+91 98 44" are runs. A run ends at any other word, at a colon, a slash between
dates, a decimal point; it does not begin within a word, so that ids and times of day are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

_WORDS = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
    "eight": "8", "nine": "9", "shunya": "0", "ek": "1", "do": "2", "teen": "3", "char": "4", "chaar": "4",
    "paanch": "5", "panch": "5", "chhe": "6", "chhah": "6", "saat": "7", "aath": "8", "nau": "9",
}  # fmt: skip
_TIMES = {"double": 2, "triple": 3, "treble": 3}
_NAMES = "|".join(sorted(_WORDS, key=len, reverse=True))
_PIECE = re.compile(
    rf"(?<![\w])(?P<times>{'|'.join(_TIMES)})[ ]+(?P<many>\d|(?:{_NAMES}))(?!\w)"
    rf"|(?<![\w])(?P<word>{_NAMES})(?!\w)"
    r"|(?<![A-Za-z_.:/#@=₹$])(?P<digits>\d+)(?![A-Za-z_@:]|/\d)",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r"[ \-()+]{0,3}|,? |\. ?|[ ]?-[ ]?")


@attrs.frozen
class Run:
    """Digits that stand together: where each piece of them begins and ends in the text."""

    pieces: tuple[tuple[int, int, str], ...]

    @property
    def digits(self) -> str:
        """All of them."""
        return "".join(digits for _, _, digits in self.pieces)

    def parts(self, longest: int) -> Iterator[tuple[int, int, str]]:
        """Give every stretch of whole pieces up to *longest* digits: begin, end, digits; the longest first."""
        count = len(self.pieces)
        for size in range(count, 0, -1):
            for first in range(count - size + 1):
                stretch = self.pieces[first : first + size]
                digits = "".join(piece for _, _, piece in stretch)
                if len(digits) <= longest:
                    yield stretch[0][0], stretch[-1][1], digits


def runs(text: str) -> Iterator[Run]:
    """Find the runs of digits in *text*, in order."""
    pieces: list[tuple[int, int, str]] = []
    for found in _PIECE.finditer(text):
        piece = (found.start(), found.end(), _digits(found))
        if pieces and not _BETWEEN.fullmatch(text, pieces[-1][1], found.start()):
            yield Run(tuple(pieces))
            pieces = []
        pieces.append(piece)
    if pieces:
        yield Run(tuple(pieces))


def _digits(found: re.Match[str]) -> str:
    if found["digits"]:
        return "".join(str(int(digit)) for digit in found["digits"])  # those of other scripts too
    if found["word"]:
        return _WORDS[found["word"].lower()]
    many = found["many"].lower()
    return _WORDS.get(many, many) * _TIMES[found["times"].lower()]
