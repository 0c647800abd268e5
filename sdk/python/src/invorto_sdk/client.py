"""The REST API and its calls, on Trio or asyncio: retries where that is safe, pages as async iterators."""

from __future__ import annotations

import os
import random
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast
from urllib.parse import quote

import anyio
import httpx2

from invorto_sdk import urls
from invorto_sdk.errors import ApiError, Unreachable
from invorto_sdk.routes import Agents, Calls, Keys, Realtime, Secrets, Telephony, Tenants, Tools, Webhooks
from invorto_sdk.talk import Call, Tool, new_call_id, open_call

ATTEMPTS = 4
"""Times that a request is made at most."""
LONGEST = 30.0
"""Seconds waited before it is made again, whatever the server asks for."""
_AGAIN = frozenset({429, 502, 503, 504})
_SAFE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""Methods that may be repeated whether or not the first try did something; POST has an idempotency key for that."""


class Client:
    """Everything that a key opens; `open_client` gives one. Each noun of the API is an attribute."""

    def __init__(self, http: httpx2.AsyncClient, key: str, base_url: str, environ: Mapping[str, str]) -> None:
        self.base_url = base_url
        self._http, self._key, self._environ = http, key, environ
        self.agents, self.calls, self.webhooks = Agents(self), Calls(self), Webhooks(self)
        self.keys, self.tenants, self.realtime = Keys(self), Tenants(self), Realtime(self)
        self.tools, self.secrets, self.telephony = Tools(self), Secrets(self), Telephony(self)

    def __repr__(self) -> str:
        """Say where it leads, and nothing of the key."""
        return f"<Client {self.base_url}>"

    def talk(
        self,
        agent: str | None = None,
        *,
        call_id: str | None = None,
        rate: int = 16_000,
        locale: str | None = None,
        variables: Mapping[str, str] | None = None,
        tools: Mapping[str, Tool] | None = None,
        marks: bool = False,
    ) -> AbstractAsyncContextManager[Call]:
        """
        Talk to an *agent*, by its id or name; the call is over when the block is left.

        *tools* are plain functions, async or not, that answer the agent's tool calls. *marks*: tell the server what
        `Call.speaker` has played. `CallRefused` and `Unreachable` say why there is no call.
        """
        name = call_id or new_call_id()
        query = {} if rate == 16_000 else {"rate": str(rate)}
        url = urls.socket_url(name, agent, base_url=self.base_url, environ=self._environ, query=query)
        return open_call(
            url, self._key, call_id=name, agent=agent, rate=rate, locale=locale, variables=variables,
            tools=tools or {}, marks=marks,
        )  # fmt: skip

    async def call(
        self, method: str, path: str, /, *, body: Any = None, query: Mapping[str, Any] | None = None, **names: str
    ) -> Any:
        """
        Make a request; gives the answer's JSON, None for an empty one.

        *names* fill the path's ``{places}``. `ApiError`: the server refuses; `Unreachable`: it does not answer.
        """
        answer = await self.request(
            method, path.format_map({k: quote(v, safe="") for k, v in names.items()}), body, query
        )
        return answer.json() if answer.content else None

    async def request(
        self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None, accept: str = ""
    ) -> httpx2.Response:
        """Make a request as it is; `call` reads the answer too."""
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        headers |= {"Accept": accept} if accept else {}
        asked = {name: _word(value) for name, value in (query or {}).items() if value is not None}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._http.request(method, path, json=body, params=asked, headers=headers)
            except httpx2.TransportError as error:
                if attempt == ATTEMPTS or (method not in _SAFE and not headers.get("Idempotency-Key")):
                    raise Unreachable(f"{self.base_url} does not answer: {error or type(error).__name__}") from error
                await _wait(attempt, None)
                continue
            if answer.status_code < 400:
                return answer
            problem = _problem(answer)
            if attempt == ATTEMPTS or answer.status_code not in _AGAIN:
                raise problem
            await _wait(attempt, problem.retry_after)
        raise AssertionError  # pragma: no cover - the last attempt has returned or raised

    async def pages(self, path: str, query: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Give everything in a list, page after page, by its cursor."""
        asked = dict(query)
        while True:
            page = await self.call("GET", path, query=asked)
            for row in page["data"]:
                yield row
            if (following := page["pagination"].get("next")) is None:
                return
            asked = {name: value for name, value in asked.items() if name != "page"} | {"cursor": following}


@asynccontextmanager
async def open_client(
    key: str | None = None, base_url: str | None = None, *, environ: Mapping[str, str] = os.environ, **http: Any
) -> AsyncGenerator[Client]:
    """
    Open a client; *key* is given, or ``INVORTO_API_KEY``; the base by `urls.api_base`.

    More arguments go to `httpx2.AsyncClient`. `ValueError` where there is no key.
    """
    key = key or environ.get("INVORTO_API_KEY")
    if not key:
        raise ValueError("no key: give one, or set INVORTO_API_KEY")
    base = urls.api_base(base_url, environ)
    headers = {"Authorization": f"Bearer {key}", "Accept": "application/json"}
    options: dict[str, Any] = {"timeout": 30.0, "trust_env": False, **http}
    async with httpx2.AsyncClient(base_url=base, headers=headers, **options) as client:
        yield Client(client, key, base, environ)


async def _wait(attempt: int, asked: float | None) -> None:
    """Wait as long as the server asks, else twice as long each time, but never for all clients at once."""
    seconds = asked if asked is not None else 0.25 * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    await anyio.sleep(min(seconds, LONGEST))


def _problem(answer: httpx2.Response) -> ApiError:
    try:
        body: object = answer.json()
    except ValueError:
        body = {}
    later = answer.headers.get("Retry-After", "")
    seconds = float(later) if later.replace(".", "", 1).isdigit() else None
    return ApiError(answer.status_code, cast("dict[str, Any]", body) if isinstance(body, dict) else {}, seconds)


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)
