"""Personal data in free text: a corpus of what is and what only looks like it, with precision and recall."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.model.agent import AgentConfig, Redaction
from invorto.model.checksums import luhn, verhoeff
from invorto.model.digits import runs
from invorto.model.pii import KINDS, Redactor, is_phone, redactor_of

ROOT = Path(__file__).parents[2]
CORPUS: list[dict[str, Any]] = json.loads((ROOT / "tests/data/pii.json").read_text("utf-8"))
ALL = Redactor.of((), "en-IN")


def tally() -> dict[str, tuple[int, int, int]]:
    """Count, by kind, what was found rightly, wrongly, and missed."""
    counts: dict[str, tuple[int, int, int]] = dict.fromkeys(KINDS, (0, 0, 0))
    for case in CORPUS:
        text = case["text"]
        wanted = {(kind, text.index(part), text.index(part) + len(part)) for kind, part in case["finds"]}
        found = {(one.kind, one.begin, one.end) for one in ALL.find(text)}
        for kind in KINDS:
            ours, theirs = ({one for one in each if one[0] == kind} for each in (found, wanted))
            right, wrong, missed = counts[kind]
            counts[kind] = right + len(ours & theirs), wrong + len(ours - theirs), missed + len(theirs - ours)
    return counts


def table() -> str:
    """Make the table that stands in the documentation."""
    lines = ["| kind | found | wrongly | missed | precision | recall |", "|---|---|---|---|---|---|"]
    counts = tally()
    total = tuple(sum(each) for each in zip(*counts.values(), strict=True))
    for kind, (right, wrong, missed) in [*counts.items(), ("all", total)]:
        precision, recall = right / max(right + wrong, 1), right / max(right + missed, 1)
        lines.append(f"| {kind} | {right} | {wrong} | {missed} | {precision:.2f} | {recall:.2f} |")
    return "\n".join(lines)


def test_precision_and_recall(capsys: pytest.CaptureFixture[str]) -> None:
    """Nineteen of twenty are found and of what is found are right; the figures in the documentation are these."""
    with capsys.disabled():
        print(f"\n{table()}")
    right, wrong, missed = (sum(each) for each in zip(*tally().values(), strict=True))
    assert right / (right + wrong) >= 0.95
    assert right / (right + missed) >= 0.95
    assert table() in (ROOT / "docs/after-a-call.md").read_text("utf-8")


def test_the_corpus_has_both_kinds() -> None:
    """At least ten numbers or addresses of each common kind, and as many texts in which there is nothing."""
    assert sum(not case["finds"] for case in CORPUS) >= 50
    assert sum(len(case["finds"]) for case in CORPUS) >= 50
    assert {kind for case in CORPUS for kind, _ in case["finds"]} == set(KINDS)


def test_what_is_left() -> None:
    """What is found is replaced by its kind, and all else stays."""
    text = "I am Ravi, 98450 12345, ravi@example.in, PAN ABCPK1234F."
    assert ALL.text(text) == "I am Ravi, [phone], [email], PAN [pan]."
    assert Redactor.of(["email"], "en-IN").text(text) == "I am Ravi, 98450 12345, [email], PAN ABCPK1234F."
    assert ALL.text("+91 98450 12345!") == "[phone]!"


@pytest.mark.parametrize("kind", KINDS)
def test_one_kind_alone(kind: str) -> None:
    """Whoever asks for one kind has nothing else taken out."""
    one = Redactor.of([kind], "en-IN")
    for case in CORPUS:
        assert {found.kind for found in one.find(case["text"])} <= {kind}


def test_the_region_is_the_locale_s() -> None:
    """A number without a country's code is one of the agent's country."""
    assert Redactor.of((), "en-US").text("650 253 0000") == "[phone]"
    assert ALL.text("650 253 0000") == "[phone]" or not is_phone("6502530000", "IN")
    assert Redactor.of((), "hi").region == "IN"
    assert not is_phone("1", "IN")
    assert not is_phone("", "IN")


def test_structured_fields_are_left_alone() -> None:
    """Who called whom stays readable, numbers are no text, and texts are looked into at any depth."""
    data = {"to": "+919845012345", "args": {"phone": "+919845012345", "n": 9845012345}, "list": ["a@b.io", None, True]}
    assert ALL.value(data) == {
        "to": "+919845012345", "args": {"phone": "[phone]", "n": 9845012345}, "list": ["[email]", None, True],
    }  # fmt: skip


@given(st.text(max_size=200))
def test_any_text_is_survived(text: str) -> None:
    """Whatever comes, what is found lies within it, in order, without overlaps, and nothing is found twice."""
    found = ALL.find(text)
    assert all(0 <= one.begin < one.end <= len(text) for one in found)
    assert all(one.end <= after.begin for one, after in pairwise(found))
    redacted = ALL.text(text)
    assert ALL.text(redacted) == redacted or "[" in text


@given(st.integers(10**10, 10**11 - 1), st.integers(0, 11), st.integers(1, 9))
def test_check_digits_notice_a_slip(number: int, place: int, change: int) -> None:
    """One digit is right, and no number with one other digit is."""
    for check, digits in ((luhn, str(number)), (verhoeff, str(number))):
        (whole,) = [f"{digits}{last}" for last in range(10) if check(f"{digits}{last}")]
        at = place % len(whole)
        other = (int(whole[at]) + change) % 10
        assert not check(f"{whole[:at]}{other}{whole[at + 1 :]}")


def test_verhoeff_notices_swapped_digits() -> None:
    """Two neighbours that change places are noticed, which Luhn's scheme does not always do."""
    assert verhoeff("234123412346")
    assert not verhoeff("231423412346")


def test_runs_of_digits() -> None:
    """Words, figures and groups are one run; other words, times and decimals end it."""
    assert [run.digits for run in runs("nine double four, 12-3 then 7 and 10:30")][:2] == ["944123", "7"]
    (run,) = runs("(080) 12 treble 7")
    assert run.digits == "08012777"
    assert [digits for _, _, digits in run.parts(5)][:2] == ["08012", "12777"]


def test_an_agent_has_a_redactor_only_where_it_is_on() -> None:
    """Off, or never said: nothing is taken out."""
    assert redactor_of(AgentConfig()) is None
    assert redactor_of(AgentConfig(redaction=Redaction(enabled=False))) is None
    one = redactor_of(AgentConfig(redaction=Redaction(enabled=True, kinds=("pan",)), locale="en-US"))
    assert one == Redactor(frozenset({"pan"}), "US")
