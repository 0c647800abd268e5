"""Numbers, days, times, names and addresses as people say them."""

from __future__ import annotations

import time as time_module
from datetime import date, time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.model.agent import Slot
from invorto.speech.llm.calendar import find_date, find_time
from invorto.speech.llm.dialogue import LONGEST
from invorto.speech.llm.polarity import agreed
from invorto.speech.llm.slots import Context, extract, filled, find_email, say_date, say_time
from invorto.speech.llm.spoken import cardinal, digits, ordinal, tokens

SUNDAY = date(2026, 11, 22)
CONTEXT = Context(SUNDAY)
SLOTS = (
    Slot(name="day", type="date"), Slot(name="time", type="time"), Slot(name="guests", type="number"),
    Slot(name="full_name"), Slot(name="note"), Slot(name="phone", type="phone"), Slot(name="email", type="email"),
    Slot(name="place", type="choice", choices=("window seat", "garden", "first floor")),
)  # fmt: skip


def words(text: str) -> list[str]:
    return [token.text for token in tokens(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("seven", 7), ("twenty five", 25), ("twenty-five", 25), ("one hundred and five people", 105), ("a", None),
        ("two lakh fifty thousand", 250_000), ("three thirty", 3), ("five two", 5), ("1,000", 1000), ("2 hundred", 200),
        ("nineteen ninety", 19), ("hundred and one", 101), ("hundred and", 100), ("one million two hundred", 1_000_200),
    ],
)  # fmt: skip
def test_cardinals(text: str, value: int | None) -> None:
    """A number ends where the next one begins."""
    found = cardinal(words(text), 0)
    assert (None if found is None else found[0]) == value


@pytest.mark.parametrize(
    ("text", "value"), [("21st", 21), ("third", 3), ("twenty first", 21), ("twenty-second", 22), ("thirtieth", 30)]
)
def test_ordinals(text: str, value: int) -> None:
    """Ordinals in figures and in words."""
    found = ordinal(words(text), 0)
    assert found is not None
    assert found[0] == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nine eight seven six five four three two one oh", "9876543210"), ("98765 43210", "9876543210"),
        ("double nine triple seven 0", "997770"), ("ninety eight seventy six fifty", "987650"), ("98 76-54", "987654"),
        ("double", ""), ("hello", ""),
    ],
)  # fmt: skip
def test_dictated_digits(text: str, said: str) -> None:
    """Digits one by one, in pairs, doubled."""
    assert digits(words(text), 0)[0] == said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("today", "2026-11-22"), ("tomorrow morning", "2026-11-23"), ("the day after tomorrow", "2026-11-24"),
        ("for to-morrow.", "2026-11-23"), ("to-day", "2026-11-22"),
        ("on Tuesday, please", "2026-11-24"), ("Sunday", "2026-11-29"), ("this Sunday", "2026-11-22"),
        ("next tuesday", "2026-11-24"), ("next Sunday", "2026-11-29"), ("in two weeks", "2026-12-06"),
        ("in 3 days", "2026-11-25"), ("next week", "2026-11-29"), ("the third of May", "2027-05-03"),
        ("May 3rd, 2027", "2027-05-03"), ("twenty fourth of december", "2026-12-24"),
        ("December the 24th", "2026-12-24"),
        ("24 Dec", "2026-12-24"), ("on the 21st at noon", "2026-12-21"), ("the 31st", "2026-12-31"),
        ("November 22", "2026-11-22"), ("29 February", "2028-02-29"), ("24/12", "2026-12-24"),
        ("24/12/2027", "2027-12-24"), ("2026-12-24", "2026-12-24"), ("31 February", None), ("2026-13-01", None),
        ("may I come in", None), ("the second one", "2026-12-02"), ("in a while", None), ("", None), ("99/99", None),
    ],
)  # fmt: skip
def test_days(text: str, expected: str | None) -> None:
    """A day that is named is the next such day; what is no day is none."""
    found = find_date(tokens(text), SUNDAY)
    assert (None if found is None else found[0].isoformat()) == expected


