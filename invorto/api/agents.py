"""Routes of agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, cast

import attrs
from quart import Blueprint, Response, request

from invorto.api.answers import answer
from invorto.api.auth import Caller, Gate
from invorto.api.bodies import read_json
from invorto.api.deps import ApiDeps
from invorto.api.paging import PageQuery, page_answer, page_of, read_query
from invorto.convert import structure
from invorto.errors import Fault, Invalid, NotFound
from invorto.model.agent import Agent, AgentConfig, AgentStatus
from invorto.model.agent_document import Document, check, merge, origin, tidy
from invorto.model.rules import every, match, text
from invorto.plain import below, faults_of, invalid
from invorto.realtime.endpointing import wait_function
from invorto.storage import agents

_BESIDE = frozenset({"name", "status", "config"})
"""What stands beside an agent's configuration."""


@attrs.frozen(kw_only=True)
class AgentsQuery(PageQuery):
    """What the list of agents understands."""

    search: str | None = attrs.field(default=None, validator=text(200))
    status: AgentStatus | None = None
    sort_by: Literal["createdAt", "updatedAt", "name", "status"] = "createdAt"
    sort_order: Literal["asc", "desc", "ASC", "DESC"] = "desc"


@attrs.frozen(kw_only=True)
class _Head:
    """What stands beside the configuration."""

    name: str | None = attrs.field(
        default=None, validator=every(text(200, least=1), match(r"(?!a_[0-9a-f]{32}$).*", "a name, not an agent's id"))
    )
    status: AgentStatus | None = None


@attrs.frozen
class Written:
    """An agent, or a part of one, as somebody wrote it."""

    name: str | None
    status: AgentStatus | None
    document: Document
    """Tidied."""
    place: Callable[[Iterable[Fault]], list[Fault]]
    """Gives faults of the document the paths of what was written."""
    faults: list[Fault] = attrs.field(factory=list[Fault])
    """What is wrong with it by itself, before the configuration's own rules."""


def read_agent(body: object, *, whole: bool) -> Written:
    """
    Read ``{name, status?, config: {…}}``, or the configuration's fields beside ``name``, as the original sends them.

    *whole*: a name is required. `Invalid` for what is no object; other faults are in the result.
    """
    if not isinstance(body, dict):
        raise invalid([Fault("$", "expected an object")])
    given = cast("dict[str, Any]", body)
    nested = "config" in given
    config: Any = given["config"] if nested else {key: value for key, value in given.items() if key not in _BESIDE}

    def place(faults: Iterable[Fault]) -> list[Fault]:
        there = origin(faults, config if isinstance(config, Mapping) else {})
        return below("config", there) if nested else there

    faults = [Fault(f"$.{key}", "belongs inside config") for key in given if key not in _BESIDE] if nested else []
    head, document = _Head(), cast("Document", {})
    try:
        head = structure({key: given[key] for key in ("name", "status") if key in given}, _Head)
    except Invalid as error:
        faults += error.faults
    if whole and given.get("name") is None:
        faults.insert(0, Fault("$.name", "required field missing"))
    try:
        document = tidy(config)
    except Invalid as error:
        faults += place(faults_of(error))
    name = head.name.strip() if head.name is not None else None
    return Written(name, head.status, document, place, faults)


def agent_answer(agent: Agent) -> dict[str, Any]:
    """Make what is answered of an agent: its configuration is what its owner wrote."""
    return {
        "id": agent.id,
        "tenantId": agent.tenant_id,
        "name": agent.name,
        "status": agent.status,
        "version": agent.version,
        "config": agent.document,
        "createdAt": agent.created_at,
        "updatedAt": agent.updated_at,
    }


def _arithmetic(config: AgentConfig) -> Iterable[Fault]:
    """Say what is wrong with a ``waitFunction``, before it has to be used in a call."""
    try:
        wait_function(config.endpointing.wait_function)
    except Invalid as error:
        yield Fault("$.endpointing.waitFunction", str(error))


def blueprint(deps: ApiDeps, gate: Gate) -> Blueprint:
    """Make the routes."""
    routes = Blueprint("agents", __name__, url_prefix="/v1/agents")
    database = deps.database

    def hold(document: Document, written: Written) -> None:
        faults = list(written.faults)
        try:
            check(document, deps.defaults, engines=deps.engines, rules=[_arithmetic])
        except Invalid as error:
            faults += written.place(error.faults)
        if faults:
            raise invalid(faults)

    @routes.post("")
    @gate.needs("dev")
    async def create(caller: Caller) -> Response:
        written = read_agent(await read_json(request), whole=True)
        hold(written.document, written)
        made = await agents.create(
            database,
            caller.tenant_id,
            name=cast("str", written.name),
            document=written.document,
            status=written.status or "active",
        )
        return answer(agent_answer(made), 201, {"Location": f"/v1/agents/{made.id}"})

    @routes.get("")
    @gate.needs("analyst")
    async def listing(caller: Caller) -> Response:
        query = read_query(request, AgentsQuery)
        page, limit = page_of(query)
        found, total = await agents.listing(
            database,
            caller.tenant_id,
            page=page,
            limit=limit,
            search=query.search,
            status=query.status,
            sort_by=query.sort_by,
            sort_order=query.sort_order.lower(),
        )
        return page_answer([agent_answer(agent) for agent in found], total, query)

    @routes.get("/<agent_id>")
    @gate.needs("analyst")
    async def read(caller: Caller, agent_id: str) -> Response:
        agent = await agents.get(database, caller.tenant_id, agent_id)
        if agent.id != agent_id:  # it is somebody's name: REST speaks of ids
            raise NotFound(f"no agent {agent_id}")
        return answer(agent_answer(agent))

    @routes.patch("/<agent_id>")
    @gate.needs("dev")
    async def change(caller: Caller, agent_id: str) -> Response:
        written = read_agent(await read_json(request), whole=False)
        if written.faults:
            raise invalid(written.faults)
        changed = await agents.change(
            database,
            caller.tenant_id,
            agent_id,
            name=written.name,
            status=written.status,
            document=written.document or None,
            check=lambda merged: hold(merged, written),
            merging=merge,
        )
        return answer(agent_answer(changed))

    return routes
