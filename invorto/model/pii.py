"""Personal data in free text: found by form and check digit, and replaced by what kind of thing stood there; pure.

E-mail addresses, telephone numbers (`phonenumbers` knows which exist), Aadhaar numbers (Verhoeff), PANs, and numbers
of cards (Luhn), as they are written and as they are spoken. What has the form and fails the check is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, get_args

import attrs

from invorto.model.agent import AgentConfig
from invorto.model.checksums import luhn, verhoeff
from invorto.model.digits import Run, runs

type Kind = Literal["email", "phone", "aadhaar", "pan", "card"]
KINDS: tuple[Kind, ...] = get_args(Kind.__value__)

STRUCTURED = frozenset({
    "to", "from", "number", "callId", "agentId", "eventId", "tenantId", "campaignId", "accountId", "id", "hash", "url",
    "ts", "timestamp", "metadata", "variables", "digit", "digits", "costInr", "inr", "quantity", "startedAt", "endedAt",
    "schemaVersion", "name", "method", "mode", "reason", "status", "provider", "fields", "agent", "artifacts", "usage",
    "kpis", "media", "carrier", "call_id", "tenant_id", "event", "level",
})  # fmt: skip
"""Names of fields that hold what systems said, not people: these are never looked into."""
FREE = frozenset({"args", "data", "result", "values"})
"""Names of fields in which any name may hold what a person said."""

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,24}(?![\w-])")
_TOP = "com|in|org|net|co|io|edu|gov|info|me|us|uk"
_SPOKEN_EMAIL = re.compile(
    r"\b[a-z0-9]+(?:[ ]+(?:dot|underscore|dash|hyphen)[ ]+[a-z0-9]+){0,5}[ ]+at(?:[ ]+the[ ]+rate)?[ ]+"
    rf"[a-z0-9]+(?:[ ]+(?:dot|dash)[ ]+[a-z0-9]+){{0,3}}?(?:[ ]+dot[ ]+|\.)(?:{_TOP})"
    rf"(?:[ ]+dot[ ]+(?:{_TOP}))?\b",
    re.IGNORECASE,
)
_PAN = re.compile(
    r"(?<![A-Za-z0-9])(?:(?i:[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z])"
    r"|(?:[A-Z][ .-]){3}[ABCFGHLJPT][ .-][A-Z][ .-](?:\d[ .-]){4}[A-Z]"
    r"|[A-Z]{3}[ABCFGHLJPT][A-Z][ -]\d{4}[ -][A-Z])(?![A-Za-z0-9])"
)
_CARDS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[68]\d)\d{11}|6(?:011|5\d\d|4[4-9]\d)\d{12}|(?:60|65|81|82|508)\d{13,14}|35\d{14}|62\d{14,17}"
)
"""Visa, Mastercard, American Express, Diners, Discover, RuPay, JCB, UnionPay."""
_MONEY = re.compile(r"(?:₹|\bRs\.?|\bINR|[$€£]|\brupees)\s*$", re.IGNORECASE)
_AMOUNT = re.compile(r"\s*(?:rupees|dollars|euros|pounds|lakhs?|crores?|paise|percent|%)", re.IGNORECASE)
_PHONE_DIGITS = range(10, 16)
_AADHAAR_DIGITS = 12
_SHORTEST, _LONGEST = 6, 19
"""Characters of an address, digits of a card."""


@attrs.frozen
class Found:
    """Something personal in a text: what, and where it begins and ends."""

    kind: Kind
    begin: int
    end: int


@attrs.frozen
class Redactor:
    """Takes out the *kinds* of personal data; *region* is the country of numbers without a country's code."""

    kinds: frozenset[Kind]
    region: str = "IN"

    @classmethod
    def of(cls, kinds: Collection[str], locale: str) -> Redactor:
        """Make one for an agent's *kinds*, all without any, and its language tag, such as ``en-IN``."""
        chosen: frozenset[Kind] = frozenset(kind for kind in KINDS if kind in kinds) or frozenset(KINDS)
        _, _, last = locale.rpartition("-")
        return cls(chosen, last.upper() if len(last) == 2 and last != locale else "IN")

    def find(self, text: str) -> list[Found]:
        """Give what is found in *text*, in order, without overlaps."""
        found: list[Found] = []
        for one in (*_written(text), *self._numbers(text)):
            if one.kind in self.kinds and all(one.end <= other.begin or one.begin >= other.end for other in found):
                found.append(one)
        return sorted(found, key=lambda one: one.begin)

    def text(self, text: str) -> str:
        """Give *text* with each thing that is found replaced by its kind in brackets, as in ``[phone]``."""
        if len(text) < _SHORTEST or not (self.kinds and _MAYBE.search(text)):
            return text
        pieces: list[str] = []
        place = 0
        for found in self.find(text):
            pieces += (text[place : found.begin], f"[{found.kind}]")
            place = found.end
        return "".join((*pieces, text[place:]))

    def value(self, value: Any, skip: Collection[str] = STRUCTURED) -> Any:
        """Give plain data with its free text redacted; numbers, and fields named in *skip*, are left as they are."""
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {
                    key: item if key in skip else self.value(item, () if key in FREE else skip)
                    for key, item in value.items()
                }
            case list() | tuple():
                return [self.value(item, skip) for item in value]
            case _:
                return value

    def _numbers(self, text: str) -> Iterator[Found]:
        for run in runs(text):
            yield from self._run(text, run)

    def _run(self, text: str, run: Run) -> Iterator[Found]:
        taken: list[tuple[int, int]] = []
        for begin, end, digits in run.parts(_LONGEST):
            if len(digits) < _PHONE_DIGITS.start or any(begin < last and end > first for first, last in taken):
                continue
            kind = self._kind(text, begin, digits)
            if kind is not None and not (_MONEY.search(text, 0, begin) or _AMOUNT.match(text, end)):
                taken.append((begin, end))
                yield Found(kind, begin - (begin > 0 and text[begin - 1] == "+"), end)

    def _kind(self, text: str, begin: int, digits: str) -> Kind | None:
        if "card" in self.kinds and _CARDS.fullmatch(digits) and luhn(digits):
            return "card"
        if "aadhaar" in self.kinds and len(digits) == _AADHAAR_DIGITS and digits[0] in "23456789" and verhoeff(digits):
            return "aadhaar"
        plus = begin > 0 and text[begin - 1] == "+"
        if "phone" in self.kinds and len(digits) in _PHONE_DIGITS and is_phone(digits, self.region, plus=plus):
            return "phone"
        return None


