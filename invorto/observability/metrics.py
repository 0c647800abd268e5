"""Metrics: everything that is counted and timed, by name, in a registry of its own.

Observing is an addition under a lock, a few microseconds; labels are few and known beforehand (an engine, a reason, a
kind of event), never ids. Names that the original system had are its names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final, Protocol

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from invorto.observability.capacity import CapacityMetrics
from invorto.observability.traces import Spans

prometheus_client.disable_created_metrics()  # a second series for each, which nobody reads

_ENGINE_MS: Final = (10, 25, 50, 75, 100, 150, 200, 300, 450, 600, 800, 1000, 1500, 2000, 3000, 5000, 10_000)
_TURN_MS: Final = (100, 200, 300, 450, 600, 800, 1000, 1250, 1500, 2000, 2500, 3000, 5000, 10_000)
_CUTOFF_MS: Final = (5, 10, 25, 50, 64, 80, 100, 125, 150, 200, 300, 500, 1000)
_LAG_MS: Final = (0.5, 1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 5000)
_INR: Final = (0, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25, 50, 100, 250)
_ATTEMPT_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30)
_WAIT_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600)
_SECONDS: Final = (5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600)


class TurnTimes(Protocol):
    """The times of a turn, milliseconds, None where it did not happen."""

    @property
    def eou_ms(self) -> float | None:
        """See the histogram of that name; so for all of these."""
        ...

    @property
    def stt_ms(self) -> float | None:
        """To the final transcript."""
        ...

    @property
    def llm_first_token_ms(self) -> float | None:
        """To the first token."""
        ...

    @property
    def tts_first_chunk_ms(self) -> float | None:
        """To the first audio of the first sentence."""
        ...

    @property
    def voice_to_voice_ms(self) -> float | None:
        """From the caller's voice to the agent's."""
        ...


class Priced(Protocol):
    """A cost in ₹."""

    @property
    def inr(self) -> Decimal:
        """Rupees."""
        ...


class Ended(Protocol):
    """A call that is over."""

    @property
    def status(self) -> str:
        """The terminal state."""
        ...

    @property
    def reason(self) -> str:
        """Why it ended."""
        ...

    @property
    def duration(self) -> float:
        """Seconds."""
        ...

    @property
    def costs(self) -> Sequence[Priced]:
        """What it cost, by provider."""
        ...


class Metrics:
    """All metrics of one process; *registry* is what is served."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.spans: Spans | None = None
        """Where turns are told too; None: nobody wants them."""
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        timed = self._timed
        self._first_partial = timed("asr_first_partial_ms", "From speech to the first partial words.", _ENGINE_MS)
        self._eou = timed(
            "eou_ms", "From the last speech frame to the decision that the caller had finished.", _TURN_MS
        )
        self._stt = timed("stt_final_ms", "From the last speech frame to the final transcript.", _ENGINE_MS)
        self._token = timed("llm_first_token_ms", "From the decision to the first token.", _ENGINE_MS)
        self._chunk = timed("tts_first_chunk_ms", "From the first sentence to its first audio.", _ENGINE_MS)
        self._voice = timed("voice_to_voice_ms", "From the last speech frame to the agent's first audio.", _TURN_MS)
        self._cutoff = timed(
            "bargein_cutoff_ms", "From the onset of the caller's speech to the agent's hush.", _CUTOFF_MS
        )
        self._cost = timed("cost_per_call_inr", "What a call cost, rupees.", _INR)
        self._duration = timed("call_duration_seconds", "From the start to the end of a call.", _SECONDS)
        self._ends = Counter("calls_ended", "Calls that ended.", ["status", "reason"], registry=self.registry)
        self._echoes = Counter(
            "echo_withheld", "Onsets of speech that were the agent's own voice.", registry=self.registry
        )
        self._recordings = Counter("recording_failures", "Calls whose recording has a fault.", registry=self.registry)
        self._engines = Counter(
            "engine_failures", "Engines that failed in a call.", ["provider", "stage"], registry=self.registry
        )
        self._unchecked = Counter(
            "rate_limit_unchecked", "Requests let through uncounted: Redis was away.", registry=self.registry
        )
        self._events = Counter(
            "realtime_ws_events", "Messages of clients on voice sockets.", ["event"], registry=self.registry
        )
        self._webhooks = Counter(
            "webhooks_events", "Facts queued, deliveries made, attempts failed.", ["event"], registry=self.registry
        )
        self._attempts = Counter(
            "webhook_attempts", "Attempts to deliver, by how they ended.", ["outcome"], registry=self.registry
        )
        self._attempt = timed("webhook_attempt_seconds", "How long an attempt took.", _ATTEMPT_SECONDS)
        self._first_attempt = timed(
            "webhook_first_attempt_seconds", "From a fact to the first attempt to deliver it.", _WAIT_SECONDS
        )
        self._late = Counter(
            "webhook_late_acknowledgements", "Ends of deliveries that were another node's by then.",
            registry=self.registry,
        )  # fmt: skip
        self._backlog = Gauge(
            "webhook_depth", "What waits: facts to be routed, deliveries, dead letters.", ["state"],
            registry=self.registry,
        )  # fmt: skip
        self._oldest = Gauge(
            "webhook_oldest_ready_seconds", "How long the oldest delivery to a healthy endpoint waits unclaimed.",
            registry=self.registry,
        )  # fmt: skip
        self._live = Gauge("live_calls", "Calls that are held now.", registry=self.registry)
        self.tasks = Gauge("trio_tasks", "Tasks that are alive.", registry=self.registry)
        self.lag = timed("loop_lag_ms", "How late a sleeping task was woken.", _LAG_MS)
        self.capacity = CapacityMetrics(self.registry)
        self.worst_lag = Gauge("loop_lag_worst_ms", "The worst of the last ten seconds.", registry=self.registry)

    def _timed(self, name: str, meaning: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, meaning, buckets=buckets, registry=self.registry)

    def turn(self, times: TurnTimes) -> None:
        """Count how quickly a turn was answered."""
        for histogram, value in (
            (self._eou, times.eou_ms),
            (self._stt, times.stt_ms),
            (self._token, times.llm_first_token_ms),
            (self._chunk, times.tts_first_chunk_ms),
            (self._voice, times.voice_to_voice_ms),
        ):
            if value is not None:
                histogram.observe(value)
        if self.spans is not None and times.voice_to_voice_ms is not None:
            self.spans.turn(
                times.voice_to_voice_ms,
                {
                    "eou_ms": times.eou_ms,
                    "stt_ms": times.stt_ms,
                    "llm_first_token_ms": times.llm_first_token_ms,
                    "tts_first_chunk_ms": times.tts_first_chunk_ms,
                },
            )

    def first_partial(self, seconds: float) -> None:
        """Count how long the first partial words of an utterance took."""
        self._first_partial.observe(seconds * 1000)

    def barge_in(self, seconds: float) -> None:
        """Count how long the agent went on after the caller began to speak."""
        self._cutoff.observe(seconds * 1000)

    def echo_withheld(self) -> None:
        """Count an onset that was taken for the agent's own voice coming back."""
        self._echoes.inc()

    def call_ended(self, call: Ended) -> None:
        """Count a call, its length and what it cost."""
        self._ends.labels(str(call.status), str(call.reason)).inc()
        self._duration.observe(call.duration)
        self._cost.observe(float(sum(cost.inr for cost in call.costs)))

    def recording_failed(self) -> None:
        """Count a call whose recording has a fault."""
        self._recordings.inc()

    def engine_failed(self, provider: str, stage: str) -> None:
        """Count an engine that failed in a call."""
        self._engines.labels(provider, stage).inc()

    def rate_unchecked(self) -> None:
        """Count a request that was let through uncounted."""
        self._unchecked.inc()

    def ws_event(self, event: str) -> None:
        """Count a client's message; *event* is one of the protocol's, never what the client made up."""
        self._events.labels(event).inc()

    def webhooks_queued(self, count: int) -> None:
        """Count facts that became deliveries."""
        self._webhooks.labels("queued").inc(count)

    def webhook_attempt(self, kind: str, seconds: float) -> None:
        """Count an attempt by how it ended, one of a few words, and time it."""
        self._webhooks.labels("delivered" if kind == "delivered" else "failed").inc()
        self._attempts.labels(kind).inc()
        self._attempt.observe(seconds)

    def webhook_first_attempt(self, seconds: float) -> None:
        """Count how long a fact waited for its first attempt."""
        self._first_attempt.observe(seconds)

    def webhook_late(self, count: int) -> None:
        """Count acknowledgements that came too late."""
        self._late.inc(count)

    def webhook_backlog(self, *, facts: int, pending: int, oldest_ready: float, dead: int) -> None:
        """Take note of what waits, in the whole installation."""
        for state, count in (("unrouted", facts), ("pending", pending), ("dead", dead)):
            self._backlog.labels(state).set(count)
        self._oldest.set(oldest_ready)

    def watch_live_calls(self, count: Callable[[], float]) -> None:
        """Ask *count* for the number of live calls whenever somebody looks."""
        self._live.set_function(count)

    def render(self) -> tuple[bytes, str]:
        """Give what ``/metrics`` answers, and its content type."""
        return prometheus_client.generate_latest(self.registry), prometheus_client.CONTENT_TYPE_LATEST
