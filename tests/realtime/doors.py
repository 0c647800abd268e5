"""A door without a database: requests made by hand, and keys, calls and agents in dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

import attrs

from invorto.errors import NotFound
from invorto.model.agent import Agent, AgentStatus
from invorto.model.call import Call, CallStatus, Direction, EndReason
from invorto.realtime.auth import Role
from invorto.realtime.head import Headers, Request

NOW = 1_733_000_000.0
THEN = datetime(2025, 1, 1, tzinfo=UTC)


def request(
    query: Mapping[str, str] | str = "callId=c_1",
    *,
    path: str = "/realtime/voice",
    subprotocols: Sequence[str] = (),
    **headers: str,
) -> Request:
    """Make the head of a handshake."""
    text = query if isinstance(query, str) else urlencode(query)
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    if subprotocols:
        pairs.append((b"sec-websocket-protocol", ", ".join(subprotocols).encode("latin-1")))
    return Request("GET", f"{quote(path)}?{text}", path, Headers([(b"host", b"voice.example:8080"), *pairs]))


@attrs.frozen(kw_only=True)
class FakeKey:
    id: str
    tenant_id: str
    role: Role
    revoked_at: datetime | None = None


@attrs.define
class FakeKeys:
    keys: dict[str, FakeKey]
    asked: list[str] = attrs.field(factory=list)
    down: Exception | None = None

    async def find(self, key: str) -> FakeKey | None:
        self.asked.append(key)
        if self.down:
            raise self.down
        return self.keys.get(key)

    async def get(self, tenant_id: str, key_id: str) -> FakeKey | None:
        if self.down:
            raise self.down
        return next((k for k in self.keys.values() if (k.tenant_id, k.id) == (tenant_id, key_id)), None)


@attrs.define
class FakeCalls:
    calls: dict[str, Call]

    async def whose(self, call_id: str) -> str | None:
        return self.calls[call_id].tenant_id if call_id in self.calls else None

    async def get(self, tenant_id: str, call_id: str) -> Call:
        call = self.calls.get(call_id)
        if call is None or call.tenant_id != tenant_id:
            raise NotFound("no call")
        return call


@attrs.define
class FakeAgents:
    agents: list[Agent]
    asked: list[str] = attrs.field(factory=list)

    async def get(self, tenant_id: str, id_or_name: str) -> Agent:
        self.asked.append(id_or_name)
        for name in ("id", "name"):
            for agent in self.agents:
                if agent.tenant_id == tenant_id and getattr(agent, name) == id_or_name:
                    return agent
        raise NotFound("no agent")


def keys() -> FakeKeys:
    """One key of each role in tenant t_1, one of another tenant, and a revoked one."""
    roles: tuple[Literal["operator", "admin", "dev", "analyst"], ...] = ("operator", "admin", "dev", "analyst")
    known = {f"inv_live_{role}": FakeKey(id=f"k_{role}", tenant_id="t_1", role=role) for role in roles}
    known["inv_live_other"] = FakeKey(id="k_other", tenant_id="t_2", role="dev")
    known["inv_live_revoked"] = FakeKey(id="k_revoked", tenant_id="t_1", role="dev", revoked_at=THEN)
    return FakeKeys(known)


def agent(id: str = "a_1", name: str = "Desk", tenant_id: str = "t_1", status: AgentStatus = "active") -> Agent:
    """Make an agent."""
    return Agent(
        id=id, tenant_id=tenant_id, name=name, status=status, version=1, document={}, created_at=THEN, updated_at=THEN
    )


def call(id: str, status: str = "created", **fields: Any) -> Call:
    """Make a call of agent a_1 in tenant t_1."""
    made = Call(
        id=id, tenant_id="t_1", agent_id="a_1", agent_version=1, direction=Direction.WEB, status=CallStatus(status),
        epoch=0, created_at=THEN, end_reason=EndReason.SILENCE if CallStatus(status).terminal else None,
    )  # fmt: skip
    return attrs.evolve(made, **fields)
