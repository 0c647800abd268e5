"""What a call's tools are: those its agent names, those of MCP servers, and what they may reach and take along."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import attrs
import structlog
import trio

from invorto.config import Config
from invorto.convert import ANSWERS, structure
from invorto.errors import Invalid, NotFound, StoreUnavailable, UsageError
from invorto.model.agent import AgentConfig, ToolDefinition
from invorto.model.ids import new_id
from invorto.model.tenant import TenantSettings
from invorto.outgoing.client import OutgoingFailed
from invorto.outgoing.rules import rules_of
from invorto.storage import tenants, tools
from invorto.storage.postgres import Database
from invorto.storage.tools import Secret
from invorto.subkeys import SecretKeys
from invorto.tools.mcp import RemoteTool
from invorto.tools.requests import BUILT_IN, ToolFailed, request_of, url_faults
from invorto.tools.runner import Access, ToolRunner, open_tools
from invorto.vault import Vault

log = structlog.get_logger(__name__)

LISTING: Final = 3.0
"""Seconds that MCP servers have to list their tools when a call begins; a slow one's are missing in it."""
JOINT: Final = "__"
"""Between the name of an MCP server and that of its tool."""


@attrs.frozen(kw_only=True)
class Equipment:
    """A call's tools by the name that its agent gives: several, where it names an MCP server."""

    known: Mapping[str, tuple[ToolDefinition, ...]] = attrs.field(factory=dict[str, tuple[ToolDefinition, ...]])
    access: Access


@attrs.frozen
class Equipping:
    """Looks up what calls need."""

    database: Database
    vault: Vault
    runner: ToolRunner

    async def equip(self, tenant_id: str, agent: AgentConfig) -> Equipment:
        """Find an agent's tools; what cannot be found, opened or reached is left out and logged."""
        named = [tool for tool in agent.tools if isinstance(tool, str) and tool not in BUILT_IN]
        placed = [tool for tool in agent.tools if isinstance(tool, ToolDefinition)]
        if not named and all(tool.url is None for tool in placed):
            return Equipment(access=Access(tenant_id=tenant_id))
        try:
            found, kept = await tools.equipment(self.database, tenant_id, named)
        except StoreUnavailable as away:
            log.warning("tools_unknown", error=str(away))
            return Equipment(access=Access(tenant_id=tenant_id))
        access = await self.access(tenant_id, kept)
        definitions = [*placed, *(tool.definition for tool in found)]
        if missing := set(named) - {tool.name for tool in found}:
            log.warning("tools_missing", tools=sorted(missing))
        known = {tool.name: (tool,) for tool in definitions if tool.type != "mcp"}
        servers = [tool for tool in definitions if tool.type == "mcp"]
        with trio.move_on_after(LISTING):
            async with trio.open_nursery() as nursery:
                for server in servers:
                    nursery.start_soon(self._list, server, access, known)
        return Equipment(known=known, access=access)

    async def access(self, tenant_id: str, kept: Iterable[Secret] | None = None) -> Access:
        """Give what a tenant's tools may reach, and its secrets; one that no key opens is left out."""
        if kept is None:
            _, kept = await tools.equipment(self.database, tenant_id, ())
        try:
            settings = (await tenants.get(self.database, tenant_id)).settings
            hosts = structure(settings, TenantSettings, ANSWERS).tool_hosts
        except NotFound:
            hosts = ()
        secrets: dict[str, str] = {}
        for secret in kept:
            try:
                plain = self.vault.unseal("tool-secrets", secret.value, bound=secret.id)
            except UsageError as error:
                log.error("secret_unopened", secret=secret.name, error=str(error))
            else:
                secrets[secret.name] = plain.decode()
        return Access(tenant_id=tenant_id, hosts=hosts, secrets=secrets)

    def seal(self, value: str) -> tuple[str, bytes]:
        """Seal a secret's value; gives the id that it is bound to."""
        id = new_id("sec")
        return id, self.vault.seal("tool-secrets", value.encode(), bound=id)

    async def _list(
        self, server: ToolDefinition, access: Access, known: dict[str, tuple[ToolDefinition, ...]]
    ) -> None:  # fmt: skip
        try:
            if sentences := url_faults(server.url or "", self.runner.rules, access.hosts):
                raise ToolFailed(sentences[0])
            remote = await self.runner.mcp.tools(request_of(server, {}, access.secrets))
            known[server.name] = tuple(_of(server, tool) for tool in remote)
        except (ToolFailed, OutgoingFailed, Invalid) as error:
            log.warning("mcp_unreachable", server=server.name, error=str(error))


def _of(server: ToolDefinition, tool: RemoteTool) -> ToolDefinition:
    """Make a tool of our own of one of a server's."""
    name = f"{server.name}{JOINT}{''.join(c if c.isascii() and (c.isalnum() or c in '_-') else '_' for c in tool.name)}"
    return attrs.evolve(
        server, name=name[:64], remote_name=tool.name, description=tool.description or server.description,
        input_schema=tool.input_schema, output_schema=tool.output_schema,
    )  # fmt: skip


@asynccontextmanager
async def open_equipping(config: Config, database: Database) -> AsyncGenerator[Equipping]:
    """Open what finds and runs tools, for the length of the block."""
    async with open_tools(rules_of(config.webhooks)) as runner:
        yield Equipping(database, Vault(SecretKeys.parse(config.secrets.secret_keys)), runner)
