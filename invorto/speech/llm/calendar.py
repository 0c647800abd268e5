"""Days and times as people say them: pure; the day that is today is given."""

from __future__ import annotations

import re
from datetime import date, time, timedelta

from invorto.speech.llm.spoken import Token, cardinal, ordinal

MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_MONTH = {name: n for n, name in enumerate(MONTHS, 1)} | {name[:3]: n for n, name in enumerate(MONTHS, 1)} | {"sept": 9}
_WEEKDAY = {name: n for n, name in enumerate(WEEKDAYS)} | {f"{name}s": n for n, name in enumerate(WEEKDAYS)}

type Found[T] = tuple[T, int, int]
"""What was found, and from which word to which it stands."""


def find_date(said: list[Token], today: date, *, month_first: bool = False) -> Found[date] | None:
    """Find the first day that is named; one without a year is the next such day."""
    words = [token.text for token in said]
    for at in range(len(words)):
        if (found := _date_at(words, at, today, month_first=month_first)) is not None:
            day, count = found
            return day, at, at + count
    return None


def _date_at(words: list[str], at: int, today: date, *, month_first: bool) -> tuple[date, int] | None:
    rest = words[at : at + 8]
    match rest:
        case ["day", "after", "tomorrow", *_]:
            return today + timedelta(days=2), 3
        case ["tomorrow" | "tomorrow's", *_]:
            return today + timedelta(days=1), 1
        case ["today" | "tonight" | "today's", *_]:
            return today, 1
        case ["next", "week", *_]:
            return today + timedelta(days=7), 2
        case ["next" | "this" | "coming" as which, day, *_] if day in _WEEKDAY:
            return _weekday(_WEEKDAY[day], today, which), 2
        case [day, *_] if day in _WEEKDAY:
            return _weekday(_WEEKDAY[day], today, ""), 1
        case ["in", *_] if (number := cardinal(words, at + 1)) and at + 1 + number[1] < len(words):
            unit = {"day": 1, "days": 1, "week": 7, "weeks": 7}.get(words[at + 1 + number[1]])
            return (today + timedelta(days=unit * number[0]), number[1] + 2) if unit and number[0] < 1000 else None
        case _:
            return _numeric(words, at, today, month_first=month_first) or _month_day(words, at, today)


def _weekday(day: int, today: date, which: str) -> date:
    """``Tuesday`` is the next one after today, ``next Tuesday`` the one of next week."""
    if which == "next":
        monday = today + timedelta(days=7 - today.weekday())
        return monday + timedelta(days=day)
    ahead = (day - today.weekday()) % 7
    return today + timedelta(days=ahead or (0 if which == "this" else 7))


def _numeric(words: list[str], at: int, today: date, *, month_first: bool) -> tuple[date, int] | None:
    text = "".join(words[at : at + 5])
    if found := re.match(r"(\d{4})-(\d{2})-(\d{2})(?!\d)", text):
        return _checked(int(found[1]), int(found[2]), int(found[3]), 5)
    if found := re.match(r"(\d{1,2})/(\d{1,2})/(\d{4})(?!\d)", text):
        first, second = (int(found[2]), int(found[1])) if month_first else (int(found[1]), int(found[2]))
        return _checked(int(found[3]), second, first, 5)
    if found := re.match(r"(\d{1,2})/(\d{1,2})(?![\d/])", "".join(words[at : at + 3])):
        first, second = (int(found[2]), int(found[1])) if month_first else (int(found[1]), int(found[2]))
        return _coming(second, first, today, 3)
    return None


def _month_day(words: list[str], at: int, today: date) -> tuple[date, int] | None:
    """Read ``third of May``, ``3 May 2027``, ``May the third``, ``the 21st``."""
    place = at + 1 if words[at] == "the" else at
    day = ordinal(words, place) or cardinal(words, place)
    if day is not None:
        after = place + day[1]
        after += after < len(words) and words[after] == "of"
        if after < len(words) and words[after] in _MONTH:
            return _with_year(words, at, after + 1, (_MONTH[words[after]], day[0]), today)
        if place > at and ordinal(words, place) is not None and 1 <= day[0] <= 31:
            return _day_of_month(day[0], today, after - at)
        return None
    if words[at] not in _MONTH:
        return None
    place = at + 1 + (at + 1 < len(words) and words[at + 1] == "the")
    day = ordinal(words, place) or cardinal(words, place)
    return None if day is None else _with_year(words, at, place + day[1], (_MONTH[words[at]], day[0]), today)


def _with_year(
    words: list[str], at: int, after: int, month_day: tuple[int, int], today: date
) -> tuple[date, int] | None:
    place = after + (after < len(words) and words[after] == ",")
    if place < len(words) and re.fullmatch(r"20\d\d", words[place]):
        return _checked(int(words[place]), *month_day, place + 1 - at)
    return _coming(*month_day, today, after - at)


