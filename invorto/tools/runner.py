"""Runs tools over HTTP: to allowed hosts at checked addresses, with one retry, and not while they keep failing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
import trio

from invorto.breaker import Breaker
from invorto.errors import Invalid
from invorto.model.agent import ToolDefinition
from invorto.outgoing.addresses import AddressRules
from invorto.outgoing.client import Answer, Client, OutgoingFailed, open_client
from invorto.tools.answers import LARGEST, read_answer
from invorto.tools.mcp import McpClients
from invorto.tools.requests import Request, ToolFailed, request_of, url_faults
from invorto.tools.schemas import value_faults

TRIES: Final = 2
PAUSE: Final = 0.1
"""Seconds before the second try."""
MOST_BREAKERS: Final = 10_000
_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be others the next time."""


@attrs.frozen
class Outcome:
    """What a tool answered: JSON, and the status it came with."""

    data: bytes
    status: int | None = None


@attrs.frozen(kw_only=True)
class Access:
    """What one tenant's tools may reach, and the secrets that they take along."""

    tenant_id: str
    hosts: Collection[str] = ()
    secrets: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)


class ToolRunner:
    """One for the process."""

    def __init__(self, client: Client, rules: AddressRules) -> None:
        self.rules = rules
        self.mcp = McpClients(client)
        self._client = client
        self._breakers: dict[tuple[str, str, str], Breaker] = {}

    async def run(
        self, tool: ToolDefinition, args: Mapping[str, Any], access: Access, *, key: str | None = None
    ) -> Outcome:
        """Run a tool; `ToolFailed` says in a sentence why there is no answer, whatever happened."""
        if faults := value_faults(tool.input_schema, dict(args)):
            told = "; ".join(f"{fault.path}: {fault.message}" for fault in faults)
            raise ToolFailed(f"these arguments do not fit: {told}"[:500])
        if sentences := url_faults(tool.url or "", self.rules, access.hosts):
            raise ToolFailed(f"it may not be called: {sentences[0]}")
        breaker = self._breaker(tool, access)
        if not breaker.allows(trio.current_time()):
            raise ToolFailed("it has failed several times just now: it is left alone for a moment")
        breaker.asked(trio.current_time())
        try:
            outcome = await self._tried(tool, args, access, key)
        except ToolFailed as error:
            if error.status is None or error.status >= 500 or error.status == 429:
                breaker.failed(trio.current_time())
            else:
                breaker.succeeded()  # it works, and refuses
            raise
        breaker.succeeded()
        return outcome

    def _breaker(self, tool: ToolDefinition, access: Access) -> Breaker:
        if len(self._breakers) > MOST_BREAKERS:
            self._breakers.clear()
        return self._breakers.setdefault((access.tenant_id, tool.name, tool.url or ""), Breaker(trips=3, rest=10.0))

    async def _tried(
        self, tool: ToolDefinition, args: Mapping[str, Any], access: Access, key: str | None
    ) -> Outcome:  # fmt: skip
        request = request_of(tool, args, access.secrets, key=key)
        failure = ToolFailed("it was not asked")
        for number in range(TRIES):
            if number:
                await trio.sleep(PAUSE)
            try:
                with trio.fail_after(tool.timeout_ms / 1000):
                    return await self._once(tool, args, request)
            except trio.TooSlowError:
                failure = ToolFailed(f"it did not answer within {tool.timeout_ms / 1000:g} s")
                if tool.type == "mcp":  # it knows no idempotency keys: it may be doing it
                    break
            except OutgoingFailed as error:
                failure = ToolFailed(f"it cannot be reached ({error.reason})")
            except Invalid as error:
                raise ToolFailed(f"it may not be called: {error}") from None
            except ToolFailed as error:
                if error.status not in _AGAIN:
                    raise
                failure = error
        raise failure

    async def _once(self, tool: ToolDefinition, args: Mapping[str, Any], request: Request) -> Outcome:
        if tool.type == "mcp":
            return Outcome(await self.mcp.call(request, tool.remote_name or tool.name, args, tool.output_schema))
        answer: Answer = await self._client.request(
            request.method, request.url, headers=request.headers, content=request.content, most=LARGEST
        )
        return Outcome(read_answer(answer, tool.output_schema), answer.status)


@asynccontextmanager
async def open_tools(rules: AddressRules) -> AsyncGenerator[ToolRunner]:
    """Open what runs tools, for the length of the block."""
    async with open_client(rules) as client:
        yield ToolRunner(client, rules)