_MAYBE = re.compile(
    r"@|\d|\bat\b|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ek|do|teen|char)\b", re.IGNORECASE
)


def redactor_of(agent: AgentConfig) -> Redactor | None:
    """Make an agent's; None where nothing is to be taken out."""
    return Redactor.of(agent.redaction.kinds, agent.locale) if agent.redaction.enabled else None


def _written(text: str) -> Iterator[Found]:
    for kind, pattern in (("email", _EMAIL), ("email", _SPOKEN_EMAIL), ("pan", _PAN)):
        for found in pattern.finditer(text):
            yield Found(kind, found.start(), found.end())  # pyright: ignore[reportArgumentType] - of the tuple above


@lru_cache(4096)
def is_phone(digits: str, region: str, *, plus: bool = False) -> bool:
    """Tell whether *digits* are a telephone number that may exist, as dialled in *region*, or after a plus."""
    import phonenumbers

    try:
        number = phonenumbers.parse(f"+{digits}" if plus else digits, region)
    except phonenumbers.NumberParseException:
        return False
    if not phonenumbers.is_valid_number(number):
        return False
    # A landline is dialled with its trunk prefix; without one any ten digits may look like some village's.
    landline = phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.FIXED_LINE
    return plus or not landline or digits.startswith(("0", str(number.country_code)))
