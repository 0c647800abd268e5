"""Words as they are spoken, and the numbers in them: pure."""

from __future__ import annotations

import re

import attrs

_UNITS = {
    "zero": 0, "oh": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "lakh": 100_000, "million": 1_000_000, "crore": 10_000_000}
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12, "thirteenth": 13, "fourteenth": 14, "fifteenth": 15, "sixteenth": 16,
    "seventeenth": 17, "eighteenth": 18, "nineteenth": 19, "twentieth": 20, "thirtieth": 30,
}  # fmt: skip

_TOKEN = re.compile(r"\d+(?:,\d{3})+(?!\d)|\d+(?:st|nd|rd|th)\b|\d+|[^\W\d_]+(?:'[^\W\d_]+)*|\S")


@attrs.frozen
class Token:
    """A word, a number or a sign: in small letters, with its place in the text."""

    text: str
    began: int
    ended: int


def tokens(text: str) -> list[Token]:
    """Cut a text into words, numbers and signs; ``p.m.`` is one word, and so are ``o'clock`` and ``to-morrow``."""
    text = re.sub(r"\b([ap])\.\s?m\b\.?", lambda m: f"{m[1]}m".ljust(len(m[0])), text.lower())
    text = re.sub(r"\b(to|good)-(day|morrow|night|bye)\b", r"\1\2 ", text)  # as older books have it, and ears too
    text = re.sub(r"\b(half|quarter)-(?=past|to|after)", r"\1 ", text)
    text = text.replace("’", "'")
    return [Token(found[0], found.start(), found.end()) for found in _TOKEN.finditer(text)]


def plain(text: str) -> list[str]:
    """Give the words alone, in small letters."""
    return [token.text for token in tokens(text) if token.text[0].isalnum()]


def cardinal(words: list[str], at: int) -> tuple[int, int] | None:
    """Read the number that begins at a word: its value, and how many words it takes."""
    if at >= len(words):
        return None
    if words[at].replace(",", "").isdecimal():
        return _in_figures(words, at)
    total, current, place, smallest = 0, None, at, 10**9
    while place < len(words):
        word = words[place]
        if word == "-" and current is not None and place + 1 < len(words) and words[place - 1] in _TENS:
            place += 1
            continue
        if word == "and" and current is not None and words[place - 1] in _SCALES and place + 1 < len(words):
            if not (words[place + 1] in _UNITS or words[place + 1] in _TENS):
                break
            place += 1
            continue
        if word in _SCALES and (current is not None or word == "hundred"):
            current = (current or 1) * _SCALES[word]
            if word != "hundred":
                total, current = total + current, 0
            smallest = _SCALES[word]
        elif (value := _UNITS.get(word, _TENS.get(word))) is not None:
            size = 100 if word in _TENS else 10  # "twenty five" goes on, "three thirty" and "five two" do not
            if current is not None and (value >= smallest or (size == 100 and smallest <= 10)):
                break
            current = (current or 0) + value
            smallest = 10 if word in _TENS else 0
        else:
            break
        place += 1
    if current is None:
        return None
    while words[place - 1] in {"and", "-"}:
        place -= 1
    return total + current, place - at


def _in_figures(words: list[str], at: int) -> tuple[int, int] | None:
    if len(words[at]) > 18:  # a number nobody means, and too long to be read as one
        return None
    value, end = int(words[at].replace(",", "")), at + 1
    if end < len(words) and words[end] in _SCALES:
        return value * _SCALES[words[end]], 2
    return value, 1


def ordinal(words: list[str], at: int) -> tuple[int, int] | None:
    """Read the ordinal that begins at a word, such as ``21st`` or ``twenty first``: its value, and its words."""
    if at >= len(words):
        return None
    word = words[at]
    if found := re.fullmatch(r"(\d{1,3})(?:st|nd|rd|th)", word):
        return int(found[1]), 1
    if word in _ORDINALS:
        return _ORDINALS[word], 1
    if word in _TENS:
        after = at + 2 if at + 1 < len(words) and words[at + 1] == "-" else at + 1
        if after < len(words) and 0 < _ORDINALS.get(words[after], 0) < 10:
            return _TENS[word] + _ORDINALS[words[after]], after + 1 - at
    return None


def digits(words: list[str], at: int) -> tuple[str, int]:
    """Read the digits that are dictated from a word on, ``double six`` and ``oh`` too; and how many words they take."""
    said, place = "", at
    while place < len(words):
        word = words[place]
        times = {"double": 2, "triple": 3}.get(word, 1)
        if times > 1:
            if place + 1 >= len(words):
                break
            place += 1
            word = words[place]
        if word.isdecimal():
            said += word * times
        elif word == "o" or word in _UNITS:
            said += str(_UNITS.get(word, 0)) * times
        elif word in _TENS:
            after = words[place + 1] if place + 1 < len(words) else ""
            unit = _UNITS.get(after, 0)
            said += str(_TENS[word] + unit) if 0 < unit < 10 else str(_TENS[word])
            place += 0 < unit < 10
        elif not (word in {"-", ".", ",", "(", ")"} and said):
            break
        place += 1
    return said, place - at


def capitalised(text: str) -> str:
    """Write a name as names are written."""
    return " ".join(word if any(letter.isupper() for letter in word) else word.capitalize() for word in text.split())
