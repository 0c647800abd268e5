"""JSON Schemas of tools: checked before they are kept, and held against what models and tools say; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from invorto.errors import Fault
from invorto.plain import step

LARGEST: Final = 32 * 1024
"""Bytes of a schema."""
DEEPEST: Final = 32
"""Levels of a schema, and of a tool's answer."""
MOST_FAULTS: Final = 5
_SLOW: Final = ("pattern", "patternProperties", "format")
"""Not held against values: a regular expression may take for ever, and a tenant's must not stop the others' calls."""

_Lenient: Any = extend(Draft202012Validator, dict.fromkeys(_SLOW, lambda *_: None))


def schema_faults(schema: Mapping[str, Any]) -> list[Fault]:
    """Say what is wrong with a schema; references may point within it alone."""
    if depth(plain := dict(schema)) > DEEPEST:
        return [Fault("$", f"must be at most {DEEPEST} levels deep")]
    if len(msgspec.json.encode(plain)) > LARGEST:
        return [Fault("$", f"must be at most {LARGEST // 1024} KiB")]
    if any(not ref.startswith("#") for ref in _references(schema)):
        return [Fault("$", "a $ref must point within the schema: #/$defs/…")]
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return [_fault(error)]
    return []


def value_faults(schema: Mapping[str, Any] | None, value: Any) -> list[Fault]:
    """Say where *value* is not what *schema* asks for; nothing without a schema."""
    if not schema:
        return []
    try:
        errors = _validator(msgspec.json.encode(schema)).iter_errors(value)
        return [_fault(error) for error, _ in zip(errors, range(MOST_FAULTS), strict=False)]
    except (RecursionError, Unresolvable):
        return [Fault("$", "its schema leads nowhere")]


@lru_cache(256)
def _validator(schema: bytes) -> Any:
    return _Lenient(msgspec.json.decode(schema), registry=Registry())


def _fault(error: ValidationError | SchemaError) -> Fault:
    path = "".join(step(part) for part in error.absolute_path)
    return Fault(f"${path}", error.message[:300])


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in {"$ref", "$dynamicRef"} and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(schema, list | tuple):
        for value in schema:
            yield from _references(value)


def depth(value: Any) -> int:
    """Count the levels of a parsed value, without recursion."""
    deepest, todo = 0, [(value, 1)]
    while todo:
        held, level = todo.pop()
        if isinstance(held, dict | list):
            deepest = max(deepest, level)
            inner = held.values() if isinstance(held, dict) else held
            todo += [(each, level + 1) for each in inner if isinstance(each, dict | list)]
    return deepest
