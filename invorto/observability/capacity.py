"""Metrics of capacity: what is held, what is refused and why, and where the stores disagree."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
PROBLEMS: Final = ("no_lease", "no_call", "other_owner")


class CapacityMetrics:
    """One process's view."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.acquire = Histogram(
            "capacity_acquire_seconds", "How long a caller waited for a slot.", buckets=_SECONDS, registry=registry
        )
        self._refused = Counter(
            "capacity_refusals", "Calls refused for want of a slot, by the level.", ["scope"], registry=registry
        )
        self._lost = Counter(
            "capacity_lost_slots", "Live calls that lost their slot and were ended.", registry=registry
        )
        self._registered = Counter(
            "capacity_registered_slots", "Slots counted again whatever the limits said.", registry=registry
        )
        self._held = Gauge("capacity_held_slots", "Slots that this node holds.", registry=registry)
        self._known = Gauge("capacity_known", "1: Redis answers; 0: it is away.", registry=registry)
        self._closed = Gauge(
            "capacity_closed_seconds", "Until admission opens again after Redis came back empty.", registry=registry
        )
        self._everything = Gauge("capacity_slots", "Slots that all nodes hold, every 30 s.", registry=registry)
        self._limit = Gauge("capacity_slots_limit", "How many they may hold; 0: no limit.", registry=registry)
        self._overage = Gauge("capacity_overage", "Slots held beyond the limit of all.", registry=registry)
        self._drift = Gauge(
            "capacity_drift", "Calls about which leases and rows disagree.", ["problem"], registry=registry
        )
        for problem in PROBLEMS:
            self._drift.labels(problem)

    def watch(self, held: Callable[[], float], known: Callable[[], float], closed: Callable[[], float]) -> None:
        """Ask for this node's figures whenever somebody looks."""
        self._held.set_function(held)
        self._known.set_function(known)
        self._closed.set_function(closed)

    def refused(self, scope: str) -> None:
        """Count a refusal; *scope* is a level, or ``unknown`` while nobody can know."""
        self._refused.labels(scope).inc()

    def lost(self) -> None:
        """Count a live call that lost its slot."""
        self._lost.inc()

    def registered(self) -> None:
        """Count a slot that was counted again."""
        self._registered.inc()

    def counted(self, held: int, limit: int) -> None:
        """Tell what all nodes hold, and may hold."""
        self._everything.set(held)
        self._limit.set(limit)
        self._overage.set(max(0, held - limit) if limit else 0)

    def drift(self, problems: Iterable[str]) -> None:
        """Tell what disagrees, in place of what did before."""
        counts = Counts(problems)
        for problem in PROBLEMS:
            self._drift.labels(problem).set(counts[problem])
