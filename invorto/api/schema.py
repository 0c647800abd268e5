"""JSON Schemas of the frozen classes that read requests and write answers: one source for both."""

from __future__ import annotations

import ast
import enum
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeAliasType, TypeVar, Union, cast, get_args, get_origin

import attrs

from invorto.convert import camel, unstructure
from invorto.model.rules import words_of

type Schema = dict[str, Any]
type Mode = Literal["request", "answer"]
"""Requests refuse unknown names and may leave out what has a default; answers have everything, and may grow."""

_EXACT = 2**53
_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": -_EXACT, "maximum": _EXACT},
    float: {"type": "number", "minimum": -_EXACT, "maximum": _EXACT},
    Decimal: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"},
    datetime: {"type": "string", "format": "date-time"},
    NoneType: {"type": "null"},
    bytes: {"type": "string", "format": "binary"},
}
_OF_TEXT = ("minLength", "maxLength", "pattern")
_OF_KIND = {
    "string": _OF_TEXT,
    "integer": ("minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


@attrs.define
class Schemas:
    """The schemas of one document: classes by name, everything else where it stands."""

    components: dict[str, Schema] = attrs.field(factory=dict[str, Schema])
    _names: dict[tuple[Any, Mode], str] = attrs.field(factory=dict[tuple[Any, Mode], str])

    def of(self, kind: Any, mode: Mode) -> Schema:
        """
        Give the schema of a type as *mode* has it.

        A class may write its own: a class method ``json_schema(schemas, mode)``. `TypeError` for a type that has none.
        """
        origin = get_origin(kind) or kind
        if isinstance(kind, TypeAliasType):
            return self.of(kind.__value__, mode)
        if isinstance(origin, TypeAliasType):
            return self.of(origin.__value__[get_args(kind)], mode)
        if kind is Any or kind is object or isinstance(kind, TypeVar):
            return {}
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if origin is Literal:
            return {"enum": list(get_args(kind))}
        if origin in (Union, UnionType):
            return self._either([self.of(member, mode) for member in get_args(kind)])
        if isinstance(origin, type) and issubclass(origin, enum.Enum):
            return self._component(kind, mode, lambda: {"enum": [member.value for member in origin]})
        if hasattr(origin, "json_schema"):
            return self._component(kind, mode, lambda: origin.json_schema(self, mode))
        if attrs.has(origin):
            return self._component(kind, mode, lambda: self.object(kind, mode))
        if isinstance(origin, type) and issubclass(origin, Mapping):
            item = (*get_args(kind), Any, Any)[1]
            return {"type": "object", "additionalProperties": self.of(item, mode) or True}
        if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
            (item,) = {*get_args(kind)} - {Ellipsis} or {Any}
            return {"type": "array", "items": self.of(item, mode)}
        raise TypeError(f"{kind!r} has no JSON Schema")

    def object(self, kind: Any, mode: Mode) -> Schema:
        """Write out the schema of a class, field by field."""
        origin = get_origin(kind) or kind
        given = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
        fields = [field for field in attrs.fields(attrs.resolve_types(origin)) if field.init]
        told = _told(origin)
        properties: dict[str, Schema] = {}
        for field in fields:
            made = self.field(field, mode, given)
            if field.name in told:
                made = {**made, "description": told[field.name]}
            properties[camel(field.name)] = made
        required = [camel(field.name) for field in fields if mode == "answer" or field.default is attrs.NOTHING]
        schema: Schema = {"type": "object", "description": first_line(origin), "properties": properties}
        if required:
            schema["required"] = required
        if mode == "request":
            schema["additionalProperties"] = False
        return schema

    def field(self, field: attrs.Attribute[Any], mode: Mode, given: Mapping[Any, Any] | None = None) -> Schema:
        """Write out the schema of one field, its rules and its default included."""
        kind = _filled(field.type, given or {})
        schema = self.of(kind, mode)
        if mode == "request":
            schema = _ruled(schema, words_of(field.validator))
            if field.default is not attrs.NOTHING and isinstance(field.default, str | int | float | bool | enum.Enum):
                schema = {**schema, "default": unstructure(field.default)}
        return schema

    def _component(self, kind: Any, mode: Mode, write: Any) -> Schema:
        name = self._names.get((kind, mode))
        if name is None:
            name = base = _name(kind)
            number = 1
            while name in self.components:
                number += 1
                name = f"{base}{'Answer' if mode == 'answer' and number == 2 else number}"
            self._names[kind, mode] = name
            self.components[name] = {}
            self.components[name] = write()
        return {"$ref": f"#/components/schemas/{name}"}

    def _either(self, members: list[Schema]) -> Schema:
        plain = [one for one in members if set(one) == {"type"}]
        others = [one for one in members if one not in plain]
        if len(others) <= 1 and plain and all(isinstance(one.get("type"), str) for one in members):
            merged: Schema = {**(others[0] if others else {})}
            merged["type"] = [one["type"] for one in members]
            return merged
        return {"anyOf": members}


def first_line(kind: Any) -> str:
    """Give the first line of a docstring."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _name(kind: Any) -> str:
    origin = get_origin(kind) or kind
    inner = "".join(_name(one) for one in get_args(kind) if isinstance(one, type) or get_origin(one))
    return f"{inner}{origin.__name__.lstrip('_')}"


def _filled(kind: Any, given: Mapping[Any, Any]) -> Any:
    """Put what a generic class was made with in the place of its parameters."""
    if isinstance(kind, TypeVar):
        return given.get(kind, Any)
    parameters = getattr(kind, "__parameters__", ())
    return kind[tuple(given.get(one, Any) for one in parameters)] if parameters and not isinstance(kind, type) else kind


def _ruled(schema: Schema, words: Mapping[str, Any]) -> Schema:
    """Put the keywords of a field's rule where its type has them; those of a text, with a list, to its texts."""
    if not words:
        return schema
    if "anyOf" in schema:
        return {**schema, "anyOf": [_ruled(one, words) for one in cast("list[Schema]", schema["anyOf"])]}
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    ruled = {**schema, **{word: words[word] for kind in kinds for word in _OF_KIND.get(kind, ()) if word in words}}
    if "array" in kinds and schema.get("items", {}).get("type") == "string":
        ruled["items"] = {**schema["items"], **{word: words[word] for word in _OF_TEXT if word in words}}
    return ruled


@cache
def _told(kind: type[Any]) -> Mapping[str, str]:
    """Read what stands below each field of a class, in its source."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    told: dict[str, str] = {}
    name = None
    for part in cast("ast.ClassDef", node).body:
        match part:
            case ast.AnnAssign(target=ast.Name(id=str(found))):
                name = found
            case ast.Expr(value=ast.Constant(value=str(text))) if name is not None:
                told[name] = " ".join(text.split())
                name = None
            case _:
                name = None
    return told
