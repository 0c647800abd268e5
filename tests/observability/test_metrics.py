"""Metrics: the promised names, in a registry of their own, cheap to count."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from invorto.model.call import CallStatus, EndReason
from invorto.model.record import Cost, FinishedCall, TurnMetrics
from invorto.observability.metrics import Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    """Read what is served, as Prometheus does: a value by name and labels."""
    text, kind = metrics.render()
    assert kind.startswith("text/plain")
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = [value for key, value in sorted(sample.labels.items()) if key != "le"]
            found[" ".join((sample.name, *labels))] = sample.value
    return found


def ended(reason: EndReason = EndReason.HANGUP) -> FinishedCall:
    """Make a call that is over."""
    cost = Cost(kind="tts", provider="p", quantity=Decimal(1), unit="characters", inr=Decimal("1.25"))
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return FinishedCall(
        call_id="c", tenant_id="t", epoch=1, status=CallStatus.COMPLETED, reason=reason, started_at=moment,
        ended_at=moment, duration=42.0, costs=(cost, cost),
    )  # fmt: skip


def test_a_turn_is_in_its_histograms():
    """What happened in a turn is observed under the promised names, what did not happen is not."""
    metrics = Metrics()
    metrics.turn(TurnMetrics(turn=1, eou_ms=300, stt_ms=120, llm_first_token_ms=200, voice_to_voice_ms=900))
    metrics.turn(TurnMetrics(turn=2))
    metrics.first_partial(0.1)
    metrics.barge_in(0.12)
    seen = samples(metrics)
    assert (seen["eou_ms_sum"], seen["stt_final_ms_sum"]) == (300, 120)
    assert (seen["llm_first_token_ms_sum"], seen["voice_to_voice_ms_sum"]) == (200, 900)
    assert seen["eou_ms_count"] == 1
    assert seen["tts_first_chunk_ms_count"] == 0
    assert (seen["asr_first_partial_ms_sum"], seen["bargein_cutoff_ms_sum"]) == (100, 120)


def test_a_call_is_counted_with_its_end_length_and_cost():
    """A finished call adds one end, its seconds and its rupees."""
    metrics = Metrics()
    metrics.call_ended(ended())
    metrics.call_ended(ended(EndReason.SILENCE))
    seen = samples(metrics)
    assert seen["calls_ended_total hangup completed"] == seen["calls_ended_total silence completed"] == 1
    assert (seen["cost_per_call_inr_sum"], seen["call_duration_seconds_sum"]) == (5.0, 84.0)


def test_counters_and_gauges():
    """Failures, messages of clients and live calls are told."""
    metrics = Metrics()
    metrics.recording_failed()
    metrics.engine_failed("deepgram", "stt")
    metrics.ws_event("ping")
    metrics.ws_event("ping")
    held = [1, 2, 3]
    metrics.watch_live_calls(lambda: len(held))
    seen = samples(metrics)
    assert seen["recording_failures_total"] == 1
    assert seen["engine_failures_total deepgram stt"] == 1
    assert seen["realtime_ws_events_total ping"] == 2
    assert seen["live_calls"] == 3
    held.pop()
    assert samples(metrics)["live_calls"] == 2


def test_processes_keep_apart():
    """Two sets of metrics share nothing, and the library's own registry stays empty of ours."""
    one, other = Metrics(), Metrics()
    one.recording_failed()
    assert samples(other)["recording_failures_total"] == 0
    assert "eou_ms" not in {family.name for family in REGISTRY.collect()}
    assert "process_open_fds" in samples(one)


def test_there_are_no_series_that_nobody_reads():
    """No `_created` beside each counter."""
    assert not [name for name in samples(Metrics()) if "_created" in name]


def test_counting_is_cheap():
    """A turn's observation costs well under a millisecond, also in a debug build on a busy machine."""
    metrics, times = Metrics(), TurnMetrics(turn=1, eou_ms=300, stt_ms=1, llm_first_token_ms=9, voice_to_voice_ms=9e9)
    best = 1.0
    for _ in range(50):
        began = time.thread_time()
        metrics.turn(times)
        best = min(best, time.thread_time() - began)
    assert best < 0.0005
