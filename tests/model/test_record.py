"""What a call leaves behind holds nothing that anybody can change afterwards."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from invorto.model.call import CallStatus, EndReason
from invorto.model.record import Cost, FinishedCall, OutboxEvent, Summary, TimelineEvent, TurnMetrics, Utterance

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def finished() -> FinishedCall:
    return FinishedCall(
        call_id="c_1", tenant_id="t_1", epoch=1, status=CallStatus.FAILED, reason=EndReason.ERROR,
        started_at=NOW, ended_at=NOW, duration=0.0,
    )  # fmt: skip


def test_a_call_that_failed_at_once_leaves_a_record_too() -> None:
    """Nothing but who, when and why is required: a call may end before a word was said."""
    call = finished()
    assert (call.transcript, call.costs, call.metrics, call.timeline, call.outbox) == ((), (), (), (), ())
    assert (call.summary, call.recording, call.consent, call.usage) == (None, None, None, {})


@pytest.mark.parametrize(
    "kind",
    [FinishedCall, Utterance, Cost, TurnMetrics, Summary, TimelineEvent, OutboxEvent],
    ids=lambda kind: kind.__name__,
)
def test_records_are_frozen(kind: type) -> None:
    """Whoever holds one may pass it on: to the ledger, the spool and a summary at once."""
    record: Any = object.__new__(kind)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        record.anything = 1
