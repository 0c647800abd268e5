"""A server of tools made with the MCP project's own SDK, in a process of its own: it judges our client."""

from __future__ import annotations

import socket
import sys

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("clinic")


@server.tool()
def book(day: str, people: int = 1) -> dict[str, object]:
    """Book an appointment."""
    return {"booked": True, "day": day, "people": people}


@server.tool()
def say(text: str) -> str:
    """Say it back."""
    return f"said {text}"


@server.tool()
def fail() -> str:
    """Never works."""
    raise ToolError("no such thing")


@server.tool()
def long() -> str:
    """Says more than anybody can take in."""
    return "x" * 100_000


async def main(*, json_response: bool) -> None:
    app = server.streamable_http_app(json_response=json_response)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="critical")).serve([listener])


if __name__ == "__main__":
    anyio.run(lambda: main(json_response="--json" in sys.argv))
