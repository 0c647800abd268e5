"""What is left of a call whose node is lost: words, costs and facts from its timeline, and nothing made up."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from invorto.model.agent_document import resolve
from invorto.model.call import Call, CallStatus, Direction, EndReason
from invorto.model.lease import Owner
from invorto.model.record import TimelineEvent
from invorto.realtime.drift import disagreements
from invorto.realtime.lost import FAULT, Salvaged, lost_call
from invorto.storage.system import LiveCall

STARTED = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
MS = round(STARTED.timestamp() * 1000)
AGENT = resolve(
    {
        "stt": {"provider": "deepgram"}, "llm": {"provider": "openai", "model": "gpt-4o-mini"},
        "tts": {"provider": "elevenlabs"},
    },
    {},
)  # fmt: skip
CALL = Call(
    id="c_1", tenant_id="t_1", agent_id="a_1", agent_version=1, direction=Direction.WEB, status=CallStatus.ACTIVE,
    epoch=8, created_at=STARTED, started_at=STARTED, node_id="n_dead",
)  # fmt: skip


def event(at: float, kind: str, **payload: Any) -> TimelineEvent:
    """Make an event *at* seconds of the call."""
    millis = MS + round(at * 1000)
    return TimelineEvent(id=f"{millis}-0", kind=kind, payload=payload, timestamp=millis)


EVENTS = [
    event(0, "call.started", agentId="a_1", direction="web", rate=16000),
    event(2, "tts.done", turn=0, heard="Hello there.", interrupted=False),
    event(5, "stt.final", text="A table for two.", ts=4.8, turn=1, confidence=0.9),
    event(5.5, "usage.llm", provider="openai", model="gpt-4o-mini", prompt=1000, completion=200),
    event(5.6, "usage.tts", provider="elevenlabs", model=None, characters=500),
    event(6, "turn.metrics", turn=1, eouMs=300.0, sttMs=None, llmFirstTokenMs=90.0),
    event(7, "tool.succeeded", name="book", latencyMs=12.0, turn=1, hash="x"),
    event(9, "tts.done", turn=1, heard="For which day", interrupted=True),
    event(60, "stt.final", text="To-morrow.", ts=59.5, turn=2),
]


def test_the_record():
    """It ends with the last thing that is known, as failed for `node_lost`, with what was said, used and measured."""
    record = lost_call(CALL, AGENT, EVENTS, recording=Salvaged(path="t_1/c_1.wav", seconds=58, rate=16000), usd_inr=87)
    assert (record.status, record.reason, record.epoch) == (CallStatus.FAILED, EndReason.NODE_LOST, 8)
    assert record.duration == 60
    assert [(said.role, said.text, said.interrupted) for said in record.transcript] == [
        ("assistant", "Hello there.", False), ("user", "A table for two.", False),
        ("assistant", "For which day", True), ("user", "To-morrow.", False),
    ]  # fmt: skip
    costs = {cost.kind: (cost.provider, cost.quantity) for cost in record.costs}
    assert costs == {
        "transport": ("web", Decimal(1)), "stt": ("deepgram", Decimal(1)), "llm": ("openai", Decimal(1200)),
        "tts": ("elevenlabs", Decimal(500)),
    }  # fmt: skip
    assert sum(cost.inr for cost in record.costs) > 0
    assert [(turn.turn, turn.eou_ms, turn.stt_ms) for turn in record.metrics] == [(1, 300.0, None)]
    assert record.recording == "t_1/c_1.wav"
    assert record.usage["recordingFault"] == FAULT
    assert [event.kind for event in record.timeline][-1] == "call.ended"
    assert len({event.id for event in record.timeline}) == len(EVENTS) + 1
    types = [fact.type for fact in record.outbox]
    assert types == ["call.ended", "call.recording.ready", "billing.usage.updated", "agent.summary"]
    assert record.outbox[0].data["endReason"] == "node_lost"
    assert record.outbox[-1].data["media"]["sampleRate"] == 16000


def test_nothing_is_known():
    """A call whose timeline is gone with its node still ends, at its start, and costs nothing."""
    record = lost_call(CALL, AGENT, [], recording=None, usd_inr=87)
    assert (record.duration, record.transcript, record.recording) == (0, (), None)
    assert sum(cost.inr for cost in record.costs) == 0
    assert [event.kind for event in record.timeline] == ["call.ended"]
    assert [fact.type for fact in record.outbox] == ["call.ended", "billing.usage.updated", "agent.summary"]


@given(st.integers(0, 5), st.booleans())
def test_transcription_off_is_kept_off(turns: int, wanted: bool):
    """Who did not want a transcript gets none from a lost node either."""
    call = attrs.evolve(CALL, transcription=wanted)
    events = [event(n, "stt.final", text="yes", ts=float(n), turn=n) for n in range(turns)]
    assert len(lost_call(call, AGENT, events, recording=None, usd_inr=87).transcript) == (turns if wanted else 0)


def row(id: str, status: str = "active", node: str | None = "n_1") -> LiveCall:
    """Make a live row."""
    return LiveCall(
        id=id, tenant_id="t_1", status=CallStatus(status), node_id=node, epoch=1, created_at=STARTED
    )  # fmt: skip


def owner(node: str = "n_1", phase: Any = "live", left: float = 20) -> Owner:
    """Make a lease."""
    return Owner(node_id=node, epoch=1, phase=phase, tenant_id="t_1", expires_in=left)


def test_what_disagrees():
    """Each way to disagree has its name; what only waits, is reserved elsewhere or is held here agrees."""
    rows = [
        row("c_good"), row("c_none"), row("c_over"), row("c_here"), row("c_waits", "queued", None),
        row("c_made", "created", None), row("c_dials", "dialing", None), row("c_other"), row("c_adopted", "dialing"),
    ]  # fmt: skip
    owners = {
        "c_good": owner(), "c_over": owner(left=-1), "c_dials": owner("n_2", "reserved"), "c_other": owner("n_2"),
        "c_adopted": owner("n_2", "reserved"), "c_ghost": owner("n_3"), "c_gone": owner("n_3", left=-5),
    }  # fmt: skip
    found = disagreements(rows, owners, {"c_here"})
    assert [(one.call_id, one.problem, one.node_id) for one in found] == [
        ("c_none", "no_lease", "n_1"), ("c_over", "no_lease", "n_1"), ("c_other", "other_owner", "n_1"),
        ("c_ghost", "no_call", "n_3"),
    ]  # fmt: skip
