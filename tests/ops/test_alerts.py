"""Alerts are well formed, and ask for metrics that there are, by labels that they have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser as promql
import pytest
import yaml

from invorto.observability.metrics import Metrics
from ops.guards.tree import ROOT

FILES = sorted((ROOT / "ops" / "alerts").glob("*.yml"))
RULES = [
    (file.stem, rule)
    for file in FILES
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
SEVERITIES = {"critical", "warning", "info"}


def selectors(expr: Any) -> Iterator[promql.VectorSelector]:
    """Give the selectors of an expression."""
    match expr:
        case promql.VectorSelector():
            yield expr
        case promql.MatrixSelector():
            yield expr.vector_selector
        case promql.NumberLiteral() | promql.StringLiteral():
            pass
        case promql.BinaryExpr():
            yield from selectors(expr.lhs)
            yield from selectors(expr.rhs)
        case promql.Call():
            for one in expr.args:
                yield from selectors(one)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from selectors(expr.expr)
        case _:
            raise AssertionError(f"what is {expr!r}?")


def known() -> dict[str, set[str]]:
    """Give the names under which metrics are served, and the labels of each."""
    registry: Any = Metrics().registry
    return {
        name: {*getattr(collector, "_labelnames", ()), "le", "instance", "job"}
        for name, collector in registry._names_to_collectors.items()
    }


def test_webhooks_have_alerts() -> None:
    """There are rules on the queue's age, its depth, failures and dead letters."""
    asked = {one.name for name, rule in RULES if name == "webhooks" for one in selectors(promql.parse(rule["expr"]))}
    assert {
        "webhook_oldest_ready_seconds", "webhook_depth", "webhook_attempts_total", "webhook_attempt_seconds_bucket",
        "webhook_first_attempt_seconds_bucket",
    } <= asked  # fmt: skip


@pytest.mark.parametrize("rule", [rule for _, rule in RULES], ids=[rule["alert"] for _, rule in RULES])
def test_each_rule(rule: dict[str, Any]) -> None:
    """A rule parses, asks for what is measured, says how bad it is, and tells a person what to do."""
    there = known()
    found = list(selectors(promql.parse(rule["expr"])))
    assert found
    for one in found:
        assert one.name in there
        assert {matcher.name for matcher in one.matchers.matchers} <= there[one.name]
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description"}
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}


def test_names_are_unique() -> None:
    """Two alerts of one name would hide each other."""
    names = [rule["alert"] for _, rule in RULES]
    assert len(names) == len(set(names))