def test_months_first() -> None:
    """Where people write the month first, 5/12 is in May."""
    found = find_date(tokens("5/12"), SUNDAY, month_first=True)
    assert found is not None
    assert found[0] == date(2027, 5, 12)


def test_weekdays_from_every_day() -> None:
    """`Tuesday` is within a week and not today; `next Tuesday` is in the week after this one."""
    for day in (date(2026, 11, number) for number in range(1, 30)):
        plain, following = find_date(tokens("tuesday"), day), find_date(tokens("next tuesday"), day)
        assert plain is not None
        assert following is not None
        assert plain[0].weekday() == following[0].weekday() == 1
        assert 1 <= (plain[0] - day).days <= 7
        assert following[0].isocalendar().week == (day.isocalendar().week % 53) + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at three thirty in the afternoon", "15:30"), ("3:30 p.m.", "15:30"), ("3.30 pm", "15:30"), ("noon", "12:00"),
        ("midnight", "00:00"), ("half past four", "16:30"), ("half-past 4", "16:30"),
        ("quarter to five", "16:45"), ("quarter past 9", "09:15"),
        ("ten minutes to six", "17:50"), ("ten past 6 am", "06:10"), ("at seven", "19:00"), ("nine o'clock", "09:00"),
        ("9 o’clock at night", "21:00"), ("15:30", "15:30"), ("at nine oh five", "09:05"), ("12 am", "00:00"),
        ("12 pm", "12:00"), ("eight in the morning", "08:00"), ("eleven", None), ("25:30", None), ("four people", None),
        ("three hundred", None), ("seven tonight", "19:00"),
    ],
)  # fmt: skip
def test_times(text: str, expected: str | None) -> None:
    """A time that is named; a bare number is none unless a time was asked for."""
    found = find_time(tokens(text))
    assert (None if found is None else found[0].strftime("%H:%M")) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("eleven", "11:00"), ("330", "15:30"), ("1530", "15:30"), ("four", "16:00")]
)
def test_times_that_were_asked_for(text: str, expected: str) -> None:
    """Asked for a time, people say a number."""
    found = find_time(tokens(text), asked=True)
    assert found is not None
    assert found[0].strftime("%H:%M") == expected


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna dot smith at example dot com", "anna.smith@example.com"), ("It's Anna@Example.com.", "anna@example.com"),
        ("write to bob underscore 7 at mail dot example dot co dot in please", "bob_7@mail.example.co.in"),
        ("at example dot com", None), ("look at me", None), ("", None), ("at", None),
    ],
)  # fmt: skip
def test_addresses(text: str, address: str | None) -> None:
    """E-mail addresses, written or spoken."""
    assert find_email(text) == address


@pytest.mark.parametrize(
    ("text", "asked", "expected"),
    [
        (
            "A table for four on Friday at 7 pm in the garden, my name is anna smith", None,
            {"guests": "4", "day": "2026-11-27", "time": "19:00", "place": "garden", "full_name": "Anna Smith"},
        ),
        ("four", "guests", {"guests": "4"}), ("seven", "time", {"time": "19:00"}),
        ("four people at seven", "guests", {"guests": "4", "time": "19:00"}),
        ("Anna.", "full_name", {"full_name": "Anna"}),
        ("It's Anna Smith, please.", "full_name", {"full_name": "Anna Smith"}),
        ("I am Anna and I need it on Tuesday", "full_name", {"full_name": "Anna", "day": "2026-11-24"}),
        ("what are your hours?", "full_name", {}), ("what are your hours?", "note", {}),
        ("the walls are blue", "note", {"note": "the walls are blue"}), ("the walls are blue", None, {}),
        ("the walls are blue and green and red and white", "full_name", {}),
        ("plus 91 98765 43210", "phone", {"phone": "+919876543210"}), ("the second one", "place", {"place": "garden"}),
        ("windows seat", "place", {"place": "window seat"}), ("No, make it Wednesday", "time", {"day": "2026-11-25"}),
        ("It's Anna", "day", {}), ("a couple of us", "guests", {"guests": "2"}), ("2.5", "guests", {"guests": "2.5"}),
        ("that one", None, {}), ("", "note", {}), ("...", "full_name", {}),
    ],
)  # fmt: skip
def test_slots(text: str, asked: str | None, expected: dict[str, str]) -> None:
    """What is told at once is taken at once; what was asked for is understood without more words."""
    assert {name: value.value for name, value in extract(text, SLOTS, asked, CONTEXT).items()} == expected


