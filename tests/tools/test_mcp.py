"""MCP over streamable HTTP: the project's own server judges our client, and a server that misbehaves is a sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
import pytest
import trio

from invorto.model.agent import ToolDefinition
from invorto.tools.requests import Request, ToolFailed, request_of
from invorto.tools.runner import Access, open_tools
from tests.tools.test_runner import HOME
from tests.vendors.web import Exchange, open_web

SERVER = Path(__file__).parents[1] / "vendors" / "mcp_server.py"
ACCESS = Access(tenant_id="t_1", hosts=["127.0.0.1"])


@asynccontextmanager
async def open_server(*arguments: str) -> AsyncGenerator[str]:
    """Run the SDK's server for the length of the block; gives its URL."""
    argv = [sys.executable, "-W", "ignore", str(SERVER), *arguments]
    process = await trio.lowlevel.open_process(argv, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with trio.fail_after(60):
            port = int(await process.stdout.receive_some())
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()


def remote(url: str, name: str, **more: Any) -> ToolDefinition:
    return ToolDefinition(name=f"clinic__{name}", type="mcp", url=url, remote_name=name, timeout_ms=5000, **more)


def asking(url: str) -> Request:
    return request_of(remote(url, "any"), {}, {})


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["events", "json"])
async def test_the_sdk_s_server(arguments: tuple[str, ...]) -> None:
    """Its tools are listed with their schemas and called, in one session; what fails there is a sentence here."""
    async with open_server(*arguments) as url, open_tools(HOME) as runner:
        found = {tool.name: tool for tool in await runner.mcp.tools(asking(url))}
        assert set(found) == {"book", "say", "fail", "long"}
        assert found["book"].input_schema["required"] == ["day"]
        assert found["book"].description == "Book an appointment."
        outcome = await runner.run(remote(url, "book"), {"day": "Monday"}, ACCESS)
        assert msgspec.json.decode(outcome.data)["day"] == "Monday"
        assert b"said hi" in (await runner.run(remote(url, "say"), {"text": "hi"}, ACCESS)).data
        with pytest.raises(ToolFailed, match="no such thing"):
            await runner.run(remote(url, "fail"), {}, ACCESS)
        with pytest.raises(ToolFailed, match="64 KiB"):
            await runner.run(remote(url, "long"), {}, ACCESS)
        with pytest.raises(ToolFailed):
            await runner.run(remote(url, "nothing"), {}, ACCESS)
        assert len(runner.mcp._sessions) == 1


class Odd:
    """A server of tools that does what a test says."""

    hangs = False

    def __init__(self, **does: Any) -> None:
        self.does, self.asked = does, list[str]()

    async def serve(self, exchange: Exchange) -> None:
        message = exchange.json
        self.asked.append(message["method"])
        if message["method"] == "initialize":
            result = {"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
            body = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            await exchange.answer(200, body, mcp_session_id=f"s{self.asked.count('initialize')}")
        elif "id" not in message:
            await exchange.answer(202, b"")
        elif self.does.get("forgets") and exchange.headers["mcp-session-id"] != f"s{self.does['forgets']}":
            await exchange.answer(404, {"error": "no session"})
        elif self.hangs:
            await trio.sleep_forever()
        elif "raw" in self.does:
            await exchange.begin(200, self.does.get("kind", "application/json"))
            await exchange.send(self.does["raw"])
            await exchange.end()
        else:
            assert exchange.headers["mcp-protocol-version"] == "2025-03-26"
            await exchange.answer(200, {"jsonrpc": "2.0", "id": message["id"], **self.does["says"]})


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ({"raw": b"<html>", "kind": "text/html"}, "text/html, not JSON"),
        ({"raw": b"{nonsense"}, "not JSON"),
        ({"raw": b"[1]"}, "no message"),
        ({"raw": b"[" * 100 + b"]" * 100}, "nested too deeply"),
        ({"raw": b'{"x": "' + b"x" * 600_000}, "longer than"),
        ({"raw": b"data: {}\n\n", "kind": "text/event-stream"}, "no end"),
        ({"raw": b"data: " + b"x" * 600_000, "kind": "text/event-stream"}, "no end"),
        ({"says": {"error": {"code": -32602, "message": "no such tool"}}}, "no such tool"),
        ({"says": {"result": [1]}}, "no result"),
        ({"says": {"result": {"content": [{"type": "text", "text": "no"}], "isError": True}}}, "it failed: no"),
        ({"forgets": 99}, "forgets who we are"),
    ],
)
async def test_servers_that_misbehave(does: dict[str, Any], says: str) -> None:
    """Each is a sentence for the model."""
    async with open_web(Odd(**does).serve) as url, open_tools(HOME) as runner:
        with trio.fail_after(10), pytest.raises(ToolFailed, match=says):
            await runner.run(remote(url, "book"), {}, ACCESS)


async def test_a_tool_that_may_have_been_done_is_not_called_again() -> None:
    """MCP has no idempotency keys: who does not answer in time is asked once."""
    odd = Odd()
    odd.hangs = True
    async with open_web(odd.serve) as url, open_tools(HOME) as runner:
        with pytest.raises(ToolFailed, match="did not answer within"):
            await runner.run(attrs.evolve(remote(url, "book"), timeout_ms=300), {}, ACCESS)
    assert odd.asked.count("tools/call") == 1


async def test_a_session_that_was_forgotten_is_opened_again() -> None:
    """A server that was restarted is greeted anew, within the same call of the tool."""
    odd = Odd(forgets=2, says={"result": {"content": [{"type": "text", "text": '{"ok": true}'}]}})
    async with open_web(odd.serve) as url, open_tools(HOME) as runner:
        assert (await runner.run(remote(url, "book"), {}, ACCESS)).data == b'{"ok":true}'
    assert odd.asked.count("initialize") == 2


async def test_what_is_listed_and_is_no_tool_is_left_out() -> None:
    """Names that are none, schemas that are none: the others can be used; the list is asked for once."""
    tools = [{"name": "good"}, {"name": ""}, {"name": 7}, "x", {"name": "bad", "inputSchema": {"type": "nothing"}}]
    odd = Odd(says={"result": {"tools": tools}})
    async with open_web(odd.serve) as url, open_tools(HOME) as runner:
        for _ in range(2):
            assert [tool.name for tool in await runner.mcp.tools(asking(url))] == ["good"]
    assert odd.asked.count("tools/list") == 1
