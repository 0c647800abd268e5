"""MCP servers as sources of tools: streamable HTTP, one session for a URL and its headers; never a local command."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, cast

import attrs
import msgspec
import trio

from invorto.outgoing.client import Client, Streamed
from invorto.speech.sse import Events
from invorto.tools.answers import LARGEST, SAID
from invorto.tools.requests import Request, ToolFailed
from invorto.tools.schemas import DEEPEST, depth, schema_faults, value_faults

VERSION: Final = "2025-06-18"
"""Of the protocol, as we offer it; a server may answer with an older one."""
LISTED: Final = 300.0
"""Seconds that a list of tools is believed."""
MOST_TOOLS: Final = 128
MOST_PAGES: Final = 10
MOST_SESSIONS: Final = 1000
MOST_BYTES: Final = 512 * 1024
"""Of one answer: a list of tools with their schemas is long."""
_KINDS: Final = "application/json, text/event-stream"


@attrs.frozen(kw_only=True)
class RemoteTool:
    """A tool as its server describes it."""

    name: str
    description: str = ""
    input_schema: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    output_schema: Mapping[str, Any] | None = None


@attrs.define(eq=False)
class _Session:
    """What a server knows us by."""

    id: str | None = None
    version: str = VERSION
    open: bool = False
    listed_at: float = float("-inf")
    tools: tuple[RemoteTool, ...] = ()
    lock: trio.Lock = attrs.field(factory=trio.Lock)


class _Gone(Exception):
    """The server has forgotten the session."""


class McpClients:
    """Clients of all servers; who calls bounds the time of each call."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._ids = itertools.count(1)

    async def tools(self, request: Request) -> tuple[RemoteTool, ...]:
        """List a server's tools, those that can be used; `ToolFailed`, `OutgoingFailed`."""
        session = self._session(request)
        async with session.lock:
            if trio.current_time() - session.listed_at < LISTED:
                return session.tools
        found: list[RemoteTool] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._ask(request, "tools/list", {"cursor": cursor} if cursor else {})
            found += _listed(page)
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str) or len(found) >= MOST_TOOLS:
                break
        session.tools, session.listed_at = tuple(found[:MOST_TOOLS]), trio.current_time()
        return session.tools

    async def call(
        self, request: Request, name: str, args: Mapping[str, Any], schema: Mapping[str, Any] | None
    ) -> bytes:
        """Call a tool and give its answer as JSON; `ToolFailed`, `OutgoingFailed`."""
        result = await self._ask(request, "tools/call", {"name": name, "arguments": dict(args)})
        value = _value(result)
        if result.get("isError"):
            raise ToolFailed(
                f"it failed: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}"[:SAID], 200
            )
        data = msgspec.json.encode(value if isinstance(value, dict) else {"text": value})
        if len(data) > LARGEST:
            raise ToolFailed(f"its answer is longer than {LARGEST // 1024} KiB", 200)
        if schema is not None and (faults := value_faults(schema, value)):
            raise ToolFailed(f"its answer is not what it promises: {faults[0].path}: {faults[0].message}"[:SAID], 200)
        return data

    def _session(self, request: Request) -> _Session:
        secret = {name: value for name, value in request.headers.items() if name != "Idempotency-Key"}
        digest = hashlib.sha256(msgspec.json.encode([request.url, secret], order="deterministic")).hexdigest()
        session = self._sessions.setdefault(digest, _Session())
        self._sessions.move_to_end(digest)
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session

    async def _ask(self, request: Request, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        session = self._session(request)
        for _ in range(2):
            async with session.lock:
                if not session.open:
                    await self._open(request, session)
            try:
                return await self._post(request, session, method, params)
            except _Gone:
                session.open, session.id = False, None
        raise ToolFailed("its server forgets who we are", 404)

    async def _open(self, request: Request, session: _Session) -> None:
        about = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "Invorto", "version": "1"}}
        session.id, session.version = None, VERSION
        result = await self._post(request, session, "initialize", about)
        session.version = str(result.get("protocolVersion") or VERSION)
        await self._post(request, session, "notifications/initialized", None)
        session.open = True

    async def _post(
        self, request: Request, session: _Session, method: str, params: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """Send a message and give its result; without *params* it is a notification, and has none."""
        number = next(self._ids)
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message |= {"id": number, "params": dict(params)}
        headers = {**request.headers, "Accept": _KINDS, "Content-Type": "application/json"}
        if method != "initialize":
            headers["MCP-Protocol-Version"] = session.version
        if session.id is not None:
            headers["Mcp-Session-Id"] = session.id
        body = msgspec.json.encode(message)
        async with self._client.stream("POST", request.url, headers=headers, content=body) as streamed:
            if streamed.status == 404 and session.id is not None:
                raise _Gone
            if streamed.status >= 300:
                raise ToolFailed(f"its server answered {streamed.status}", streamed.status)
            if method == "initialize":
                session.id = streamed.headers.get("mcp-session-id")
            return {} if params is None else _result(await _reply(streamed, number))


async def _reply(streamed: Streamed, number: int) -> Mapping[str, Any]:
    """Read until the answer to message *number* is there."""
    kind = streamed.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _message(await _all(streamed.chunks))
    if kind != "text/event-stream":
        raise ToolFailed(f"its server answers {kind or 'nothing'}, not JSON", streamed.status)
    events, size = Events(MOST_BYTES), 0
    async for chunk in streamed.chunks:
        size += len(chunk)
        if size > MOST_BYTES:
            break
        try:
            found = [_message(data) for data in events.feed(chunk)]
        except ValueError:
            break
        for message in found:
            if message.get("id") == number:
                return message
    raise ToolFailed("its server's answer has no end", streamed.status)


async def _all(chunks: AsyncGenerator[bytes]) -> bytes:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > MOST_BYTES:
            raise ToolFailed(f"its server's answer is longer than {MOST_BYTES // 1024} KiB", 200)
    return bytes(data)


def _message(data: bytes) -> Mapping[str, Any]:
    try:
        message = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ToolFailed("its server's answer is not JSON", 200) from None
    if depth(message) > DEEPEST + 8:
        raise ToolFailed("its server's answer is nested too deeply", 200)
    if not isinstance(message, dict):
        raise ToolFailed("its server's answer is no message", 200)
    return cast("dict[str, Any]", message)


def _result(message: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(error := message.get("error"), dict):
        raise ToolFailed(f"its server refuses: {str(error.get('message'))[:SAID]}", 200)
    result = message.get("result")
    if not isinstance(result, dict):
        raise ToolFailed("its server's answer has no result", 200)
    return cast("dict[str, Any]", result)


def _listed(page: Mapping[str, Any]) -> list[RemoteTool]:
    """Read the tools that can be used; what is none is left out."""
    found: list[RemoteTool] = []
    given = page.get("tools")
    for tool in given if isinstance(given, list) else ():
        if not isinstance(tool, dict) or not isinstance(name := tool.get("name"), str) or not 0 < len(name) <= 200:
            continue
        schema, promised = tool.get("inputSchema"), tool.get("outputSchema")
        schema = schema if isinstance(schema, dict) else {}
        promised = promised if isinstance(promised, dict) and not schema_faults(promised) else None
        if not schema_faults(schema):
            about = str(tool.get("description") or tool.get("title") or "")[:4096]
            found.append(RemoteTool(name=name, description=about, input_schema=schema, output_schema=promised))
    return found


def _value(result: Mapping[str, Any]) -> Any:
    """Give what a tool answered: its structured content, else its texts, read as JSON where they are."""
    if isinstance(structured := result.get("structuredContent"), dict):
        return structured
    content = result.get("content")
    parts = [part for part in (content if isinstance(content, list) else ()) if isinstance(part, dict)]
    text = "\n".join(str(part.get("text") or "") for part in parts if part.get("type") == "text")
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
