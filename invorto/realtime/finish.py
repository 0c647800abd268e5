"""What is made of a call when it is over: its record, with costs, summary, and the facts that webhooks tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs
import structlog

from invorto.model.agent import AgentConfig
from invorto.model.call import ENDS, Call, Direction, EndReason
from invorto.model.pii import Redactor
from invorto.model.record import FinishedCall, Utterance
from invorto.realtime.analysis import order_of
from invorto.realtime.closing import Closing
from invorto.realtime.conversation import Conversation
from invorto.realtime.costs import Meter
from invorto.realtime.judging import judge
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
    rate: int,
    address: str = "",
    analysed: bool = False,
) -> FinishedCall:
    """
    Make the record of a call that ended for *reason*; without a *conversation* it never came to one.

    *analysed*: a model is to look at it afterwards, where there is something to look at.
    """
    meter = _meter(call, agent, conversation, duration)
    bill = meter.bill(usd_inr)
    if bill.unpriced:
        log.warning("no_price", providers=list(bill.unpriced))
    ended_at = started_at + timedelta(seconds=duration)
    kept = conversation is not None and (agent.transcription if call.transcription is None else call.transcription)
    redactor = teller.redactor
    utterances = tuple(_redacted(conversation.transcript.utterances, redactor)) if conversation is not None else ()
    tools = tuple(conversation.toolbox.uses) if conversation is not None else ()
    asking = conversation.asking if conversation is not None else None
    summary = summarize(utterances, reason, tools) if agent.summary.enabled else None
    known = _known(conversation)
    analysis = judge(summary, agent.summary, utterances, tools, known) if summary is not None else None
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
        summary=summary,
        analysis=_clean(analysis, redactor) if analysis is not None else None,
        recording=recording.path if recording is not None else None,
        timeline=teller.history(),
        consent=_clean(asking.record(), redactor) if asking is not None and asking.settled else None,
        usage={**meter.usage(), **_recorded(recording)},
    )
    closing = Closing(
        record=record,
        call=call,
        agent=agent,
        rate=rate,
        recording=recording,
        tools=tools,
        watch=teller.watch,
        address=address,
    )
    facts = [attrs.evolve(fact, data=_clean(fact.data, redactor)) for fact in closing.facts()]
    order = order_of(record, agent, facts[-1]) if analysed else None
    # What a model still has to look at is told of when it has.
    return attrs.evolve(record, outbox=tuple(facts if order is None else facts[:-1]), order=order)


def _known(conversation: Conversation | None) -> Mapping[str, Any]:
    """Give the slots that the local engine has filled in the end."""
    history = conversation.transcript.history() if conversation is not None else []
    filled: dict[str, Any] = {}
    for message in history:
        values = message.state.get("values") if isinstance(message.state, dict) else None
        if isinstance(values, dict):
            filled |= {str(name): value["value"] for name, value in values.items() if isinstance(value, dict)}
    return filled


def _redacted(utterances: Iterable[Utterance], redactor: Redactor | None) -> Iterator[Utterance]:
    """Take personal data out of what was said, and of what was left unsaid."""
    for one in utterances:
        if redactor is None:
            yield one
        else:
            unheard = redactor.text(one.unheard) if one.unheard is not None else None
            yield attrs.evolve(one, text=redactor.text(one.text), unheard=unheard)


def _clean(data: Mapping[str, Any], redactor: Redactor | None) -> Mapping[str, Any]:
    return data if redactor is None else redactor.value(data)


def _meter(call: Call, agent: AgentConfig, conversation: Conversation | None, duration: float) -> Meter:
    meter = conversation.used if conversation is not None else Meter()
    meter.transport(call.direction if call.direction is Direction.WEB else "carrier", duration)
    if conversation is not None:
        meter.heard(agent.stt, duration)
    return meter


def _recorded(recording: Recording | None) -> Mapping[str, Any]:
    """Tell how much was recorded, and what was not."""
    if recording is None or recording.idle:
        return {}
    told: dict[str, Any] = {"recordedSeconds": round(recording.seconds, 3)}
    if recording.fault is not None:
        told |= {"recordingFault": recording.fault, "recordingLostSeconds": round(recording.lost, 3)}
    return told
