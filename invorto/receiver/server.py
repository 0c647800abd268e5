"""What `invorto webhooks` asks of a running server: its documented routes of webhooks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import trio

from invorto.caller.reach import Server
from invorto.config import Config
from invorto.errors import Invalid, StartFailed, UsageError
from invorto.outgoing.client import Client, OutgoingFailed, open_client

PATIENCE = 10.0
"""Seconds that the server may take to answer."""
FAREWELL = 5.0
"""Seconds to take back a registration when all is over."""
_MOST = 2**20


def where(config: Config, url: str | None, key: str | None) -> Server:
    """Find the server and its key: what was given, else what `invorto dev` left word of; `UsageError`."""
    if url is not None and key is not None:
        return Server(url, key)
    from invorto.dev import recall  # which knows how to start stores, and takes its time

    known = recall(config.stores.data_dir)
    if url is not None and url.rstrip("/") != known["url"].rstrip("/"):
        raise UsageError(f"give --key too: the one that is known here belongs to {known['url']}")
    return Server(url or known["url"], key or known["key"])


@attrs.frozen
class Endpoints:
    """The webhooks of a tenant, over REST."""

    server: Server
    client: Client

    async def list(self) -> list[Mapping[str, Any]]:
        """Give the endpoints, the first hundred."""
        return (await self._ask("GET", "/v1/webhooks?limit=100"))["data"]

    async def register(self, url: str, events: list[str]) -> Mapping[str, Any]:
        """Make an endpoint; the answer has its ``id`` and, this once, its ``secret``."""
        asked = {"url": url, "events": events, "description": "invorto webhooks listen"}
        return await self._ask("POST", "/v1/webhooks", asked)

    async def remove(self, endpoint: str) -> None:
        """Take an endpoint away."""
        await self._ask("DELETE", f"/v1/webhooks/{endpoint}")

    async def test(self, endpoint: str, type_: str) -> Mapping[str, Any]:
        """Have the server send a sample of a type to an endpoint."""
        return await self._ask("POST", f"/v1/webhooks/{endpoint}/test", {"type": type_})

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        address = self.server.rest(path)
        headers = {"x-api-key": self.server.key}
        content = b""
        if body is not None:
            headers["content-type"], content = "application/json", json.dumps(body).encode()
        try:
            with trio.fail_after(PATIENCE):
                answer = await self.client.request(method, address, headers=headers, content=content, most=_MOST)
        except trio.TooSlowError:
            raise StartFailed(f"{address} did not answer within {PATIENCE:g} s") from None
        except (OutgoingFailed, Invalid) as error:
            raise StartFailed(f"{address} does not answer ({error}): is the server running?") from None
        told = _parsed(answer.body)
        if answer.status >= 300:
            problem = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
            raise StartFailed(f"{address} answered {answer.status}: {_problem(problem) or answer.body[:200].decode()}")
        return told


@asynccontextmanager
async def open_endpoints(server: Server) -> AsyncGenerator[Endpoints]:
    """Open the way to a server for the length of the block."""
    async with open_client(None) as client:
        yield Endpoints(server, client)


@asynccontextmanager
async def registered(endpoints: Endpoints, url: str, events: list[str]) -> AsyncGenerator[Mapping[str, Any]]:
    """Register *url* for the length of the block."""
    made = await endpoints.register(url, events)
    try:
        yield made
    finally:
        with trio.move_on_after(FAREWELL, shield=True):
            await endpoints.remove(made["id"])


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _problem(told: Mapping[str, Any]) -> str:
    details = "; ".join(f"{fault['path']} {fault['message']}" for fault in told.get("details") or [])
    return ": ".join(part for part in (str(told.get("message", "")), details) if part)
