"""Costs: exact to the paisa, and honest about what has no price."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.realtime.costs import Kind, Meter, house_rates, parse_rates, total

RATES = parse_rates({
    "transport": {"web": {"currency": "INR", "per": "minute", "models": {"*": "0"}},
                  "line": {"currency": "INR", "per": "minute", "models": {"*": "0.60"}}},
    "stt": {"ears": {"currency": "USD", "per": "minute", "models": {"*": "0.0077", "big": "0.01", "big-2": "0.02"}}},
    "tts": {"mouth": {"currency": "USD", "per": "character", "models": {"*": "0.000030"}}},
    "llm": {"mind": {"currency": "USD", "per": "token", "models": {"*": ["0.0000025", "0.00001"]}}},
})  # fmt: skip


ENGINES: dict[Kind, tuple[str, ...]] = {"stt": ("deepgram",), "tts": ("deepgram", "elevenlabs"), "llm": ("openai",)}


def test_a_call_costs_what_its_parts_cost():
    """Minutes, characters and tokens are priced by their provider, dollars by the exchange rate, each in its unit."""
    meter = Meter()
    meter.transport("line", 90)
    meter.stt("ears", 30)
    meter.stt("ears", 60)
    meter.tts("mouth", 1000)
    meter.llm("mind", 1000, 200)
    bill = meter.bill(87, RATES)
    assert {(cost.kind, cost.provider, cost.quantity, cost.unit, cost.inr) for cost in bill.costs} == {
        ("transport", "line", Decimal("1.5"), "minutes", Decimal("0.9")),
        ("stt", "ears", Decimal("1.5"), "minutes", Decimal("1.0049")),  # 1.5 * 0.0077 * 87 = 1.00485
        ("tts", "mouth", Decimal(1000), "characters", Decimal("2.61")),
        ("llm", "mind", Decimal(1200), "tokens", Decimal("0.3915")),  # (0.0025 + 0.002) * 87
    }
    assert bill.total == Decimal("4.91")  # 4.9064, rounded once
    assert bill.unpriced == ()


def test_models_have_their_own_prices():
    """A model's own price counts, a dated version of it too, an unknown one costs what is usual; one row a provider."""
    meter = Meter()
    for model in ("big", "big-2", "big-2025-11", "other", None):
        meter.stt("ears", 60, model)
    (cost,) = meter.bill(100, RATES).costs
    assert cost.quantity == 5
    assert cost.inr == 100 * (Decimal("0.01") + Decimal("0.02") + Decimal("0.01") + 2 * Decimal("0.0077"))


def test_what_has_no_price_is_named():
    """An unknown provider costs nothing, stays in the bill with its quantity, and is named."""
    meter = Meter()
    meter.tts("acme", 100)
    meter.llm("acme", 5, 5)
    meter.transport("line", 60)
    bill = meter.bill(87, RATES)
    assert bill.unpriced == ("llm:acme", "tts:acme")
    assert [cost.inr for cost in bill.costs] == [0, 0, Decimal("0.6")]
    assert bill.costs[0].quantity == 100


def test_nothing_costs_nothing():
    """A call that used nothing has no costs, and a sum."""
    assert Meter().bill(87).costs == ()
    assert str(Meter().bill(87).total) == "0.00"
    assert Meter().usage() == {}


def test_usage_is_told_in_its_units():
    """What was used is in the record whatever it cost."""
    meter = Meter()
    meter.transport("web", 12.3456)
    meter.stt("local", 10.0)
    meter.stt("ears", 2.5)
    meter.tts("local", 12)
    meter.llm("local", 3, 4)
    assert meter.usage() == {
        "transportSeconds": 12.346, "sttSeconds": 12.5, "ttsCharacters": 12, "llmPromptTokens": 3,
        "llmCompletionTokens": 4,
    }  # fmt: skip


def test_time_never_runs_backwards():
    """A negative quantity, of a clock that was set or a broken answer, is no refund."""
    meter = Meter()
    meter.transport("line", -60)
    meter.llm("mind", -5, 10)
    assert [cost.quantity for cost in meter.bill(87, RATES).costs] == [0, 10]


@given(
    st.lists(st.tuples(st.sampled_from(["line", "web", "none"]), st.floats(0, 5000)), max_size=40), st.floats(1, 500)
)
def test_the_sum_is_the_sum(pieces, rate):
    """However a call is metered piece by piece, its total is within half a paisa of the exact sum, and none is lost."""
    meter = Meter()
    for provider, seconds in pieces:
        meter.transport(provider, seconds)
        meter.tts("mouth", int(seconds))
    bill = meter.bill(rate, RATES)
    minutes = sum((Decimal(repr(seconds)) for provider, seconds in pieces if provider == "line"), Decimal(0)) / 60
    lines = minutes * Decimal("0.60")
    spoken = sum(int(seconds) for _, seconds in pieces) * Decimal("0.000030") * Decimal(repr(rate))
    assert abs(bill.total - lines - spoken) <= Decimal("0.0052")
    assert bill.total == total(bill.costs)
    assert bill.total.as_tuple().exponent == -2


def test_the_house_knows_its_engines():
    """Every engine that ships is in the table, the local ones at nothing; every provider has a usual price."""
    rates = house_rates()
    free = [rates.find(kind, name, "any") for kind in ENGINES for name in ("local", "scripted")]
    assert all(price is not None and price.inward == price.outward == 0 for price in free)
    paid = [rates.find(kind, name, "any") for kind in ENGINES for name in ENGINES[kind]]
    assert all(price is not None and price.inward > 0 for price in paid)
    assert {(kind, provider) for kind, provider, _ in rates.prices} == {
        (kind, provider) for kind, provider, model in rates.prices if model == "*"
    }
    assert house_rates() is rates


@pytest.mark.parametrize(
    "entry",
    [
        {"currency": "EUR", "per": "minute", "models": {"*": "1"}},
        {"currency": "INR", "per": "hour", "models": {"*": "1"}},
    ],
    ids=["currency", "unit"],
)
def test_a_table_that_is_wrong_says_where(entry):
    """A price in another currency or unit is a fault that names its provider, not a wrong bill."""
    with pytest.raises(ValueError, match="rates of ears"):
        parse_rates({"stt": {"ears": entry}})
