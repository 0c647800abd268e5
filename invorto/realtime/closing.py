"""What webhooks are told of a call that is over, in the order in which they are told it (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import attrs

from invorto.convert import iso, unstructure
from invorto.model.agent import AgentConfig
from invorto.model.call import Call, Direction
from invorto.model.facts import make_fact
from invorto.model.record import Cost, FinishedCall, OutboxEvent
from invorto.realtime.costs import total
from invorto.realtime.kpis import kpis
from invorto.realtime.summary import ToolUse
from invorto.realtime.watch import Watch

HIDDEN = "…"
"""Stands for what must not leave: values of tools' headers, which hold keys."""


class Recorded(Protocol):
    """A recording that is finished."""

    @property
    def fault(self) -> str | None:
        """What is wrong with it."""
        ...

    @property
    def seconds(self) -> float:
        """How long it is."""
        ...

    @property
    def lost(self) -> float:
        """Seconds that are missing in it."""
        ...


@attrs.frozen(kw_only=True)
class Closing:
    """All that the facts of a call's end are made of."""

    record: FinishedCall
    call: Call
    agent: AgentConfig
    """As it was at the start."""
    rate: int
    recording: Recorded | None
    tools: Sequence[ToolUse]
    watch: Watch
    address: str
    """What paths of the API are put behind: the public origin, or nothing."""

    def facts(self) -> tuple[OutboxEvent, ...]:
        """Make them: the end, the recording, the costs, and the whole at a glance."""
        ended = self._ended()
        facts = [make_fact("call.ended", ended)]
        if self.recording is not None and self.record.recording is not None:
            facts.append(make_fact("call.recording.ready", self._recorded(self.recording)))
        facts.append(make_fact("billing.usage.updated", {**self._usage(), "costInr": ended["costInr"]}))
        facts.append(make_fact("agent.summary", {**ended, **self._summary()}))
        return tuple(facts)

    def _ended(self) -> dict[str, Any]:
        record = self.record
        return {
            **parties(self.call),
            "status": record.status.value,
            "endReason": record.reason.value,
            "startedAt": iso(record.started_at or self.call.created_at),
            "endedAt": iso(record.ended_at),
            "duration": record.duration,
            "costInr": str(total(record.costs)),
        }

    def _recorded(self, recording: Recorded) -> dict[str, Any]:
        return {
            "url": self._link("recording"),
            "duration": round(recording.seconds, 3),
            "channels": 2 if self.agent.recording.stereo else 1,
            "sampleRate": self.rate,
            "format": "wav",
            "fault": recording.fault,
            "lostSeconds": round(recording.lost, 3),
        }

    def _usage(self) -> dict[str, Any]:
        return {"usage": dict(self.record.usage), "costs": [_cost(cost) for cost in self.record.costs]}

    def _summary(self) -> dict[str, Any]:
        record, agent = self.record, self.agent
        usage = self._usage()
        recorded = self.recording is not None and record.recording is not None
        return {
            "variables": dict(self.call.variables),
            "carrier": {"name": _carrier(self.call), "accountId": None, "callId": None},
            "media": {
                "sampleRate": self.rate,
                "recordedSeconds": record.usage.get("recordedSeconds", 0.0),
                "recordingFault": record.usage.get("recordingFault"),
                "engines": {
                    "stt": agent.stt.providers[0], "llm": agent.llm.providers[0], "tts": agent.tts.providers[0],
                },
            },
            "kpis": kpis(record.transcript, record.metrics, self.tools),
            "usage": {**usage["usage"], "costs": usage["costs"]},
            "summary": unstructure(record.summary) if record.summary is not None else None,
            "analysis": dict(record.analysis) if record.analysis is not None else None,
            "toolCalls": [unstructure(tool) for tool in self.tools],
            "emotion": self.watch.emotion(),
            "flags": list(self.watch.raised),
            "consent": dict(record.consent) if record.consent is not None else None,
            "artifacts": {
                "recording": self._link("recording") if recorded else None,
                "transcript": self._link("transcript"),
                "timeline": self._link("timeline"),
            },
            "messages": [unstructure(utterance) for utterance in record.transcript],
            "agent": shown(agent),
        }  # fmt: skip

    def _link(self, what: str) -> str:
        return f"{self.address}/v1/calls/{self.call.id}/{what}"


def parties(call: Call) -> dict[str, Any]:
    """Say whose call it is and who talks: what every event of a call's states has."""
    return {
        "agentId": call.agent_id,
        "agentVersion": call.agent_version,
        "direction": call.direction.value,
        "from": call.from_,
        "to": call.to,
        "campaignId": call.campaign_id,
        "metadata": dict(call.metadata),
    }


def begun(call: Call, started_at: datetime) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Make what is told when a call's media opens: that it was answered, and that it began if nobody has said so."""
    answered = ("call.answered", {**parties(call), "answeredAt": iso(started_at), "answeredBy": None})
    if call.direction is Direction.OUTBOUND:  # it began when it was dialed
        return (answered,)
    return (("call.started", {**parties(call), "startedAt": iso(started_at)}), answered)


def shown(agent: AgentConfig) -> dict[str, Any]:
    """Give an agent's configuration as it may be sent to others."""
    document = unstructure(agent)
    for tool in document["tools"]:
        if isinstance(tool, dict):
            tool["headers"] = dict.fromkeys(tool.get("headers") or {}, HIDDEN)
    return document


def _carrier(call: Call) -> str:
    return "web" if call.direction is Direction.WEB else "phone"


def _cost(cost: Cost) -> Mapping[str, Any]:
    return {
        "kind": cost.kind, "provider": cost.provider, "quantity": str(cost.quantity), "unit": cost.unit,
        "inr": str(cost.inr),
    }  # fmt: skip
