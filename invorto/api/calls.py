"""Routes of calls: making, listing, reading them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import attrs
from quart import request

from invorto.api.auth import Caller, Gate
from invorto.api.call_shapes import CallAnswer, CallDetail, TranscriptAnswer, detail_answer
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, end_of, page_answer, page_of
from invorto.api.routing import Routes
from invorto.convert import unstructure
from invorto.errors import Conflict, Fault, NotFound, NotSupported, Unavailable
from invorto.model.agent import Agent
from invorto.model.agent_document import resolve
from invorto.model.call import Call, CallStatus, Direction
from invorto.model.ids import new_id
from invorto.model.rules import count, text
from invorto.plain import invalid
from invorto.storage import agents, calls
from invorto.storage.postgres import Database


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
class NewCall:
    """A call to be."""

    agent_id: str = attrs.field(validator=text(200, least=1))
    """The agent's id, or its name."""
    to: str | None = attrs.field(default=None, validator=text(256, least=1))
    """Who is called: a number in E.164, or a SIP URI; of no meaning for a web call."""
    from_: str | None = attrs.field(default=None, validator=text(256, least=1))
    direction: Direction | None = None
    """``web`` waits for its socket, ``outbound`` is dialled; null: outbound where there is a *to*."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict[str, Any], validator=count(200))
    variables: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=count(200))
    campaign_id: str | None = attrs.field(default=None, validator=text(64))
    recording: bool | None = None
    """null: as the agent says."""
    transcription: bool | None = None


async def _agent(database: Database, tenant_id: str, id_or_name: str) -> Agent:
    """Find the agent of a new call; `Invalid` where there is none, `Conflict` where it answers nothing."""
    try:
        agent = await agents.get(database, tenant_id, id_or_name)
    except NotFound:
        raise invalid([Fault("$.agentId", "there is no such agent")]) from None
    if agent.status != "active":
        raise Conflict(f"the agent is {agent.status}", "agent_not_active")
    return agent


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("calls", gate, "/v1/calls")
    database = deps.database

    @routes.post("", needs="dev", status=201, errors=["agent_not_active", "not_supported", "draining"])
    async def create(caller: Caller, body: NewCall) -> CallAnswer:
        """
        Make a call.

        A web call waits for its socket, and takes its place among the calls at once only then; an outbound one is
        dialled.
        """
        if deps.draining():
            raise Unavailable("this node is going away", "draining")
        direction = body.direction or (Direction.OUTBOUND if body.to else Direction.WEB)
        if direction is Direction.OUTBOUND and body.to is None:
            raise invalid([Fault("$.to", "required field missing")])
        agent = await _agent(database, caller.tenant_id, body.agent_id)
        call = Call(
            id=new_id("c"),
            tenant_id=caller.tenant_id,
            agent_id=agent.id,
            agent_version=agent.version,
            direction=direction,
            status=CallStatus.CREATED,
            epoch=0,
            created_at=datetime.fromtimestamp(deps.wall(), UTC),
            to=body.to,
            from_=body.from_,
            campaign_id=body.campaign_id,
            metadata=body.metadata,
            variables=body.variables,
            recording=body.recording,
            transcription=body.transcription,
        )
        match direction:
            case Direction.WEB:
                config = unstructure(resolve(agent.document, deps.defaults, body.variables))
                await calls.create(database, call, config=config)
                return CallAnswer.of(call)
            case Direction.OUTBOUND if deps.dialler is not None:
                return CallAnswer.of(await deps.dialler.place(call, agent))
            case Direction.OUTBOUND:
                raise NotSupported("nothing here can place calls: there is no carrier account")
            case Direction.INBOUND:
                raise NotSupported("an inbound call is made by its carrier")

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
