"""The way to a server: its addresses, why it turned somebody away, and what it answers over REST."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import attrs
import trio

from invorto.caller.ear import RATE
from invorto.errors import InvortoError, StartFailed, UsageError

type Event = Mapping[str, Any]

PATIENCE = 10.0
"""Seconds that a server may take to answer a request."""
_PLAIN = {"http": "http", "ws": "http", "https": "https", "wss": "https"}


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,4096}")
"""What may stand in a header as a subprotocol, where a key goes."""


@attrs.frozen
class Server:
    """A server, and the key to it; `UsageError` where neither can be."""

    url: str
    """Where it is, as it was given."""
    key: str = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        self._parts()
        if not _TOKEN.fullmatch(self.key):
            raise UsageError("the key is empty, or holds characters that no key has: give another one with --key")

    @property
    def place(self) -> tuple[str, int, bool]:
        """Host, port, and whether TLS is spoken there."""
        parts = self._parts()
        secure = parts.scheme in {"https", "wss"}
        return parts.hostname or "", parts.port or (443 if secure else 80), secure

    def socket(self, call_id: str, agent: str) -> str:
        """Give the path and query of a call's voice socket."""
        query = urlencode({"callId": call_id, "agentId": agent, "rate": RATE}, quote_via=quote)
        return f"{self._parts().path}/realtime/voice?{query}"

    def rest(self, path: str) -> str:
        """Give the address of a route."""
        parts = self._parts()
        return f"{_PLAIN[parts.scheme]}://{parts.netloc}{parts.path}{path}"

    def _parts(self) -> SplitResult:
        try:
            parts = urlsplit(self.url.strip().rstrip("/"))
            if parts.scheme in _PLAIN and parts.hostname and (parts.port is None or parts.port > 0):
                return parts
        except ValueError:
            pass
        raise UsageError(f"{self.url!r} is no server's URL: expected something like https://voice.example.com")

    async def get(self, path: str) -> Any:
        """Read a route's JSON; `StartFailed` says why it cannot be had."""
        return json.loads(await self.get_bytes(path))

    async def get_bytes(self, path: str) -> bytes:
        """Read a route, as it comes."""
        address = self.rest(path)
        return await trio.to_thread.run_sync(partial(_get, address, self.key), abandon_on_cancel=True)


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a server on this machine is behind no proxy


def _get(address: str, key: str) -> bytes:
    request = urllib.request.Request(address, headers={"x-api-key": key})  # noqa: S310 - http or https, see `_parts`
    try:
        with _direct.open(request, timeout=PATIENCE) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise StartFailed(f"{address} answered {error.code}: {_message(error.read())}") from None
    except OSError as error:
        raise StartFailed(f"{address} does not answer ({getattr(error, 'reason', error)})") from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")


def refusal(code: int, reason: str, events: Iterable[Event], server: Server, agent: str) -> InvortoError:
    """Say why a server closed a socket before the call began: `UsageError` where the caller can mend it."""
    said = next((event for event in events if event.get("t") == "error"), {})
    message = said.get("message") or reason or f"close code {code}"
    match code:
        case 4003 if reason == "forbidden_origin":
            return UsageError(f"{server.url} takes no calls from here: {message}")
        case 4003:
            return UsageError(f"{server.url} does not know this key: give another one with --key")
        case 4004 if said.get("code") == "agent_not_active":
            return UsageError(f"the agent {agent!r} takes no calls ({message}): set its status to active")
        case 4004:
            return UsageError(f"{server.url} has no agent {agent!r} ({message}): give its id or name with --agent")
        case 4029:
            return StartFailed(f"{server.url} takes no more calls just now: {message}")
        case _:
            return StartFailed(f"{server.url} did not take the call: {message}")
