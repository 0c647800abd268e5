"""Routes of calls."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import attrs
from quart import Blueprint, Response, request

from invorto.api.answers import answer
from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import PageQuery, end_of, page_answer, page_of, read_query
from invorto.convert import unstructure
from invorto.model.call import Call, CallStatus, Direction
from invorto.model.rules import text
from invorto.storage import calls

_INSIDE = frozenset({"epoch", "nodeId"})
"""What fences owners and names machines is nobody's business outside."""


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


def call_answer(call: Call) -> dict[str, Any]:
    """Make what is answered of a call."""
    return {name: value for name, value in unstructure(call).items() if name not in _INSIDE}


def detail_answer(detail: calls.Detail, *, live: bool) -> dict[str, Any]:
    """Make what is answered of one call: all that is kept of it, and where the rest is."""
    call = detail["call"]
    here = f"/v1/calls/{call.id}"
    return {
        **call_answer(call),
        "live": live,
        "costs": detail["costs"],
        "usage": detail["usage"],
        "summary": detail["summary"],
        "analysis": detail["analysis"],
        "metrics": detail["metrics"],
        "consent": detail["consent"],
        "agentConfig": detail["agent"],
        "recordingUrl": f"{here}/recording" if detail["recording"] else None,
        "timelineUrl": f"{here}/timeline",
        "transcriptUrl": f"{here}/transcript",
    }


def blueprint(deps: ApiDeps, gate: Gate) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("calls", __name__, url_prefix="/v1/calls")
    database = deps.database

    @routes.get("")
    @gate.needs("analyst")
    async def listing(caller: Caller) -> Response:
        query = read_query(request, CallsQuery)
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
        return page_answer([call_answer(call) for call in found], total, query)

    @routes.get("/<call_id>")
    @gate.needs("analyst")
    async def read(caller: Caller, call_id: str) -> Response:
        detail = await calls.detail(database, caller.tenant_id, call_id)
        live = not detail["call"].status.terminal and deps.live(call_id) is not None
        return answer(detail_answer(detail, live=live))

    @routes.get("/<call_id>/transcript")
    @gate.needs("analyst")
    async def transcript(caller: Caller, call_id: str) -> Response:
        said = await calls.transcript(database, caller.tenant_id, call_id)
        return answer({"callId": call_id, "transcript": [unstructure(one) for one in said]})

    return routes
