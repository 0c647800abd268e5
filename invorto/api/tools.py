"""Routes of tools: kept by name, checked before anybody relies on them, and tried out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
import msgspec
import trio

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.errors import Fault, Invalid, NotSupported
from invorto.model.agent import ToolDefinition
from invorto.plain import below, faults_of, invalid
from invorto.storage import tools
from invorto.storage.tools import Tool
from invorto.tools.equipment import Equipping
from invorto.tools.requests import SECRET, ToolFailed, request_of, tool_faults
from invorto.tools.runner import Access
from invorto.tools.schemas import value_faults


@attrs.frozen(kw_only=True)
class ToolAnswer(ToolDefinition):
    """A tool as it is kept."""

    id: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, tool: Tool) -> ToolAnswer:
        """Make what is answered of a tool."""
        held = attrs.asdict(tool.definition, recurse=False)
        return ToolAnswer(**held, id=tool.id, created_at=tool.created_at, updated_at=tool.updated_at)


@attrs.frozen(kw_only=True)
class ToolTrial:
    """A tool to check, and arguments to check it with."""

    tool: ToolDefinition
    args: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class TrialFault:
    """Something that is wrong."""

    path: str
    message: str


@attrs.frozen(kw_only=True)
class WouldAsk:
    """The request that would be made; secrets are not in it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any = None


@attrs.frozen(kw_only=True)
class Validation:
    """Whether a tool could be kept, and what it would ask."""

    valid: bool
    faults: tuple[TrialFault, ...] = ()
    request: WouldAsk | None = None


@attrs.frozen(kw_only=True)
class Invocation:
    """What to call a tool with."""

    args: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True)
class Invoked:
    """What came of it."""

    ok: bool
    latency_ms: float
    status: int | None = None
    result: Any = None
    error: str | None = None


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("tools", gate, "/v1/tools")
    database = deps.database

    def equipping() -> Equipping:
        if deps.equipping is None:
            raise NotSupported("no tools are run here")
        return deps.equipping

    async def faults_in(caller: Caller, tool: ToolDefinition) -> list[Fault]:
        found = equipping()
        access = await found.access(caller.tenant_id, ())
        return tool_faults(tool, found.runner.rules, access.hosts)

    @routes.post("", needs="dev", status=201, errors=["conflict", "quota_exceeded", "not_supported"])
    async def create(caller: Caller, body: ToolDefinition) -> ToolAnswer:
        """
        Keep a tool that agents may name.

        Without a `url` the client on the socket runs it; `type: "mcp"` offers all tools of the server there. The host
        must be one of the tenant's `toolHosts`.
        """
        if faults := await faults_in(caller, body):
            raise invalid(faults)
        return ToolAnswer.of(await tools.create(database, caller.tenant_id, body))

    @routes.get("", needs="analyst")
    async def listing(caller: Caller, query: PageQuery) -> Page[ToolAnswer]:
        """List the tenant's tools, the oldest first."""
        page, limit = page_of(query)
        found, total = await tools.listing(database, caller.tenant_id, page=page, limit=limit)
        return page_answer(map(ToolAnswer.of, found), total, query)

    @routes.get("/<name>", needs="analyst", errors=["not_found"])
    async def read(caller: Caller, name: str) -> ToolAnswer:
        """Give a tool, by its name or its id."""
        return ToolAnswer.of(await tools.get(database, caller.tenant_id, name))

    @routes.delete("/<name>", needs="dev", errors=["not_found"])
    async def remove(caller: Caller, name: str) -> None:
        """Take a tool away; agents that name it go on without."""
        await tools.remove(database, caller.tenant_id, name)

    @routes.post("/validate", needs="dev", errors=["not_supported"])
    async def validate(caller: Caller, body: ToolTrial) -> Validation:
        """Check a tool without keeping it, and, with `args`, show the request that it would make."""
        return _validated(body, await faults_in(caller, body.tool))

    @routes.post("/<name>/invoke", needs="dev", errors=["not_found", "not_supported"])
    async def invoke(caller: Caller, name: str, body: Invocation) -> Invoked:
        """Call a tool as a call would, and tell what came of it; its failure is an answer, not an error."""
        tool = (await tools.get(database, caller.tenant_id, name)).definition
        if tool.url is None:
            raise NotSupported("the client on a call's socket runs this tool")
        if tool.type == "mcp":
            raise NotSupported("this is a server of tools: name it in an agent")
        found = equipping()
        return await _invoked(found, tool, body.args, await found.access(caller.tenant_id))

    return routes


async def _invoked(found: Equipping, tool: ToolDefinition, args: Mapping[str, Any], access: Access) -> Invoked:
    began = trio.current_time()
    try:
        outcome = await found.runner.run(tool, args, access)
    except ToolFailed as error:
        took = round((trio.current_time() - began) * 1000, 1)
        return Invoked(ok=False, latency_ms=took, status=error.status, error=str(error))
    took = round((trio.current_time() - began) * 1000, 1)
    return Invoked(ok=True, latency_ms=took, status=outcome.status, result=msgspec.json.decode(outcome.data))


def _validated(trial: ToolTrial, found: list[Fault]) -> Validation:
    faults, request = below("tool", found), None
    if trial.args is not None:
        faults += below("args", value_faults(trial.tool.input_schema, dict(trial.args)))
        try:
            request = _asked(trial.tool, trial.args) if trial.tool.url is not None else None
        except ToolFailed as error:
            faults.append(Fault("$.args", str(error)))
    told = tuple(TrialFault(path=fault.path, message=fault.message) for fault in faults)
    return Validation(valid=not faults, faults=told, request=request)


def _asked(tool: ToolDefinition, args: Mapping[str, Any]) -> WouldAsk:
    names = {name for value in tool.headers.values() for name in SECRET.findall(value)}
    try:
        request = request_of(tool, args, dict.fromkeys(names, "***"))
    except Invalid as error:
        raise ToolFailed("; ".join(fault.message for fault in faults_of(error))) from None
    body = msgspec.json.decode(request.content) if request.content else None
    return WouldAsk(method=request.method, url=request.url, headers=request.headers, body=body)