def test_said_back() -> None:
    """Values are said as people say them."""
    assert say_date(date(2026, 11, 24)).said == "Tuesday, 24 November"
    assert [say_time(time(hour, minute)).said for hour, minute in ((0, 0), (9, 5), (12, 0), (15, 30))] == [
        "12 AM", "9:05 AM", "12 PM", "3:30 PM",
    ]  # fmt: skip


def test_a_reply_is_filled() -> None:
    """Names are replaced; one without a value leaves no hole."""
    assert filled("On {day} at {time}, {who}. {result.id}!", {"day": "Tue", "time": "3 PM"})[:15] == "On Tue at 3 PM."
    assert filled("Hello {name}!", {}) == "Hello!"
    assert filled("{a}{b} {c}", {"a": "1", "b": "{c}", "c": "x"}) == "1{c} x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", True), ("yeah, that's right", True), ("no", False), ("No, that's wrong.", False),
        ("not quite right", False),
        ("no, that's right", True), ("no, that's not right", False), ("perfect", True), ("ji haan", True),
        ("I want Wednesday", None), ("", None), ("don't", False),
    ],
)  # fmt: skip
def test_yes_and_no(text: str, expected: bool | None) -> None:
    """Agreement in the words people use."""
    assert agreed(text) is expected


@settings(deadline=None)
@given(st.text(max_size=60), st.sampled_from([None, *(slot.name for slot in SLOTS)]))
def test_nothing_that_is_said_is_an_error(text: str, asked: str | None) -> None:
    """Whatever the ear makes of a noise, the dialogue reads it."""
    for value in extract(text, SLOTS, asked, CONTEXT).values():
        assert value.value
        assert value.said


_SOUP = st.lists(
    st.sampled_from([
        "half", "past", "quarter", "to", "at", "three", "thirty", "21st", "of", "may", "the", "twenty", "first", "in",
        "two", "weeks", "am", "pm", "noon", "24", "/", "12", ":", ".", "double", "oh", "and", "hundred", "lakh", "next",
        "tuesday", "2026", "-", "31", "february", "o'clock", "a", "one", "9" * 20, "9" * 18, "\u00b2", "\u0663",
    ]),
    max_size=12,
)  # fmt: skip


@settings(deadline=None)
@given(_SOUP.map(" ".join))
def test_nor_is_any_order_of_the_words_that_count(text: str) -> None:
    """Words of numbers, days and times in any order are read without an error."""
    find_date(tokens(text), SUNDAY)
    find_time(tokens(text), asked=True)
    extract(text, SLOTS, "phone", CONTEXT)


@pytest.mark.parametrize(
    "text", ["9" * 20_000, "9," * 10_000, "a." * 10_000, "at " * 7000, "1st" * 7000, "9" * 5000 + "th"]
)
def test_long_text_takes_no_time(text: str) -> None:
    """Somebody who types 20,000 characters does not stop the calls of the others."""
    began = time_module.process_time()
    extract(text[:LONGEST], SLOTS, "email", CONTEXT)
    # It takes some 20 ms; a pattern that backtracks takes minutes, and the bound is for machines that are slow today.
    assert time_module.process_time() - began < 2
    find_date(tokens(text), SUNDAY)
