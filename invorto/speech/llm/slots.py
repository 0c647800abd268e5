"""What a caller tells: values of the agent's slots out of spoken words, and how they are said back: pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from difflib import SequenceMatcher

import attrs

from invorto.model.agent import Slot
from invorto.speech.llm.calendar import MONTHS, WEEKDAYS, find_date, find_time
from invorto.speech.llm.spoken import Token, capitalised, cardinal, digits, ordinal, plain, tokens

_ORDER = ("email", "phone", "date", "time", "choice", "number")
"""Which kind is looked for first: what it takes is not looked at again, so that "four people at seven" is both."""

_FILLER = r"yes|yeah|no|sure|okay|ok|well|so|um+|uh+|oh|please|hi|hello|actually|sorry|and"
_NAME_IS = r"(?:my (?:full |first |last )?|the )?name(?: is|'s)|(?:they |you can )?call me"
_IT_IS = r"it(?: is|'s)|it (?:should|would) be|that(?: is|'s|'d be| would be)|make (?:it|that)|this is|i am|i'm"
_LEAD = re.compile(rf"^(?:(?:{_FILLER}|{_NAME_IS}|{_IT_IS}|put it under|under)\b[\s,.:!-]*)+", re.IGNORECASE)
_NAMED = re.compile(rf"\b(?:{_NAME_IS}|under the name(?: of)?)\s+([^,.;!?]{{2,60}})", re.IGNORECASE)
_PRESENTED = re.compile(r"\b(?:[Ii] am|[Ii]'m|[Tt]his is|[Ii]t's|[Ii]t is)\s+([A-Z][^,.;!?]{1,60})")
_TAIL = re.compile(r"[\s,.;!?]+(?:please|thanks|thank you|speaking|here)?[\s.,;!?]*$", re.IGNORECASE)
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]++@[\w-]++(?:\.[\w-]++)++")
_SIGNS = {"dot": ".", "period": ".", "underscore": "_", "dash": "-", "hyphen": "-", "minus": "-", "plus": "+"}


@attrs.frozen
class Value:
    """A slot's value: as tools get it (``2026-11-24``, ``15:30``, ``4``), and as it is *said*."""

    value: str
    said: str


@attrs.frozen
class Context:
    """What a caller's words are read against."""

    today: date
    month_first: bool = False
    """Whether 5/12 is the twelfth of May."""


def extract(text: str, slots: Iterable[Slot], asked: str | None, context: Context) -> dict[str, Value]:
    """Find values for *slots* in what was said; the one that was *asked* for may be said without more words."""
    rest = tokens(text)
    found: dict[str, Value] = {}
    typed = [slot for slot in slots if slot.type != "text"]
    # the slot that was asked for has the first choice among those of its kind; "the second" is a day only elsewhere
    for slot in sorted(typed, key=lambda slot: (_rank(slot, asked), slot.name != asked)):
        hit = _typed(slot, text, rest, context, asked=slot.name == asked)
        if hit is not None:
            value, began, ended = hit
            found[slot.name] = value
            rest = rest[:began] + [Token("|", 0, 0)] * (ended > began) + rest[ended:]
    for slot in slots:
        if slot.type == "text" and (value := _text(text, slot, asked=slot.name == asked, alone=not found)):
            found[slot.name] = value
    return found


def _rank(slot: Slot, asked: str | None) -> int:
    return -1 if slot.type == "choice" and slot.name == asked else _ORDER.index(slot.type)


def _typed(slot: Slot, text: str, rest: list[Token], context: Context, *, asked: bool) -> tuple[Value, int, int] | None:
    match slot.type:
        case "date":
            day = find_date(rest, context.today, month_first=context.month_first)
            return None if day is None else (say_date(day[0]), day[1], day[2])
        case "time":
            moment = find_time(rest) or (find_time(rest, asked=True) if asked else None)
            return None if moment is None else (say_time(moment[0]), moment[1], moment[2])
        case "number":
            return _number(rest, asked=asked)
        case "phone":
            return _phone(rest)
        case "choice":
            return _choice(slot.choices, rest, asked=asked)
        case _:
            address = find_email(text)
            return None if address is None else (Value(address, address), 0, 0)


def say_date(day: date) -> Value:
    """Say a day: ``Tuesday, 24 November``."""
    return Value(day.isoformat(), f"{WEEKDAYS[day.weekday()].title()}, {day.day} {MONTHS[day.month - 1].title()}")


