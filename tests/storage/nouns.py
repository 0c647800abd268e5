"""Agents, calls and what they leave, as short as a test wants them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from invorto.model.agent import Agent
from invorto.model.call import Call, CallStatus, Direction, EndReason
from invorto.model.ids import new_id
from invorto.model.record import Cost, FinishedCall, OutboxEvent, Summary, TimelineEvent, TurnMetrics, Utterance
from invorto.storage import agents, calls
from invorto.storage.postgres import Database
from invorto.storage.tenants import DEFAULT_TENANT

BEGAN = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


async def an_agent(db: Database, tenant_id: str = DEFAULT_TENANT, name: str = "Desk", **fields: Any) -> Agent:
    """Keep an agent."""
    return await agents.create(db, tenant_id, name=name, document={"prompt": "You are kind."}, **fields)


async def a_call(db: Database, agent: Agent, **fields: Any) -> Call:
    """Keep a call that was just created."""
    given: dict[str, Any] = {
        "id": new_id("c"), "tenant_id": agent.tenant_id, "agent_id": agent.id, "agent_version": agent.version,
        "direction": Direction.WEB, "status": CallStatus.CREATED, "epoch": 0, "created_at": BEGAN,
    }  # fmt: skip
    call = Call(**given | fields)
    await calls.create(db, call)
    return call


def finished(call: Call, **fields: Any) -> FinishedCall:
    """Give everything that *call* may leave behind."""
    given: dict[str, Any] = {
        "call_id": call.id, "tenant_id": call.tenant_id, "epoch": 1, "status": CallStatus.COMPLETED,
        "reason": EndReason.HANGUP, "started_at": BEGAN, "ended_at": BEGAN + timedelta(seconds=61.5), "duration": 61.5,
        "transcript": (
            Utterance(role="assistant", text="Hello, how can I help?", began=0.1, ended=1.9, turn=0, heard_by="marks"),
            Utterance(role="user", text="Book “नमस्ते” 🙂", began=2.5, ended=4.0, turn=1, confidence=0.93),
            Utterance(role="assistant", text="Sure, for", began=4.4, ended=5.0, turn=1, interrupted=True,
                      heard_by="timed", unheard="when?"),
        ),
        "costs": (
            Cost(kind="stt", provider="local", quantity=Decimal("1.025"), unit="minutes", inr=Decimal("0.4350")),
            Cost(kind="llm", provider="local", quantity=Decimal(912), unit="tokens", inr=Decimal("0.1101")),
        ),
        "metrics": (TurnMetrics(turn=0), TurnMetrics(turn=1, eou_ms=221.5, voice_to_voice_ms=412.0)),
        "summary": Summary(outcome="booked", reason="wanted a slot", next_steps=("call back",), text="Booked."),
        "recording": "2026/03/x.wav",
        "timeline": (
            TimelineEvent(id="1772357400000-0", kind="call.started", payload={}, timestamp=1772357400000),
            TimelineEvent(id="1772357400000-1", kind="stt.final", payload={"text": "Book"}, timestamp=1772357400000),
            TimelineEvent(id="1772357461500-0", kind="call.ended", payload={"n": [1, None]}, timestamp=1772357461500),
        ),
        "consent": {"asked": True, "given": True},
        "outbox": (OutboxEvent(type="call.ended", data={"reason": "hangup"}, event_id=new_id("evt")),
                   OutboxEvent(type="agent.summary", data={"text": "x"}, event_id=new_id("evt"))),
        "usage": {"llmTokens": 912},
    }  # fmt: skip
    return FinishedCall(**given | fields)
