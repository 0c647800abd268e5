"""What is counted and timed of webhooks: the port of those who deliver."""

from __future__ import annotations

from typing import Protocol


class Measures(Protocol):
    """What is counted of webhooks."""

    def webhooks_queued(self, count: int) -> None:
        """Count facts that became deliveries."""
        ...

    def webhook_attempt(self, kind: str, seconds: float) -> None:
        """Count an attempt by how it ended, and time it."""
        ...

    def webhook_first_attempt(self, seconds: float) -> None:
        """Count how long a fact waited for its first attempt."""
        ...

    def webhook_late(self, count: int) -> None:
        """Count acknowledgements that came too late."""
        ...

    def webhook_backlog(self, *, facts: int, pending: int, oldest_ready: float, dead: int) -> None:
        """Take note of what waits."""
        ...
