"""Routes of calls."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import attrs
from quart import request

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, end_of, page_answer, page_of
from invorto.api.routing import Routes
from invorto.model.call import Call, CallStatus, Direction, EndReason
from invorto.model.record import Cost, Summary, TurnMetrics, Utterance
from invorto.model.rules import text
from invorto.storage import calls


@attrs.frozen(kw_only=True)
class CallsQuery(PageQuery):
    """What the list of calls understands; *from_* and *to* bound the start, a date alone is the whole day."""

    status: CallStatus | None = None
    agent_id: str | None = attrs.field(default=None, validator=text(64))
    campaign_id: str | None = attrs.field(default=None, validator=text(64))
    direction: Direction | None = None
    search: str | None = attrs.field(default=None, validator=text(200))
    from_: datetime | None = None
    to: datetime | None = None
    sort_by: Literal["startedAt", "createdAt", "endedAt", "duration"] = "createdAt"
    sort_order: Literal["asc", "desc", "ASC", "DESC"] = "desc"


@attrs.frozen(kw_only=True)
class CallAnswer:
    """A call: what fences owners and names machines is nobody's business outside."""

    id: str
    tenant_id: str
    agent_id: str
    agent_version: int
    direction: Direction
    status: CallStatus
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    end_reason: EndReason | None
    to: str | None
    from_: str | None
    campaign_id: str | None
    duration: float | None
    """Seconds from start to end."""
    cost_inr: str | None
    """The sum of its costs in ₹, decimal, to the paisa."""
    metadata: Mapping[str, Any]
    variables: Mapping[str, str]
    recording: bool | None
    """null: as the agent says."""
    transcription: bool | None

    @classmethod
    def of(cls, call: Call) -> CallAnswer:
        """Make what is answered of a call."""
        return CallAnswer(**{field.alias: getattr(call, field.name) for field in attrs.fields(CallAnswer)})


@attrs.frozen(kw_only=True)
class CallDetail(CallAnswer):
    """All that is kept of a call, and where the rest is."""

    live: bool
    costs: tuple[Cost, ...]
    usage: Mapping[str, Any]
    summary: Summary | None
    analysis: Mapping[str, Any] | None
    metrics: tuple[TurnMetrics, ...]
    consent: Mapping[str, Any] | None
    agent_config: Mapping[str, Any] | None
    """The agent's configuration as it was at the start."""
    recording_url: str | None
    timeline_url: str
    transcript_url: str


@attrs.frozen(kw_only=True)
class TranscriptAnswer:
    """What was said; empty while the call goes on."""

    call_id: str
    transcript: tuple[Utterance, ...]


def detail_answer(detail: calls.Detail, *, live: bool) -> CallDetail:
    """Make what is answered of one call."""
    call = detail["call"]
    here = f"/v1/calls/{call.id}"
    return CallDetail(
        **attrs.asdict(CallAnswer.of(call), recurse=False),
        live=live,
        costs=detail["costs"],
        usage=detail["usage"],
        summary=detail["summary"],
        analysis=detail["analysis"],
        metrics=detail["metrics"],
        consent=detail["consent"],
        agent_config=detail["agent"],
        recording_url=f"{here}/recording" if detail["recording"] else None,
        timeline_url=f"{here}/timeline",
        transcript_url=f"{here}/transcript",
    )


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("calls", gate, "/v1/calls")
    database = deps.database

    @routes.get("", needs="analyst")
    async def listing(caller: Caller, query: CallsQuery) -> Page[CallAnswer]:
        """List calls, the newest first unless asked otherwise."""
        page, limit = page_of(query)
        found, total = await calls.listing(
            database,
            caller.tenant_id,
            page=page,
            limit=limit,
            status=query.status,
            agent_id=query.agent_id,
            campaign_id=query.campaign_id,
            direction=query.direction,
            search=query.search,
            since=query.from_,
            until=query.to and end_of(query.to, request.args.get("to", "")),
            sort_by=query.sort_by,
            sort_order=query.sort_order.lower(),
        )
        return page_answer(map(CallAnswer.of, found), total, query)

    @routes.get("/<call_id>", needs="analyst")
    async def read(caller: Caller, call_id: str) -> CallDetail:
        """Read a call with its costs, summary and metrics."""
        detail = await calls.detail(database, caller.tenant_id, call_id)
        live = not detail["call"].status.terminal and deps.live(call_id) is not None
        return detail_answer(detail, live=live)

    @routes.get("/<call_id>/transcript", needs="analyst")
    async def transcript(caller: Caller, call_id: str) -> TranscriptAnswer:
        """Read what was said in a call."""
        said = await calls.transcript(database, caller.tenant_id, call_id)
        return TranscriptAnswer(call_id=call_id, transcript=said)

    return routes
