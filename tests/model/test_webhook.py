"""Where a delivery may stand."""

from __future__ import annotations

from invorto.model.webhook import DeliveryStatus


def test_states_are_written_as_they_are_told() -> None:
    """Rows, answers and queries use the same words."""
    assert [*DeliveryStatus] == ["pending", "delivered", "dead"]
