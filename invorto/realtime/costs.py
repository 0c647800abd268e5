"""What a call costs, in rupees: metered by provider while it runs, priced by one table when it ends.

Decimal throughout. A cost keeps a hundredth of a paisa; their sum is rounded to the paisa once. What nobody gave a
price for costs 0, and is named, so that a bill never hides what it does not know.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import attrs

from invorto.model.agent import LlmSettings, SttSettings, TtsSettings
from invorto.model.record import Cost
from invorto.speech.ports import Usage

type Kind = Literal["transport", "stt", "llm", "tts"]
type Key = tuple[Kind, str, str]
"""Kind, provider, and model: ``*`` where it has none."""

PAISA: Final = Decimal("0.01")
_FINE: Final = Decimal("0.0001")
_MINUTE: Final = Decimal(60)
_UNITS: Final[Mapping[Kind, Literal["minutes", "characters", "tokens"]]] = {
    "transport": "minutes",
    "stt": "minutes",
    "tts": "characters",
    "llm": "tokens",
}


@attrs.frozen
class Price:
    """Of one unit (minute, character, token): going in and, for tokens, coming out."""

    inward: Decimal
    outward: Decimal
    currency: Literal["INR", "USD"]

    def of(self, inward: Decimal, outward: Decimal, dollar: Decimal) -> Decimal:
        """Give what so many units cost in ₹."""
        price = inward * self.inward + outward * self.outward
        return price * dollar if self.currency == "USD" else price


@attrs.frozen
class Rates:
    """The table of prices."""

    prices: Mapping[Key, Price]

    def find(self, kind: Kind, provider: str, model: str) -> Price | None:
        """Give a model's price, else its provider's usual one, else None; a longer name counts as its beginning."""
        own = [known for known_kind, name, known in self.prices if (known_kind, name) == (kind, provider)]
        fitting = [known for known in own if known != "*" and (model == known or model.startswith(known + "-"))]
        return self.prices.get((kind, provider, max(fitting, key=len, default="*")))


def price_of(kind: Kind, provider: str, model: str) -> str:
    """Say in a few words what a provider's model costs; empty where nobody gave it a price."""
    price = house_rates().find(kind, provider, model)
    if price is None:
        return ""
    unit = _UNITS[kind].removesuffix("s")
    if unit == "minute":
        return f"{price.inward.normalize():f} {price.currency} a minute"
    prices = [f"{(each * 1_000_000).normalize():f}" for each in dict.fromkeys((price.inward, price.outward))]
    return f"{' in, '.join(prices)}{' out' if len(prices) > 1 else ''} {price.currency} a million {unit}s"


@cache
def house_rates() -> Rates:
    """Read the table that comes with the package, once."""
    return parse_rates(json.loads(files(__package__).joinpath("data/rates.json").read_text("utf-8")))


def parse_rates(table: Mapping[str, Any]) -> Rates:
    """Make the table of the parsed file; `ValueError` for a currency or a kind that is none."""
    prices: dict[Key, Price] = {}
    for kind in _UNITS:
        for provider, entry in table.get(kind, {}).items():
            currency = entry["currency"]
            if currency not in {"INR", "USD"} or entry["per"] + "s" != _UNITS[kind]:
                raise ValueError(f"the rates of {provider} ({kind}) are per {entry['per']} in {currency}")
            for model, price in entry["models"].items():
                inward, outward = (price, price) if isinstance(price, str) else price
                prices[kind, provider, model] = Price(Decimal(inward), Decimal(outward), currency)
    return Rates(prices)


@attrs.frozen
class Bill:
    """What a call cost, by kind and provider; *unpriced* names what nobody gave a price for."""

    costs: tuple[Cost, ...]
    unpriced: tuple[str, ...] = ()

    @property
    def total(self) -> Decimal:
        """The sum in ₹, to the paisa."""
        return total(self.costs)


def total(costs: tuple[Cost, ...]) -> Decimal:
    """Sum costs in ₹ and round once, to the paisa."""
    return sum((cost.inr for cost in costs), Decimal(0)).quantize(PAISA, ROUND_HALF_UP)


