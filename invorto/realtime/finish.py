"""What is made of a call when it is over: its record, with costs, summary, and the facts that webhooks tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import structlog

from invorto.convert import unstructure
from invorto.model.agent import AgentConfig
from invorto.model.call import ENDS, Call, Direction, EndReason
from invorto.model.ids import new_id
from invorto.model.record import Cost, FinishedCall, OutboxEvent
from invorto.realtime.conversation import Conversation
from invorto.realtime.costs import Bill, Meter
from invorto.realtime.recording import Recording
from invorto.realtime.summary import summarize
from invorto.realtime.teller import Teller

log = structlog.get_logger(__name__)


def finished(
    call: Call,
    agent: AgentConfig,
    reason: EndReason,
    *,
    teller: Teller,
    conversation: Conversation | None,
    recording: Recording | None,
    started_at: datetime,
    duration: float,
    usd_inr: float,
) -> FinishedCall:
    """Make the record of a call that ended for *reason*; without a *conversation* it never came to one."""
    meter = _meter(call, agent, conversation, duration)
    bill = meter.bill(usd_inr)
    if bill.unpriced:
        log.warning("no_price", providers=list(bill.unpriced))
    ended_at = started_at + timedelta(seconds=duration)
    kept = conversation is not None and (agent.transcription if call.transcription is None else call.transcription)
    utterances = tuple(conversation.transcript.utterances) if conversation is not None else ()
    tools = tuple(conversation.toolbox.uses) if conversation is not None else ()
    asking = conversation.asking if conversation is not None else None
    record = FinishedCall(
        call_id=call.id,
        tenant_id=call.tenant_id,
        epoch=call.epoch,
        status=ENDS[reason],
        reason=reason,
        started_at=started_at,
        ended_at=ended_at,
        duration=round(duration, 3),
        transcript=utterances if kept else (),
        costs=bill.costs,
        metrics=tuple(conversation.mouth.metrics) if conversation is not None else (),
        summary=summarize(utterances, reason, tools) if agent.summary.enabled else None,
        recording=recording.path if recording is not None else None,
        timeline=teller.history(),
        consent=asking.record() if asking is not None and asking.settled else None,
        usage={**meter.usage(), **_recorded(recording)},
    )
    return _with_facts(record, call, bill, recording)


def _meter(call: Call, agent: AgentConfig, conversation: Conversation | None, duration: float) -> Meter:
    meter = conversation.used if conversation is not None else Meter()
    meter.transport(call.direction if call.direction is Direction.WEB else "carrier", duration)
    if conversation is not None:
        meter.stt(agent.stt.providers[0], duration, agent.stt.model)
    return meter


def _recorded(recording: Recording | None) -> Mapping[str, Any]:
    """Tell how much was recorded, and what was not."""
    if recording is None:
        return {}
    told: dict[str, Any] = {"recordedSeconds": round(recording.seconds, 3)}
    if recording.fault is not None:
        told |= {"recordingFault": recording.fault, "recordingLostSeconds": round(recording.lost, 3)}
    return told


def _with_facts(record: FinishedCall, call: Call, bill: Bill, recording: Recording | None) -> FinishedCall:
    """Add what is told to webhooks, in the order in which it is told."""
    common: dict[str, Any] = {
        "status": record.status.value,
        "reason": record.reason.value,
        "agentId": call.agent_id,
        "direction": call.direction.value,
        "duration": record.duration,
        "costInr": str(bill.total),
    }
    facts: list[tuple[str, Mapping[str, Any]]] = [("call.ended", common)]
    if recording is not None and record.recording is not None:
        facts.append(("call.recording.ready", {"recording": record.recording, "duration": round(recording.seconds, 3)}))
    facts.append(
        (
            "agent.summary",
            {
                **common,
                "summary": unstructure(record.summary) if record.summary is not None else None,
                "usage": {**record.usage, "costs": [_cost(cost) for cost in record.costs]},
                "messages": [unstructure(utterance) for utterance in record.transcript],
                "metrics": [unstructure(metrics) for metrics in record.metrics],
            },
        )
    )
    outbox = tuple(OutboxEvent(type=name, data=data, event_id=new_id("evt")) for name, data in facts)
    return attrs.evolve(record, outbox=outbox)


def _cost(cost: Cost) -> Mapping[str, Any]:
    return {
        "kind": cost.kind, "provider": cost.provider, "quantity": str(cost.quantity), "unit": cost.unit,
        "inr": str(cost.inr),
    }  # fmt: skip
