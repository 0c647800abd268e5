"""Requests are read strictly, and everything that is wrong with one is told at once."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from invorto.convert import ANSWERS, camel, iso, structure, unstructure
from invorto.errors import Invalid
from invorto.model.agent import AgentConfig, GreetingAudio, ToolDefinition
from invorto.model.call import CallStatus


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen(kw_only=True)
class Everything:
    word: str = ""
    yes: bool = False
    whole: int = 0
    real: float = 0.0
    money: Decimal = Decimal(0)
    when: datetime | None = None
    colour: Colour = Colour.RED
    one: Literal["a", "b", 3] = "a"
    names: str | tuple[str, ...] = ()
    maybe: int | None = None
    free: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    words: Mapping[str, str] = attrs.field(factory=dict[str, str])
    from_: str = ""
    whatever: Any = None


@attrs.frozen(kw_only=True)
class Needs:
    name: str
    inner_thing: Everything


type Size = Literal["s", "m"] | int


@attrs.frozen(kw_only=True)
class Disc:
    radius: float


@attrs.frozen(kw_only=True)
class Box:
    width: float


@attrs.frozen(kw_only=True)
class Choices:
    size: Size | None = None
    flag: bool | int = False
    colour: Colour | None = None
    anything: Any | None = None
    form: Disc | Box | None = None
    nothing: None = None


def faults(value: object, kind: type[Any] = Everything) -> list[tuple[str, str]]:
    """Give every fault that is told of *value*."""
    with pytest.raises(Invalid) as caught:
        structure(value, kind)
    return [(fault.path, fault.message) for fault in caught.value.faults]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"word": 5}, "$.word", "expected text"),
    ({"word": "a\0b"}, "$.word", "text must not hold NUL characters"),
    ({"word": "\ud800"}, "$.word", "text must be valid Unicode, without lone surrogates"),
    ({"yes": 1}, "$.yes", "expected true or false"),
    ({"yes": "true"}, "$.yes", "expected true or false"),
    ({"whole": "5"}, "$.whole", "expected a whole number"),
    ({"whole": 5.5}, "$.whole", "expected a whole number"),
    ({"whole": True}, "$.whole", "expected a whole number"),
    ({"whole": 2**53 + 1}, "$.whole", "number out of range"),
    ({"whole": 10**400}, "$.whole", "number out of range"),
    ({"real": "1.5"}, "$.real", "expected a number"),
    ({"real": float("nan")}, "$.real", "number out of range"),
    ({"real": float("inf")}, "$.real", "number out of range"),
    ({"real": 10**400}, "$.real", "number out of range"),
    ({"money": "a lot"}, "$.money", "expected a decimal number"),
    ({"money": True}, "$.money", "expected a decimal number"),
    ({"money": "NaN"}, "$.money", "number out of range"),
    ({"when": "yesterday"}, "$.when", "expected an ISO 8601 time"),
    ({"when": "0001-01-01T00:00:00+23:00"}, "$.when", "expected an ISO 8601 time"),
    ({"when": 5}, "$.when", "expected text or null"),
    ({"colour": "green"}, "$.colour", "expected one of red, blue"),
    ({"colour": []}, "$.colour", "expected one of red, blue"),
    ({"one": "c"}, "$.one", "expected one of a, b, 3"),
    ({"one": 3.0}, "$.one", "expected one of a, b, 3"),
    ({"names": 5}, "$.names", "expected text or a list"),
    ({"names": ["a", 5]}, "$.names[1]", "expected text"),
    ({"maybe": "5"}, "$.maybe", "expected a number or null"),
    ({"free": []}, "$.free", "expected an object"),
    ({"free": {"a": {"b": "\0"}}}, "$.free.a.b", "text must not hold NUL characters"),
    ({"free": {"a\0": 1}}, '$.free["a\\u0000"]', "text must not hold NUL characters"),
    ({"free": {"a": [1, 2**60]}}, "$.free.a[1]", "number out of range"),
    ({"free": {"big": "x" * 300_000}}, "$.free", "must be at most 256 KiB of JSON"),
    ({"words": {"a b": 5}}, '$.words["a b"]', "expected text"),
    ({"from_": "x"}, "$.from_", "unknown field, did you mean from?"),
    ({"bogus": 1}, "$.bogus", "unknown field"),
]


@pytest.mark.parametrize(("value", "path", "message"), WRONG, ids=lambda part: str(part)[:40])
def test_says_what_is_wrong_and_where(value: dict[str, Any], path: str, message: str) -> None:
    """Whoever sends a wrong value reads where it stands and what was expected."""
    assert faults(value) == [(path, message)]


def test_all_faults_at_once() -> None:
    """One answer lists everything, so that a request is mended once."""
    sent = {"innerThing": {"yes": "no", "whole": "x", "wholle": ""}, "extra": 1}
    assert faults(sent, Needs) == [
        ("$.name", "required field missing"),
        ("$.innerThing.yes", "expected true or false"),
        ("$.innerThing.whole", "expected a whole number"),
        ("$.innerThing.wholle", "unknown field, did you mean whole?"),
        ("$.extra", "unknown field"),
    ]


@pytest.mark.parametrize("value", [None, 5, "text", [], [{}], True])
def test_an_object_is_an_object(value: object) -> None:
    """A body that is not an object is refused, whatever it is."""
    assert faults(value) == [("$", "expected an object")]


def test_rules_are_told_for_every_field() -> None:
    """Two broken rules are two faults, with the names of the API."""
    assert faults({"endpointing": {"silenceMs": 3, "minWords": 11}, "llm": {"temperature": 2.5}}, AgentConfig) == [
        ("$.llm.temperature", "must be at most 2"),
        ("$.endpointing.silenceMs", "must be at least 100"),
        ("$.endpointing.minWords", "must be at most 10"),
    ]


def test_unions_go_by_shape() -> None:
    """A greeting is text, audio, or nothing; a tool is a name or a definition; a fault is about what was meant."""
    config = structure({"greeting": {"audio": "https://x/y.wav"}, "tools": ["book", {"name": "look"}]}, AgentConfig)
    assert config.greeting == GreetingAudio(audio="https://x/y.wav")
    assert config.tools == ("book", ToolDefinition(name="look"))
    assert structure({"greeting": None}, AgentConfig).greeting is None
    assert structure({"stt": {"provider": "a,b"}}, AgentConfig).stt.providers == ("a", "b")
    assert structure({"stt": {"provider": ["a", "b"]}}, AgentConfig).stt.providers == ("a", "b")
    assert faults({"greeting": 5}, AgentConfig) == [("$.greeting", "expected text, an object or null")]
    assert faults({"tools": "book"}, AgentConfig) == [("$.tools", "expected a list")]
    assert faults({"tools": ["a", {"nam": "b"}]}, AgentConfig) == [
        ("$.tools[1].name", "required field missing"),
        ("$.tools[1].nam", "unknown field"),
    ]


CHOICES: list[tuple[dict[str, Any], Choices]] = [
    ({"size": "m"}, Choices(size="m")),
    ({"size": 5}, Choices(size=5)),
    ({"flag": True}, Choices(flag=True)),
    ({"flag": 1}, Choices(flag=1)),
    ({"colour": "blue"}, Choices(colour=Colour.BLUE)),
    ({"anything": [{"a": 1}]}, Choices(anything=[{"a": 1}])),
    ({"anything": None}, Choices()),
    ({"form": {"radius": 1}}, Choices(form=Disc(radius=1.0))),
    ({"form": {"width": 1}}, Choices(form=Box(width=1.0))),
    ({"nothing": None}, Choices()),
]


@pytest.mark.parametrize(("value", "meant"), CHOICES, ids=lambda part: str(part)[:40])
def test_choices_are_made_by_what_they_hold(value: dict[str, Any], meant: Choices) -> None:
    """Of several kinds that a field may be, the one that fits is read: by its shape, then in their order."""
    read = structure(value, Choices)
    assert read == meant
    assert type(read.flag) is type(meant.flag)


def test_a_choice_that_nothing_fits_is_told() -> None:
    """What fits none of several kinds is told once, about the last of those that it looks like."""
    assert faults({"size": "xl", "flag": "yes", "form": {"depth": 1}, "nothing": 0}, Choices) == [
        ("$.size", "expected one of s, m"),
        ("$.flag", "expected true or false or a number"),
        ("$.form.width", "required field missing"),
        ("$.form.depth", "unknown field"),
        ("$.nothing", "expected null"),
    ]


def test_what_no_json_holds_is_refused() -> None:
    """A value that comes from elsewhere than JSON is a fault, also deep inside."""
    assert faults({"whatever": {"a": [{1, 2}]}}) == [("$.whatever.a[0]", "expected JSON")]
    assert structure({"whatever": (1, "a")}, Everything).whatever == (1, "a")


def test_deep_nesting_is_a_fault() -> None:
    """A thousand brackets are refused like any other mistake, and do not end in the server's stack."""
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    [(path, message)] = faults({"free": {"a": deep}})
    assert path.startswith("$.free.a[0]")
    assert message == "nested too deeply"
    assert faults({"whatever": deep})[0][1] == "nested too deeply"


