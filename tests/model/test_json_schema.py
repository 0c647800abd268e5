"""Schemas that people write: checked when they are written, and never fetched from anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from invorto.errors import Invalid
from invorto.model.agent_document import check
from invorto.model.json_schema import MOST_FAULTS, faults, schema_fault

PERSON: dict[str, Any] = {
    "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}  # fmt: skip


def test_what_fits_has_no_fault() -> None:
    """A value as the schema wants it; one that is not is told where, at most five times."""
    assert faults({"name": "Anna", "age": 7}, PERSON) == []
    (missing,) = faults({"age": 7}, PERSON)
    assert "name" in missing
    (wrong,) = faults({"name": "Anna", "age": -1}, PERSON)
    assert wrong.startswith("$.age")
    assert len(faults(list(range(50)), {"items": {"type": "string"}})) == MOST_FAULTS


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"properties": {"a": {"minimum": "1"}}},
        {"$ref": "https://example.com/schema.json"},
        {"items": [{"$ref": "file:///etc/passwd"}]},
        {"properties": {"a": {"$dynamicRef": "other.json#x"}}},
    ],
)
def test_what_is_no_schema_of_ours(schema: dict[str, Any]) -> None:
    """What is no JSON Schema, or leads elsewhere, is refused, with an agent that holds it."""
    assert schema_fault(schema)
    with pytest.raises(Invalid, match=r"\$\.summary\.schema"):
        check({"summary": {"schema": schema}}, {})


def test_a_schema_may_refer_to_itself() -> None:
    """References within are fine; what cannot be resolved is a fault of the value, and nothing is fetched."""
    tree = {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}
    assert schema_fault(tree) is None
    assert faults({"next": {"next": {}}}, tree) == []
    assert faults({"next": {"next": 1}}, tree)
    assert faults(1, {"$ref": "https://example.com/x"}) == ["the schema cannot be used (_WrappedReferencingError)"]
    assert faults(1, {"$ref": "#"})
    assert check({"summary": {"schema": PERSON}}, {}).summary.schema == PERSON
