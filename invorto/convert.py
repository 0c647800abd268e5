"""Between JSON and the frozen classes: strict types, camelCase outside, every fault with its path."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeAliasType, Union, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from invorto import plain
from invorto.errors import Fault, Invalid


def camel(name: str) -> str:
    """Give the JSON name of a field: ``silence_ms`` is ``silenceMs``, ``from_`` is ``from``."""
    head, *rest = name.rstrip("_").split("_")
    return head + "".join(part.title() for part in rest)


def iso(moment: datetime) -> str:
    """Write a time as ISO 8601 in UTC with ``Z`` and milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- hooks by type --------------------------------------------------------------------------------

type _Hook = Callable[[Any, Any], Any]


def _literal(kind: Any, _: cattrs.Converter) -> _Hook:
    choices = get_args(kind)

    def read(value: object, _: object) -> object:
        for choice in choices:
            if type(value) is type(choice) and value == choice:
                return choice
        raise ValueError(f"expected one of {', '.join(map(str, choices))}")

    return read


def _enum(value: object, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if type(value) is type(member.value) and value == member.value:
            return member
    raise ValueError(f"expected one of {', '.join(str(member.value) for member in kind)}")


def _or_enum(hook: _Hook, value: object, kind: Any) -> Any:
    # cattrs comes here for an enum of texts too, since that is a kind of text.
    return _enum(value, kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else hook(value, kind)


def _many(kind: Any, converter: cattrs.Converter) -> _Hook:
    (item_kind,) = {*get_args(kind)} - {Ellipsis} or {Any}  # a tuple of one thing and another is no list
    gather = next((made for made in (tuple, list, frozenset, set) if get_origin(kind) is made), tuple)

    def read(value: object, _: object) -> Any:
        if not isinstance(value, list | tuple):
            raise TypeError("expected a list")
        items = enumerate(cast("Sequence[object]", value))
        return plain.each(((place, partial(converter.structure, item, item_kind)) for place, item in items), gather)

    return read


def _mapping(kind: Any, converter: cattrs.Converter) -> _Hook:
    item_kind = (*get_args(kind), Any, Any)[1]

    def read(value: object, _: object) -> Any:
        if not isinstance(value, dict):
            raise TypeError("expected an object")
        pairs = cast("dict[str, object]", value)
        if item_kind is Any:
            return dict(plain.free(pairs))
        return plain.each(((key, partial(pair, key, item)) for key, item in pairs.items()), dict)

    def pair(key: str, item: object) -> tuple[str, Any]:
        return plain.text(key), converter.structure(item, item_kind)

    return read


def _shapes(kind: Any) -> frozenset[str]:
    """Tell as which kinds of JSON value a type may be written."""
    origin = get_origin(kind) or kind
    if isinstance(kind, TypeAliasType):
        return _shapes(kind.__value__)
    if origin in (Union, UnionType):
        return frozenset[str]().union(*map(_shapes, get_args(kind)))
    if origin is Literal:
        return frozenset(_shape(choice) for choice in get_args(kind))
    if kind is Any:
        return frozenset({"null", "true or false", "a number", "text", "a list", "an object"})
    known = {NoneType: "null", bool: "true or false", int: "a number", float: "a number"}
    if origin in known:
        return frozenset({known[origin]})
    if attrs.has(origin) or issubclass(origin, Mapping):
        return frozenset({"an object"})
    if issubclass(origin, enum.Enum):
        return frozenset(_shape(member.value) for member in origin)
    return frozenset({"a list" if _is_many(origin) else "text"})


def _shape(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"


def _union(kind: Any, converter: cattrs.Converter) -> _Hook:
    """Choose by the JSON value's shape, so that a fault is about the member that was meant."""
    members: dict[str, list[Any]] = {}
    for member in get_args(kind):
        for shape in _shapes(member):
            members.setdefault(shape, []).append(member)
    *others, last = members
    expected = f"expected {', '.join(others)} or {last}" if others else f"expected {last}"

    def read(value: object, _: object) -> Any:
        meant = members.get(_shape(value))
        if meant is None:
            raise TypeError(expected)
        for member in meant[:-1]:
            try:
                return converter.structure(value, member)
            except (Invalid, ValueError, TypeError):
                continue
        return converter.structure(value, meant[-1])

    return read


def _object(cls: type[Any], converter: cattrs.Converter, *, strict: bool) -> _Hook:
    kind = get_origin(cls) or cls
    fields = {camel(field.name): field for field in attrs.fields(attrs.resolve_types(kind)) if field.init}

    def one(field: attrs.Attribute[Any], value: object) -> tuple[str, Any]:
        made = converter.structure(value, cast("Any", field.type) or Any)
        if field.validator is not None:
            # Now, not when the class is made: there the first rule that is broken hides the others.
            field.validator(None, field, made)
        return field.alias or field.name, made

    def read(value: object, _: object) -> Any:
        if not isinstance(value, dict):
            raise TypeError("expected an object")
        given = cast("dict[str, object]", value)
        parts: list[tuple[str, Callable[[], tuple[str, Any]]]] = []
        for name, field in fields.items():
            if name in given:
                parts.append((name, partial(one, field, given[name])))
            elif field.default is attrs.NOTHING:
                parts.append((name, partial(_refuse, "required field missing")))
        if strict:
            parts += [(key, partial(_refuse, _unknown(key, fields))) for key in given if key not in fields]
        return kind(**plain.each(parts, dict))

    return read


def _refuse(message: str) -> Any:
    raise ValueError(message)


def _unknown(key: str, fields: Iterable[str]) -> str:
    near = difflib.get_close_matches(camel(key[:64]), fields, n=1, cutoff=0.9)
    return f"unknown field, did you mean {near[0]}?" if near else "unknown field"


# -- the converters -------------------------------------------------------------------------------


def make_converter(*, forbid_extra_keys: bool = True) -> cattrs.Converter:
    """Make a converter; requests refuse unknown keys, what carriers and vendors send may hold more."""
    converter = cattrs.Converter(forbid_extra_keys=forbid_extra_keys, detailed_validation=False)
    plain_hooks: dict[Any, _Hook] = {
        str: plain.text,
        bool: plain.boolean,
        int: plain.whole,
        float: plain.number,
        Decimal: plain.decimal,
        datetime: plain.moment,
        NoneType: plain.nothing,
    }
    for kind, hook in plain_hooks.items():
        converter.register_structure_hook(kind, partial(_or_enum, hook))
    converter.register_structure_hook_factory(lambda kind: kind is Any or kind is object, lambda _: plain.free)
    by_type: list[tuple[Callable[[Any], bool], Callable[[Any, cattrs.Converter], _Hook]]] = [
        (attrs.has, partial(_object, strict=forbid_extra_keys)),
        (lambda kind: isinstance(kind, enum.EnumType), lambda _, __: _enum),
        (lambda kind: get_origin(kind) is Literal, _literal),
        (lambda kind: get_origin(kind) in (Union, UnionType), _union),
        (_is_many, _many),
        (_is_mapping, _mapping),
    ]
    for belongs, make in by_type:
        converter.register_structure_hook_factory(belongs, partial(_made, make, converter))

    converter.register_unstructure_hook(datetime, iso)
    converter.register_unstructure_hook(Decimal, lambda number: format(number, "f"))
    converter.register_unstructure_hook_func(_is_many, lambda items: [converter.unstructure(item) for item in items])

    @converter.register_unstructure_hook_factory(attrs.has)
    def unstructure(cls: type[Any], converter: cattrs.Converter) -> Callable[[Any], Any]:
        names = {field.name: override(rename=camel(field.name)) for field in attrs.fields(get_origin(cls) or cls)}
        return make_dict_unstructure_fn(cls, converter, **names)  # pyright: ignore[reportArgumentType]

    return converter


def _made(make: Callable[[Any, cattrs.Converter], _Hook], converter: cattrs.Converter, kind: Any) -> _Hook:
    return make(kind, converter)


def _is_many(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return (
        isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet) and not issubclass(origin, str | bytes)
    )


def _is_mapping(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


REQUESTS = make_converter()
"""For what clients send: unknown keys are refused."""

ANSWERS = make_converter(forbid_extra_keys=False)
"""For what we stored ourselves, or what others send and may extend."""


def structure[T](value: object, kind: type[T], converter: cattrs.Converter = REQUESTS) -> T:
    """Make a *kind* of parsed JSON; `Invalid` lists every fault with its path."""
    try:
        return converter.structure(value, kind)
    except Invalid:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        faults = [Fault("$", "nested too deeply")] if isinstance(error, RecursionError) else plain.faults_of(error)
        raise plain.invalid(faults) from error


def unstructure(value: object) -> Any:
    """Make parsed JSON of frozen classes."""
    return REQUESTS.unstructure(value)