def _checked(year: int, month: int, day: int, count: int) -> tuple[date, int] | None:
    try:
        return date(year, month, day), count
    except (ValueError, OverflowError):
        return None


def _coming(month: int, day: int, today: date, count: int) -> tuple[date, int] | None:
    """Give that day of this year, or of the next in which it is still to come and exists."""
    for year in range(today.year, today.year + 9):
        found = _checked(year, month, day, count)
        if found is not None and found[0] >= today:
            return found
    return None


def _day_of_month(day: int, today: date, count: int) -> tuple[date, int] | None:
    for ahead in range(12):
        month = today.month - 1 + ahead
        found = _checked(today.year + month // 12, month % 12 + 1, day, count)
        if found is not None and found[0] >= today:
            return found
    return None


# -- times of the day -----------------------------------------------------------------------------


def find_time(said: list[Token], *, asked: bool = False) -> Found[time] | None:
    """Find the first time of the day; a bare number counts only where a time was *asked* for, or after ``at``."""
    words = [token.text for token in said]
    for at in range(len(words)):
        if (found := _time_at(words, at, asked=asked)) is not None:
            moment, count = found
            return moment, at, at + count
    return None


def _time_at(words: list[str], at: int, *, asked: bool) -> tuple[time, int] | None:
    match words[at : at + 4]:
        case ["noon" | "midday", *_]:
            return time(12), 1
        case ["midnight", *_]:
            return time(0), 1
        case ["half", "past", *_]:
            return _past(words, at, at + 2, 30)
        case ["quarter", "past" | "after", *_]:
            return _past(words, at, at + 2, 15)
        case ["quarter", "to" | "before", *_]:
            return _past(words, at, at + 2, -15)
        case _:
            pass
    number = cardinal(words, at)
    if number is None:
        return None
    value, after = number[0], at + number[1]
    minutes = after + (after < len(words) and words[after] in {"minute", "minutes"})
    if minutes < len(words) and words[minutes] in {"past", "to"} and 0 < value < 60:
        return _past(words, at, minutes + 1, value if words[minutes] == "past" else -value)
    return _clock(words, at, value, after, sure=asked or (at > 0 and words[at - 1] in {"at", "by", "around", "about"}))


def _past(words: list[str], at: int, place: int, minutes: int) -> tuple[time, int] | None:
    hour = cardinal(words, place)
    if hour is None or not 1 <= hour[0] <= 23:
        return None
    after = place + hour[1]
    half, length = _half(words, after)
    whole = (_on_the_day(hour[0], half) * 60 + minutes) % 1440
    return time(whole // 60, whole % 60), after + length - at


def _clock(words: list[str], at: int, hour: int, after: int, *, sure: bool) -> tuple[time, int] | None:
    minute = 0
    if words[at].isdecimal() and len(words[at]) in {3, 4} and 100 <= hour < 2400:  # 330, 1530
        hour, minute = divmod(hour, 100)
    elif after + 1 < len(words) and words[after] in {":", "."} and re.fullmatch(r"[0-5]\d", words[after + 1]):
        minute, after, sure = int(words[after + 1]), after + 2, True
    elif after < len(words) and words[after] == "oh" and (unit := cardinal(words, after + 1)) and unit[0] < 10:
        minute, after, sure = unit[0], after + 1 + unit[1], True
    elif (more := cardinal(words, after)) and 10 <= more[0] < 60 and 1 <= hour <= 23:
        minute, after, sure = more[0], after + more[1], True
    if after < len(words) and words[after] == "o'clock":
        after, sure = after + 1, True
    half, length = _half(words, after)
    if not (sure or half) or not 0 <= hour <= 23 or minute > 59:
        return None
    return time(_on_the_day(hour, half), minute), after + length - at


def _half(words: list[str], at: int) -> tuple[str, int]:
    """Read which half of the day is meant, if it is said."""
    match words[at : at + 3]:
        case ["am" | "pm" as half, *_]:
            return half, 1
        case ["in", "the", "morning"]:
            return "am", 3
        case ["in", "the", "afternoon" | "evening"]:
            return "pm", 3
        case ["at", "night", *_]:
            return "pm", 2
        case ["tonight", *_]:
            return "pm", 0  # it names the day as well
        case _:
            return "", 0


def _on_the_day(hour: int, half: str) -> int:
    """Give the hour of 24: unless it is said, from one to seven is after noon, when people have appointments."""
    if half == "am":
        return hour % 12 if hour <= 12 else hour
    if half == "pm":
        return hour % 12 + 12 if hour <= 12 else hour
    return hour + 12 if 1 <= hour <= 7 else hour