def test_faults_are_bounded() -> None:
    """A list of very many wrong items gets a short answer."""
    assert len(faults({"names": [1] * 100_000})) == 100


def test_ours_may_hold_more() -> None:
    """What a later version stored is still read."""
    assert structure({"word": "a", "later": 1}, Everything, ANSWERS).word == "a"


def test_everything_goes_round() -> None:
    """What is answered can be sent back."""
    value = Everything(
        word="é", yes=True, whole=5, real=0.5, money=Decimal("12.30"), when=datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC),
        colour=Colour.BLUE, one=3, names=("a",), maybe=1, free={"a": [1, None]}, words={"a": "b"}, from_="f",
    )  # fmt: skip
    written = unstructure(value)
    assert written["when"] == "2026-01-02T03:04:05.678Z"
    assert written["money"] == "12.30"
    assert written["names"] == ["a"]
    assert written["from"] == "f"
    assert structure(json.loads(json.dumps(written)), Everything) == value
    assert structure(json.loads(json.dumps(unstructure(AgentConfig()))), AgentConfig) == AgentConfig()


def test_small_forms() -> None:
    """Names are camelCase outside, times are UTC with Z, 5.0 is a whole number."""
    assert [camel(name) for name in ("silence_ms", "from_", "a_b_c")] == ["silenceMs", "from", "aBC"]
    assert iso(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000Z"
    assert structure({"whole": 5.0}, Everything).whole == 5
    assert structure({"when": "2026-01-02T03:04:05+05:30"}, Everything).when == datetime(
        2026, 1, 1, 21, 34, 5, tzinfo=UTC
    )
    assert structure("no-answer", CallStatus) is CallStatus.NO_ANSWER


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
names = st.sampled_from([camel(field.name) for field in attrs.fields(AgentConfig)])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, json_values, max_size=6))
def test_nothing_but_invalid(value: dict[str, Any]) -> None:
    """Whatever JSON is sent as an agent, it is an agent or it is told what is wrong."""
    try:
        config = structure(value, AgentConfig)
    except Invalid as error:
        told = [fault for fault in error.faults if fault.path.startswith("$") and fault.message]
        if not told or len(told) != len(error.faults):
            pytest.fail(f"told without path or message: {error.faults}")
    else:
        assert structure(json.loads(json.dumps(unstructure(config))), AgentConfig) == config