@attrs.define
class Meter:
    """What one call has used so far; providers as they are named in an agent, models where they have one."""

    listened: Mapping[str, float] = attrs.field(factory=dict[str, float])
    """Seconds that each engine listened, where there are several."""
    _used: dict[Key, list[Decimal]] = attrs.field(factory=dict)
    """Quantities in and out: seconds, characters or tokens."""
    note: Callable[[str, Mapping[str, Any]], object] | None = None
    """Is told what engines have done as it comes, so that it is known when the node is lost."""

    def transport(self, provider: str, seconds: float) -> None:
        """Add *seconds* of line: of `web`, or a carrier."""
        self._add("transport", provider, None, _exact(seconds))

    def stt(self, provider: str, seconds: float, model: str | None = None) -> None:
        """Add *seconds* that were listened to."""
        self._add("stt", provider, model, _exact(seconds))

    def tts(self, provider: str, characters: int, model: str | None = None) -> None:
        """Add *characters* that were spoken by an engine; what came from the cache costs nothing."""
        self._add("tts", provider, model, Decimal(characters))
        if self.note is not None:
            self.note("usage.tts", {"provider": provider, "model": model, "characters": characters})

    def llm(self, provider: str, prompt: int, completion: int, model: str | None = None) -> None:
        """Add the tokens of one answer."""
        self._add("llm", provider, model, Decimal(prompt), Decimal(completion))
        if self.note is not None:
            tokens = {"prompt": prompt, "completion": completion}
            self.note("usage.llm", {"provider": provider, "model": model, **tokens})

    def heard(self, settings: SttSettings, duration: float) -> None:
        """Add what each engine listened to, all of the call where nobody counted; the agent's model is its first's."""
        first = settings.providers[0]
        for who, seconds in (self.listened or {first: duration}).items():
            self.stt(who, seconds, settings.model if who == first else None)

    def thought(self, settings: LlmSettings, usage: Usage) -> None:
        """Add an answer's tokens to whoever gave it; the agent's model is its first engine's."""
        first = settings.providers[0]
        who = usage.provider or first
        self.llm(who, usage.prompt, usage.completion, settings.model if who == first else None)

    def spoke(self, settings: TtsSettings, who: str, characters: int) -> None:
        """Add a sentence to whoever spoke it: nobody (empty), where it came from memory."""
        if who:
            self.tts(who, characters, settings.model if who == settings.providers[0] else None)

    def _add(
        self, kind: Kind, provider: str, model: str | None, inward: Decimal, outward: Decimal = Decimal(0)
    ) -> None:
        used = self._used.setdefault((kind, provider, model or "*"), [Decimal(0), Decimal(0)])
        used[0] += max(inward, Decimal(0))
        used[1] += max(outward, Decimal(0))

    def bill(self, usd_inr: float, rates: Rates | None = None) -> Bill:
        """Price everything, a US dollar at *usd_inr* rupees."""
        rates = rates or house_rates()
        dollar = _exact(usd_inr)
        sums: dict[tuple[Kind, str], tuple[Decimal, Decimal]] = {}
        unpriced: list[str] = []
        for (kind, provider, model), used in self._used.items():
            inward, outward = (each / _MINUTE for each in used) if _UNITS[kind] == "minutes" else used
            price = rates.find(kind, provider, model)
            if price is None:
                unpriced.append(f"{kind}:{provider}")
            inr = price.of(inward, outward, dollar) if price else Decimal(0)
            quantity, before = sums.get((kind, provider), (Decimal(0), Decimal(0)))
            sums[kind, provider] = quantity + inward + outward, before + inr
        return Bill(
            tuple(
                Cost(
                    kind=kind,
                    provider=provider,
                    quantity=quantity.quantize(_FINE, ROUND_HALF_UP),
                    unit=_UNITS[kind],
                    inr=inr.quantize(_FINE, ROUND_HALF_UP),
                )
                for (kind, provider), (quantity, inr) in sums.items()
            ),
            tuple(sorted(set(unpriced))),
        )

    def usage(self) -> dict[str, float | int]:
        """Give the sums for a call's record: seconds, characters, tokens."""
        sums: dict[str, Decimal] = {}
        for (kind, _, _), (inward, outward) in self._used.items():
            names = {"transport": "transportSeconds", "stt": "sttSeconds", "tts": "ttsCharacters"}
            if kind == "llm":
                sums["llmPromptTokens"] = sums.get("llmPromptTokens", Decimal(0)) + inward
                sums["llmCompletionTokens"] = sums.get("llmCompletionTokens", Decimal(0)) + outward
            else:
                sums[names[kind]] = sums.get(names[kind], Decimal(0)) + inward
        return {
            name: round(float(value), 3) if name.endswith("Seconds") else int(value) for name, value in sums.items()
        }


def _exact(number: float) -> Decimal:
    """Give the decimal that *number* is written as, not the binary fraction that it is."""
    return Decimal(repr(number))
