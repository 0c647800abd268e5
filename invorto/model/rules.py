"""What a field's value must be, in words for the one who sent it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs

type Rule = Callable[[Any, attrs.Attribute[Any], Any], None]
"""An attrs validator. What it raises says what must hold and leaves out the field: that is the fault's path."""


@attrs.frozen
class Told:
    """A rule with what a JSON Schema can say of it, so that the documents come from what validates."""

    check: Rule
    says: Mapping[str, Any]
    """Keywords of JSON Schema; what is about a text holds for each text of a list."""

    def __call__(self, instance: object, field: attrs.Attribute[Any], value: Any) -> None:
        """Hold a value to the rule."""
        self.check(instance, field, value)


def words_of(rule: object) -> dict[str, Any]:
    """Give what a JSON Schema can say of a field's rule."""
    return dict(rule.says) if isinstance(rule, Told) else {}


def between(low: float, high: float) -> Rule:
    """Hold a number to a range, both ends included; None passes where the field allows it."""

    def rule(_: object, __: attrs.Attribute[Any], value: float | None) -> None:
        if value is None:
            return
        if value < low:
            raise ValueError(f"must be at least {low:g}")
        if value > high:
            raise ValueError(f"must be at most {high:g}")

    return Told(rule, {"minimum": low, "maximum": high})


def text(most: int, *, least: int = 0) -> Rule:
    """Hold a text, or each text of a list, to a length in bytes of UTF-8."""

    def rule(_: object, __: attrs.Attribute[Any], value: str | tuple[str, ...] | None) -> None:
        for one in (value,) if isinstance(value, str) else value or ():
            if len(one.strip()) < least:
                raise ValueError("must not be empty")
            if len(one) > most or len(one.encode(errors="surrogatepass")) > most:
                raise ValueError(f"must be at most {most} bytes of text")

    return Told(rule, {"maxLength": most} | ({"minLength": least, "pattern": r"\S"} if least else {}))


def count(most: int) -> Rule:
    """Hold a list or an object to a number of entries; None passes."""

    def rule(_: object, __: attrs.Attribute[Any], value: Collection[Any] | None) -> None:
        if value is not None and len(value) > most:
            raise ValueError(f"must have at most {most} entries")

    return Told(rule, {"maxItems": most, "maxProperties": most})


def match(pattern: str, expected: str) -> Rule:
    """Hold a text, or each text of a list, to a regular expression, *expected* in words; None passes."""
    compiled = re.compile(pattern)

    def rule(_: object, __: attrs.Attribute[Any], value: str | tuple[str, ...] | None) -> None:
        for one in (value,) if isinstance(value, str) else value or ():
            if compiled.fullmatch(one) is None:
                raise ValueError(f"expected {expected}")

    return Told(rule, {"pattern": f"^(?:{pattern})$"})


def unique(name: Callable[[Any], str]) -> Rule:
    """Refuse a list in which two entries have the same *name*."""

    def rule(_: object, __: attrs.Attribute[Any], value: Collection[Any]) -> None:
        seen: set[str] = set()
        for entry in value:
            if name(entry) in seen:
                raise ValueError(f"{name(entry)[:64]} is there twice")
            seen.add(name(entry))

    return rule


def every(*rules: Rule) -> Rule:
    """Hold a value to several rules; the first that it breaks is told."""

    def rule(instance: object, field: attrs.Attribute[Any], value: object) -> None:
        for one in rules:
            one(instance, field, value)

    return Told(rule, {keyword: value for one in rules for keyword, value in words_of(one).items()})
