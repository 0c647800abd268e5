"""JSON Schema for what people write into agents: checked when it is written, and never fetched from anywhere; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

type Schema = Mapping[str, Any]

MOST_FAULTS = 5


def schema_fault(schema: Schema) -> str | None:
    """Say what is wrong with a schema; None if nothing is."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"is no JSON Schema at {error.json_path}: {error.message[:200]}"
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "may refer only to itself, by $ref that begins with #"
    return None


def faults(value: Any, schema: Schema) -> list[str]:
    """Say where *value* is not as *schema* wants it, at most five places; a schema that cannot be used is a fault."""
    validator = Draft202012Validator(schema, registry=Registry())
    found: list[str] = []
    try:
        for error in validator.iter_errors(value):
            found.append(f"{error.json_path}: {error.message[:200]}")
            if len(found) >= MOST_FAULTS:
                break
    except (Unresolvable, RecursionError) as error:
        found.append(f"the schema cannot be used ({type(error).__name__})")
    return found


def _references(schema: Any) -> Iterator[str]:
    match schema:
        case Mapping():
            for key, item in schema.items():
                if key in {"$ref", "$dynamicRef"} and isinstance(item, str):
                    yield item
                else:
                    yield from _references(item)
        case list() | tuple():
            for item in schema:
                yield from _references(item)
        case _:
            pass
