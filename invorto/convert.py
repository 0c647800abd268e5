"""Between JSON and the frozen classes: strict types, camelCase outside, every fault with its path."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.v import transform_error

from invorto.errors import Fault, Invalid

_MAX_INT = 2**53


def camel(name: str) -> str:
    """Give the JSON name of a field: ``silence_ms`` is ``silenceMs``, ``from_`` is ``from``."""
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.title() for part in rest)


def _strict_str(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected text")
    if "\0" in value:
        raise ValueError("text must not hold NUL characters")
    return value


def _strict_bool(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def _strict_int(value: object, _: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_INT:
            return int(value)
        raise TypeError("expected a whole number")
    if abs(value) > _MAX_INT:
        raise ValueError("number out of range")
    return value


def _strict_float(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("expected a number")
    if not math.isfinite(value) or abs(value) > _MAX_INT:
        raise ValueError("number out of range")
    return float(value)


def _moment(value: object, _: object) -> datetime:
    if not isinstance(value, str):
        raise TypeError("expected an ISO 8601 time")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected an ISO 8601 time") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def iso(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC with ``Z`` and milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_converter(*, forbid_extra_keys: bool = True) -> cattrs.Converter:
    """Make a converter; requests refuse unknown keys, what carriers and vendors send may hold more."""
    converter = cattrs.Converter(forbid_extra_keys=forbid_extra_keys, detailed_validation=True)
    converter.register_structure_hook(str, _strict_str)
    converter.register_structure_hook(bool, _strict_bool)
    converter.register_structure_hook(int, _strict_int)
    converter.register_structure_hook(float, _strict_float)
    converter.register_structure_hook(datetime, _moment)
    converter.register_unstructure_hook(datetime, iso)

    @converter.register_structure_hook_factory(attrs.has)
    def structure(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
        names = {field.name: override(rename=camel(field.name)) for field in attrs.fields(get_origin(cls) or cls)}
        build = make_dict_structure_fn(cls, converter, **names)  # pyright: ignore[reportArgumentType]

        def strict(value: object, kind: type[Any]) -> Any:
            if not isinstance(value, dict):
                raise TypeError("expected an object")
            return build(value, kind)

        return strict

    @converter.register_unstructure_hook_factory(attrs.has)
    def unstructure(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any], Any]:
        names = {field.name: override(rename=camel(field.name)) for field in attrs.fields(get_origin(cls) or cls)}
        return make_dict_unstructure_fn(cls, converter, **names)  # pyright: ignore[reportArgumentType]

    return converter


REQUESTS = make_converter()
"""For what clients send: unknown keys are refused."""

ANSWERS = make_converter(forbid_extra_keys=False)
"""For what we stored ourselves, or what others send and may extend."""


def structure[T](value: object, kind: type[T], converter: cattrs.Converter = REQUESTS) -> T:
    """Make a *kind* of parsed JSON; `Invalid` lists every fault with its path."""
    try:
        return converter.structure(value, kind)
    except Exception as error:
        faults = [_fault(line) for line in transform_error(error)]
        raise Invalid("; ".join(f"{f.path}: {f.message}" for f in faults), faults) from error


def unstructure(value: object) -> Any:
    """Make parsed JSON of frozen classes."""
    return REQUESTS.unstructure(value)


def _fault(line: str) -> Fault:
    message, _, path = line.rpartition(" @ ")
    return Fault(path or "$", message or line)
