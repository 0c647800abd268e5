"""What a plain JSON value may be, and where in it something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, cast

from invorto.errors import Fault, Invalid

_MAX_INT = 2**53
"""Beyond it JavaScript's numbers, and so most clients', are no longer exact."""

_MAX_DEPTH = 32
"""Levels of free JSON: PostgreSQL and every client can take it, and no recursion of ours comes near its end."""

_MAX_FREE = 256 * 1024
"""Characters of one piece of free JSON; four of them fill a request's body."""

_MAX_FAULTS = 100
"""Told at once: a list of a million wrong items becomes neither an answer of a million lines nor a second of work."""


# -- faults ---------------------------------------------------------------------------------------


def step(key: str | int) -> str:
    """Write one step of a fault's path: ``.name`` for a plain key, ``[3]``, or the key in quotes."""
    if isinstance(key, int):
        return f"[{key}]"
    short = key if len(key) <= 64 else key[:63] + "…"
    return f".{short}" if key.isidentifier() else f"[{json.dumps(short)}]"


def below(key: str | int, faults: Iterable[Fault]) -> list[Fault]:
    """Move *faults* of a value to where the value stands in its parent."""
    return [Fault(f"${step(key)}{fault.path[1:]}", fault.message) for fault in faults]


def invalid(faults: Sequence[Fault]) -> Invalid:
    """Make one error of several faults; its text holds the first few."""
    return Invalid("; ".join(f"{fault.path}: {fault.message}" for fault in faults[:5]), faults)


def faults_of(error: Exception) -> list[Fault]:
    """Read the faults out of what a rule raised: `Invalid`, or ValueError and TypeError with a sentence."""
    if isinstance(error, Invalid):
        return list(error.faults) or [Fault("$", str(error))]
    return [Fault("$", str(error))]


def each[K: str | int, V, R](parts: Iterable[tuple[K, Callable[[], V]]], gather: Callable[[list[V]], R]) -> R:
    """Make every part, and tell what is wrong with all of them at once; after a hundred faults it stops looking."""
    values: list[V] = []
    faults: list[Fault] = []
    for key, make in parts:
        try:
            values.append(make())
        except (Invalid, ValueError, TypeError) as error:
            faults += below(key, faults_of(error))
            if len(faults) >= _MAX_FAULTS:
                break
    if faults:
        raise invalid(faults[:_MAX_FAULTS])
    return gather(values)


# -- values ---------------------------------------------------------------------------------------


def text(value: object, _: object = None) -> str:
    """Read text that PostgreSQL can hold: no NUL, no half of a character."""
    if not isinstance(value, str):
        raise TypeError("expected text")
    if "\0" in value:
        raise ValueError("text must not hold NUL characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("text must be valid Unicode, without lone surrogates") from None
    return value


def boolean(value: object, _: object = None) -> bool:
    """Read true or false, and not 0 or 1."""
    if not isinstance(value, bool):
        raise TypeError("expected true or false")
    return value


def whole(value: object, _: object = None) -> int:
    """Read a whole number that is exact in every client; 5.0 is 5."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_INT:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError("expected a whole number")
    if abs(value) > _MAX_INT:
        raise ValueError("number out of range")
    return value


def number(value: object, _: object = None) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("expected a number")
    if not abs(value) <= _MAX_INT:  # so that NaN, which is less than nothing, is refused too
        raise ValueError("number out of range")
    return float(value)


def decimal(value: object, _: object = None) -> Decimal:
    """Read a decimal number, as text or as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError("expected a decimal number")
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise ValueError("expected a decimal number") from None
    if not found.is_finite() or abs(found) > _MAX_INT:
        raise ValueError("number out of range")
    return found


def moment(value: object, _: object = None) -> datetime:
    """Read an ISO 8601 time; without an offset it is UTC."""
    try:
        when = datetime.fromisoformat(text(value))
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("expected an ISO 8601 time") from None


def nothing(value: object, _: object = None) -> None:
    """Read null."""
    if value is not None:
        raise TypeError("expected null")


def free(value: object, _: object = None) -> Any:
    """Check free JSON: its depth, its size, and that PostgreSQL and clients can hold every value of it."""
    _free(value, _MAX_DEPTH)
    if len(json.dumps(value)) > _MAX_FREE:
        raise ValueError(f"must be at most {_MAX_FREE // 1024} KiB of JSON")
    return value


def _free(value: object, levels: int) -> None:
    match value:
        case None | bool():
            return
        case str():
            text(value)
        case int() | float():
            number(value)
        case dict() | list() if levels == 0:
            raise ValueError("nested too deeply")
        case dict():
            pairs = cast("dict[object, object]", value).items()
            each(((str(key), partial(_pair, key, item, levels - 1)) for key, item in pairs), list)
        case list() | tuple():
            items = enumerate(cast("Sequence[object]", value))
            each(((place, partial(_free, item, levels - 1)) for place, item in items), list)
        case _:
            raise TypeError("expected JSON")


def _pair(key: object, item: object, levels: int) -> None:
    text(key)
    _free(item, levels)
