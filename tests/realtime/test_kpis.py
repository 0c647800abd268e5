"""How a call went, in figures."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from invorto.model.record import TurnMetrics, Utterance
from invorto.realtime.kpis import kpis
from invorto.realtime.summary import ToolUse


def said(role: Any, text: str, began: float, ended: float, **more: Any) -> Utterance:
    return Utterance(role=role, text=text, began=began, ended=ended, turn=1, **more)


def test_a_call_in_figures() -> None:
    """Turns, words and seconds of each side are counted; who was cut by the end of the call was not interrupted."""
    transcript = [
        said("assistant", "Hello, how can", 0.0, 1.25, interrupted=True),
        said("user", "A table for two", 1.5, 3.0),
        said("assistant", "Of course", 3.5, 4.5, interrupted=True),
    ]
    metrics = [TurnMetrics(turn=n, eou_ms=float(n)) for n in range(1, 21)]
    found = kpis(transcript, metrics, [ToolUse("a", True), ToolUse("b", False)])
    assert found["turns"] == {"user": 1, "agent": 2}
    assert found["words"] == {"user": 4, "agent": 5}
    assert found["talkSeconds"] == {"user": 1.5, "agent": 2.25}
    assert found["interruptions"] == 1
    assert found["toolCalls"] == {"total": 2, "failed": 1}
    assert found["latency"]["eouMs"] == {"p50": 10.0, "p95": 19.0, "max": 20.0}
    assert found["latency"]["voiceToVoiceMs"] is None
    assert found["perTurn"][0]["turn"] == 1


def test_a_call_in_which_nothing_happened() -> None:
    """A call without a word has figures too."""
    found = kpis([], [], [])
    assert found["turns"] == {"user": 0, "agent": 0}
    assert found["interruptions"] == 0
    assert set(found["latency"].values()) == {None}


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_quantiles_are_values_that_were_measured(values: list[float]) -> None:
    """Median, 95th percentile and maximum are in order, and each was measured."""
    found = kpis([], [TurnMetrics(turn=n, stt_ms=value) for n, value in enumerate(values)], [])["latency"]["sttMs"]
    assert found["p50"] <= found["p95"] <= found["max"] == max(values)
    assert set(found.values()) <= set(values)
