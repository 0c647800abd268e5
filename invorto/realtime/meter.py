"""What of a call is measured, as a port: metrics know nothing of calls."""

from __future__ import annotations

from typing import Protocol

from invorto.model.record import FinishedCall, TurnMetrics


class Meter(Protocol):
    """Counts and times; cheap, and never fails."""

    def turn(self, times: TurnMetrics) -> None:
        """Count how quickly a turn was answered."""
        ...

    def first_partial(self, seconds: float) -> None:
        """Count how long the first words of an utterance took."""
        ...

    def barge_in(self, seconds: float) -> None:
        """Count how long the agent went on after the caller began to speak."""
        ...

    def engine_failed(self, provider: str, stage: str) -> None:
        """Count an engine that failed in a call."""
        ...

    def call_ended(self, call: FinishedCall) -> None:
        """Count a call that is over."""
        ...
