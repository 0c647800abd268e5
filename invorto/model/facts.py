"""What is told to webhooks: every type of event, the one transition it belongs to, and the version that is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from invorto.model.ids import new_id
from invorto.model.record import OutboxEvent

type About = Literal["call", "campaign", "endpoint"]


@attrs.frozen(kw_only=True)
class EventType:
    """One type of event."""

    about: About
    """What changes; a call's events carry its id and are numbered."""
    transition: str
    """The change that it tells of: no other change makes it, and this one makes no other."""
    written: str
    """In whose transaction its row of the outbox is written."""
    version: int = 1
    """Of the schema that it is written by. A field that is added leaves it; anything else makes a new one."""


_TICK = "the ledger's, of all calls together, each 100 ms"
_END = "the end of the call: state, transcript, costs"

EVENT_TYPES: Mapping[str, EventType] = {
    "call.started": EventType(about="call", transition="`created` or `queued` is left", written=_TICK),
    "call.ringing": EventType(about="call", transition="`ringing` is reached", written=_TICK),
    "call.answered": EventType(about="call", transition="`active` is reached", written=_TICK),
    "stt.final": EventType(about="call", transition="words of the caller are final", written=_TICK),
    "agent.tool_call": EventType(about="call", transition="a call of a tool is over", written=_TICK),
    "qa.flags": EventType(about="call", transition="a flag is raised", written=_TICK),
    "call.ended": EventType(about="call", transition="an end is reached", written=_END),
    "call.recording.ready": EventType(about="call", transition="the recording is closed", written=_END),
    "billing.usage.updated": EventType(about="call", transition="the call's costs are written", written=_END),
    "agent.summary": EventType(
        about="call",
        transition="the call's record is kept",
        written="the end of the call, or its analysis's by a model",
    ),
    "campaign.started": EventType(about="campaign", transition="`running` is reached", written="the campaign's state"),
    "campaign.paused": EventType(about="campaign", transition="`paused` is reached", written="the campaign's state"),
    "campaign.completed": EventType(about="campaign", transition="an end is reached", written="the campaign's state"),
    "webhook.endpoint.disabled": EventType(
        about="endpoint", transition="`disabled` is reached by itself", written="the endpoint's state"
    ),
    "webhook.message.exhausted": EventType(
        about="endpoint", transition="a delivery is dead", written="the delivery's state"
    ),
    "webhook.message.recovered": EventType(
        about="endpoint", transition="a dead delivery arrives", written="the delivery's state"
    ),
    "webhook.test": EventType(about="endpoint", transition="somebody asks for a test", written="the request's"),
}


def make_fact(type_: str, data: Mapping[str, Any]) -> OutboxEvent:
    """
    Make a fact for the outbox, named and stamped with its schema's version; `KeyError` for no known type.

    *data* is what the type's schema says, less what `invorto.webhooks.envelope` takes from the row: ``eventId``,
    ``tenantId``, ``callId`` and ``seq``.
    """
    version = EVENT_TYPES[type_].version
    return OutboxEvent(type=type_, data={"schemaVersion": version, **data}, event_id=new_id("evt"))
