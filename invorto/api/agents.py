"""Routes of agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, cast

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.api.schema import Mode, Schema, Schemas
from invorto.convert import structure
from invorto.errors import Fault, Invalid, NotFound
from invorto.model.agent import Agent, AgentConfig, AgentStatus, LlmSettings, ToolDefinition, TtsSettings
from invorto.model.agent_document import FLAT, Document, check, merge, origin, tidy
from invorto.model.rules import between, every, match, text
from invorto.plain import below, faults_of, invalid
from invorto.realtime.endpointing import wait_function
from invorto.storage import agents
from invorto.storage.agents import AgentVersion
from invorto.tools.requests import definition_faults

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


class AgentBody:
    """An agent, or a part of one: its configuration under ``config``, or beside the name as the original sends it."""

    @classmethod
    def json_schema(cls, schemas: Schemas, mode: Mode) -> Schema:
        """Write both forms."""
        beside = schemas.object(_Head, mode)["properties"]
        document = document_schema(schemas)
        config = document["properties"]
        forms: list[Schema] = [
            {"title": "nested", "properties": {**beside, "config": document}, "required": ["config"]},
            {"title": "flat", "properties": {**config, **beside}},
        ]
        return {"type": "object", "anyOf": [{**form, "additionalProperties": False} for form in forms]}


class NewAgentBody(AgentBody):
    """An agent: its configuration under ``config``, or beside the name as the original sends it."""

    @classmethod
    def json_schema(cls, schemas: Schemas, mode: Mode) -> Schema:
        """Write both forms, with a name."""
        return {**super().json_schema(schemas, mode), "required": ["name"]}


def document_schema(schemas: Schemas) -> Schema:
    """Write the schema of an agent's document: the configuration's, the original's flat names included."""
    schema = schemas.object(AgentConfig, "request")
    properties = schema["properties"]
    groups = {"llm": schemas.object(LlmSettings, "request"), "tts": schemas.object(TtsSettings, "request")}
    for name, (group, *key) in FLAT.items():
        properties[name] = groups[group]["properties"][key[0]] if key else properties[group]
    return schema


@attrs.frozen(kw_only=True)
class AgentAnswer:
    """An agent."""

    id: str
    tenant_id: str
    name: str
    status: AgentStatus
    version: int
    config: Document
    """What its owner wrote, without defaults."""
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, agent: Agent) -> AgentAnswer:
        """Make what is answered of an agent."""
        return cls(
            id=agent.id,
            tenant_id=agent.tenant_id,
            name=agent.name,
            status=agent.status,
            version=agent.version,
            config=agent.document,
            created_at=agent.created_at,
            updated_at=agent.updated_at,
        )


@attrs.frozen(kw_only=True)
class VersionAnswer:
    """What an agent was from a moment on."""

    version: int
    config: Document
    created_at: datetime

    @classmethod
    def of(cls, version: AgentVersion) -> VersionAnswer:
        """Make what is answered of a version."""
        return cls(version=version.version, config=version.document, created_at=version.created_at)


@attrs.frozen(kw_only=True)
class RollbackBody:
    """Which version an agent is to become again."""

    version: int = attrs.field(validator=between(1, 2**31 - 1))


def _tools(config: AgentConfig) -> Iterable[Fault]:
    """Say what is wrong with tools that stand in the agent itself."""
    for place, tool in enumerate(config.tools):
        if isinstance(tool, ToolDefinition):
            yield from below("tools", below(place, definition_faults(tool)))


def _arithmetic(config: AgentConfig) -> Iterable[Fault]:
    """Say what is wrong with a ``waitFunction``, before it has to be used in a call."""
    try:
        wait_function(config.endpointing.wait_function)
    except Invalid as error:
        yield Fault("$.endpointing.waitFunction", str(error))


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("agents", gate, "/v1/agents")
    database = deps.database

    def hold(document: Document, written: Written) -> None:
        faults = list(written.faults)
        try:
            check(document, deps.defaults, engines=deps.engines, rules=[_arithmetic, _tools])
        except Invalid as error:
            faults += written.place(error.faults)
        if faults:
            raise invalid(faults)

    @routes.post("", needs="dev", body=NewAgentBody, status=201, errors=["conflict"])
    async def create(caller: Caller, body: Any) -> AgentAnswer:
        """Make an agent."""
        written = read_agent(body, whole=True)
        hold(written.document, written)
        made = await agents.create(
            database,
            caller.tenant_id,
            name=cast("str", written.name),
            document=written.document,
            status=written.status or "active",
        )
        return AgentAnswer.of(made)

    @routes.get("", needs="analyst")
    async def listing(caller: Caller, query: AgentsQuery) -> Page[AgentAnswer]:
        """List agents, the newest first unless asked otherwise."""
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
        return page_answer(map(AgentAnswer.of, found), total, query)

    @routes.get("/<agent_id>", needs="analyst")
    async def read(caller: Caller, agent_id: str) -> AgentAnswer:
        """Read an agent."""
        agent = await agents.get(database, caller.tenant_id, agent_id)
        if agent.id != agent_id:  # it is somebody's name: REST speaks of ids
            raise NotFound(f"no agent {agent_id}")
        return AgentAnswer.of(agent)

    @routes.patch("/<agent_id>", needs="dev", body=AgentBody, errors=["conflict"])
    async def change(caller: Caller, agent_id: str, body: Any) -> AgentAnswer:
        """Change an agent: what is given is merged, null goes back to the default; it becomes a new version."""
        written = read_agent(body, whole=False)
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
        return AgentAnswer.of(changed)

    @routes.delete("/<agent_id>", needs="dev", errors=["agent_in_use"])
    async def remove(caller: Caller, agent_id: str) -> None:
        """Take an agent away, unless a call of it is under way; what its calls left stays."""
        await agents.remove(database, caller.tenant_id, agent_id)

    @routes.get("/<agent_id>/versions", needs="analyst")
    async def versions(caller: Caller, agent_id: str, query: PageQuery) -> Page[VersionAnswer]:
        """List what an agent was, the newest version first."""
        page, limit = page_of(query)
        found, total = await agents.versions(database, caller.tenant_id, agent_id, page=page, limit=limit)
        return page_answer(map(VersionAnswer.of, found), total, query)

    @routes.post("/<agent_id>/rollback", needs="dev")
    async def rollback(caller: Caller, agent_id: str, body: RollbackBody) -> AgentAnswer:
        """Make an agent again what it was, as a new version; `404` for a version that it never had."""
        changed = await agents.rollback(
            database,
            caller.tenant_id,
            agent_id,
            body.version,
            check=lambda document: check(document, deps.defaults, engines=deps.engines, rules=[_arithmetic, _tools]),
        )
        return AgentAnswer.of(changed)

    return routes
