"""What is pure of tools: schemas, requests, answers; whatever a model, a tenant or a tool makes up."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import Fault
from invorto.model.agent import ToolDefinition
from invorto.outgoing.addresses import AddressRules
from invorto.outgoing.client import Answer
from invorto.tools.answers import read_answer
from invorto.tools.requests import ToolFailed, allowed_host, request_of, tool_faults, turn_key
from invorto.tools.schemas import depth, schema_faults, value_faults

BOOKING: dict[str, Any] = {
    "type": "object",
    "properties": {"day": {"type": "string"}, "people": {"type": "integer", "minimum": 1}},
    "required": ["day"],
}
DEEP: Any = json.loads("[" * 40 + "]" * 40)


def tool(**fields: Any) -> ToolDefinition:
    given: dict[str, Any] = {"name": "book", "url": "https://api.example.com/book", "input_schema": BOOKING}
    return ToolDefinition(**{**given, **fields})


def answered(body: bytes, status: int = 200, kind: str = "application/json", **more: Any) -> Answer:
    return Answer(status=status, headers={"content-type": kind}, body=body, **more)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "text"}, "is not valid under any of the given schemas"),
        ({"$ref": "https://evil.example/schema.json"}, "must point within"),
        ({"properties": {"a": {"$dynamicRef": "http://10.0.0.1/"}}}, "must point within"),
        ({"const": DEEP}, "levels deep"),
        ({"description": "x" * 40_000}, "32 KiB"),
    ],
)
def test_schemas_that_are_none(schema: dict[str, Any], says: str) -> None:
    """A schema of no known type, that points elsewhere, or that is too large, is refused with a sentence."""
    (fault,) = schema_faults(schema)
    assert says in fault.message


def test_values_are_held_to_schemas() -> None:
    """Each fault has its path; expressions that could run for ever are not held against anything."""
    assert value_faults(BOOKING, {"day": "Monday", "people": 2}) == []
    assert {fault.path for fault in value_faults(BOOKING, {"people": 0})} == {"$", "$.people"}
    assert value_faults({"type": "string", "pattern": "^(a+)+$"}, "a" * 60 + "!") == []
    assert value_faults({"$ref": "#/$defs/nothing"}, 1) == [Fault("$", "its schema leads nowhere")]
    assert value_faults({"$ref": "#"}, 1) == [Fault("$", "its schema leads nowhere")]


@given(st.recursive(st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_depth_is_the_longest_way_down(value: Any) -> None:
    """It is one more than the deepest of what is inside."""
    inner = list(value.values()) if isinstance(value, dict) else value
    expected = 1 + max((depth(one) for one in inner), default=0) if isinstance(value, dict | list) else 0
    assert depth(value) == expected


def test_a_request_is_made_of_arguments_and_secrets() -> None:
    """Placeholders take arguments, encoded; the rest is the body; secrets go into headers, and show nowhere."""
    made = request_of(
        tool(url="https://api.example.com/{day}/book?x={x}", headers={"Authorization": "Bearer ${secrets.key}"}),
        {"day": "a/b ?", "x": 1, "people": 2}, {"key": "hidden"}, key="k",
    )  # fmt: skip
    assert made.url == "https://api.example.com/a%2Fb%20%3F/book?x=1"
    assert json.loads(made.content) == {"people": 2}
    assert (made.headers["Authorization"], made.headers["Idempotency-Key"]) == ("Bearer hidden", "k")
    assert "hidden" not in repr(made)
    asked = request_of(tool(method="GET", url="https://api.example.com/{day}?a=1"), {"day": "x", "n": 2}, {})
    assert (asked.url, asked.content) == ("https://api.example.com/x?a=1&n=2", b"")


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (tool(url="https://api.example.com/{room}"), "the argument room is missing"),
        (tool(headers={"X": "${secrets.none}"}), "a secret is missing"),
    ],
)
def test_requests_that_cannot_be_made(definition: ToolDefinition, says: str) -> None:
    """What is missing is told, without the names of secrets."""
    with pytest.raises(ToolFailed, match=says):
        request_of(definition, {"day": "x"}, {})


def test_a_request_without_more() -> None:
    """No key, no arguments, no schema of properties: nothing is added."""
    made = request_of(tool(method="GET", url="https://api.example.com/"), {}, {})
    assert (made.url, dict(made.headers)) == ("https://api.example.com/", {"Accept": "application/json"})
    assert (
        tool_faults(tool(input_schema={}, url="https://api.example.com/{x}"), AddressRules(), ["api.example.com"]) == []
    )
    assert tool_faults(tool(url=None), AddressRules(), []) == []


@given(st.text(min_size=1, max_size=30))
def test_an_argument_never_leaves_its_place(text: str) -> None:
    """Whatever a model makes up stays within its step of the path."""
    try:
        made = request_of(tool(url="https://api.example.com/a/{day}/b"), {"day": text}, {})
    except UnicodeEncodeError:
        return
    assert made.url.startswith("https://api.example.com/a/")
    assert made.url.endswith("/b")
    assert made.url.count("/") == 5
    assert "?" not in made.url
    assert "#" not in made.url


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"url": "https://{day}.example.com/"}, "a host has no placeholders"),
        ({"url": "http://api.example.com/"}, "https://"),
        ({"url": "https://10.0.0.1/"}, "not a public address"),
        ({"url": "https://other.example.com/"}, "not one of the tenant's toolHosts"),
        ({"url": "https://api.example.com/{who}"}, "no property of inputSchema"),
        ({"name": "end_call"}, "built-in"),
        ({"type": "mcp", "url": None}, "required field missing"),
        ({"output_schema": {"type": 7}}, "is not valid"),
    ],
)
def test_definitions_that_are_refused(fields: dict[str, Any], says: str) -> None:
    """Before a tool is kept, everything about it is looked at."""
    faults = tool_faults(tool(**fields), AddressRules(), ["api.example.com"])
    assert any(says in fault.message for fault in faults), faults


def test_hosts_of_a_tenant() -> None:
    """A name is itself; a star is all below it, and not itself."""
    assert allowed_host("api.example.com", ["API.example.com"])
    assert allowed_host("a.b.example.com", ["*.example.com"])
    assert not allowed_host("example.com", ["*.example.com"])
    assert not allowed_host("evil-example.com", ["*.example.com"])
    assert tool_faults(tool(), AddressRules(), ["api.example.com"]) == []


def test_the_key_of_a_turn() -> None:
    """The same call of a tool in a turn has the same key, in whatever order its arguments come."""
    key = turn_key("c_1", 2, "book", {"a": 1, "b": 2})
    assert key == turn_key("c_1", 2, "book", {"b": 2, "a": 1})
    assert len({key, turn_key("c_1", 3, "book", {"a": 1, "b": 2}), turn_key("c_1", 2, "book", {"a": 1})}) == 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (answered(b"{}", 302), "redirects are not followed"),
        (answered(b'{"error": {"message": "no such day"}}', 422), "it answered 422: no such day"),
        (answered(b"<html>", 500, "text/html"), "it answered 500$"),
        (answered(b"<html>", kind="text/html; charset=utf-8"), "not JSON but text/html"),
        (answered(b"{}", kind=""), "of no kind"),
        (answered(b"{", 200), "its answer is not JSON"),
        (answered(b"x" * 70_000, truncated=True), "longer than 64 KiB"),
        (answered(json.dumps(DEEP).encode()), "nested more than 32"),
        (answered(b"[" * 60_000 + b"]" * 4), "not JSON|nested more"),
        (answered(b'{"ok": 1}'), r"not what it promises: \$.ok"),
        (answered(b""), "not what it promises"),
    ],
)
def test_answers_that_do_not_count(answer: Answer, says: str) -> None:
    """Each says why, in words for a model."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}}
    with pytest.raises(ToolFailed, match=says):
        read_answer(answer, schema)


def test_answers_that_count() -> None:
    """JSON of any kind that says so, and nothing at all where nothing was promised."""
    assert read_answer(answered(b' {"a" : 1} ', kind="application/hal+json"), None) == b'{"a":1}'
    assert read_answer(answered(b"", 204, ""), None) == b"null"
    assert read_answer(answered(b"null"), None) == b"null"


@given(st.binary(max_size=60), st.sampled_from([200, 404, 500]))
def test_no_answer_raises_anything_else(body: bytes, status: int) -> None:
    """Whatever a tool says is JSON for the model, or a sentence why not."""
    with suppress(ToolFailed):
        json.loads(read_answer(answered(body, status), None))