def say_time(moment: time) -> Value:
    """Say a time: ``3:30 PM``, ``3 PM``."""
    hour, half = (moment.hour - 1) % 12 + 1, "PM" if moment.hour >= 12 else "AM"
    minutes = f":{moment.minute:02}" if moment.minute else ""
    return Value(moment.strftime("%H:%M"), f"{hour}{minutes} {half}")


def _number(rest: list[Token], *, asked: bool) -> tuple[Value, int, int] | None:
    words = [token.text for token in rest]
    for at, word in enumerate(words):
        if word == "couple":
            return Value("2", "2"), at, at + 1
        number = cardinal(words, at)
        if number is None or (not asked and word in {"one", "oh"}):  # "that one" counts nothing
            continue
        value, end = str(number[0]), at + number[1]
        if end + 1 < len(words) and words[end] in {".", "point"} and words[end + 1].isdecimal():
            value, end = f"{value}.{words[end + 1]}", end + 2
        return Value(value, value), at, end
    return None


def _phone(rest: list[Token]) -> tuple[Value, int, int] | None:
    words = [token.text for token in rest]
    for at in range(len(words)):
        number, count = digits(words, at)
        if 7 <= len(number) <= 15:
            plus = at > 0 and words[at - 1] in {"+", "plus"}
            return Value(f"{'+' * plus}{number}", " ".join(number)), at - plus, at + count
    return None


def find_email(text: str) -> str | None:
    """Find an address, written or spoken: ``anna dot smith at example dot com``."""
    if found := _EMAIL.search(text):
        return found[0].lower().rstrip(".")
    spoken: list[str] = re.findall(r"[\w+-]+(?:\.\w+)*", text.lower())
    words = [_SIGNS.get(word) or word for word in spoken]
    for at in (place for place, word in enumerate(words) if word == "at"):
        began, ended = at - 1, at + 1
        while began >= 2 and words[began - 1] in {".", "_", "-", "+"}:
            began -= 2
        while ended + 2 < len(words) and words[ended + 1] in {".", "-"}:
            ended += 2
        address = f"{''.join(words[max(began, 0) : at])}@{''.join(words[at + 1 : ended + 1])}"
        if _EMAIL.fullmatch(address):
            return address
    return None


def _choice(choices: tuple[str, ...], rest: list[Token], *, asked: bool) -> tuple[Value, int, int] | None:
    words = [token.text for token in rest]
    for choice in sorted(choices, key=len, reverse=True):
        wanted = plain(choice)
        for at in range(len(words) - len(wanted) + 1):
            if wanted and all(_alike(have, want) for have, want in zip(words[at:], wanted, strict=False)):
                return Value(choice, choice), at, at + len(wanted)
    if asked:
        for at in range(len(words)):
            place = ordinal(words, at)
            if place is not None and 1 <= place[0] <= len(choices):
                choice = choices[place[0] - 1]
                return Value(choice, choice), at, at + place[1]
    return None


def _alike(have: str, want: str) -> bool:
    """Tell whether a word is meant, allowing for a plural or a letter that was misheard."""
    if have == want:
        return True
    return min(len(have), len(want)) >= 4 and SequenceMatcher(None, have, want).ratio() >= 0.85


def _text(text: str, slot: Slot, *, asked: bool, alone: bool) -> Value | None:
    """Read free words: a name wherever one is given, anything else only where it was asked for, *alone*."""
    name = "name" in slot.name.lower()
    if name and (found := _NAMED.search(text) or (_PRESENTED.search(text) if asked else None)):
        return _named(found[1])
    bare = _TAIL.sub("", _LEAD.sub("", text.strip())).strip(" ,.;:!?")
    if not (asked and alone and bare) or text.strip().endswith("?"):
        return None
    if name:
        return _named(bare) if len(bare.split()) <= 5 else None
    return Value(bare, bare)


def _named(text: str) -> Value:
    text = re.split(r"\s+(?:and|on|at|for|i|but)\b", text, maxsplit=1, flags=re.IGNORECASE)[0].strip(" ,.;:!?")
    return Value(capitalised(text), capitalised(text))


def filled(template: str, values: Mapping[str, str]) -> str:
    """Put values into ``{name}`` and ``{result.path}``; a name without a value leaves no hole."""
    text = re.sub(r"\{([\w.\-]+)\}", lambda found: values.get(found[1], ""), template)
    return re.sub(r"\s*,?\s+?([,.;!?])|,([.;!?])", r"\1\2", " ".join(text.split()))
