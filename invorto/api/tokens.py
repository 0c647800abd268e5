"""The route of tokens for browsers: one call, one agent, five minutes at most."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import attrs
from quart import request

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.routing import Routes
from invorto.errors import Conflict, Fault, NotFound, NotSupported
from invorto.model.ids import is_call_id, new_id
from invorto.model.rules import between, count, every, text
from invorto.plain import invalid
from invorto.realtime.tokens import DEFAULT_ALLOW, Grant, allowed, mint
from invorto.storage import agents, calls


@attrs.frozen(kw_only=True)
class NewToken:
    """A token to make."""

    agent_id: str = attrs.field(validator=text(200, least=1))
    """An agent's id, or its name."""
    call_id: str | None = attrs.field(default=None, validator=text(64))
    """A call that is there, or that the socket is to make; null: a new one."""
    ttl: int = attrs.field(default=300, validator=between(1, 300))
    """Seconds until the socket must have been opened; coming back to the call stays allowed."""
    allow: tuple[str, ...] | None = attrs.field(default=None, validator=every(count(20), text(64)))
    """Messages that the browser may send; null: ``audio text mark tool.result pause resume end``."""


@attrs.frozen(kw_only=True)
class TokenAnswer:
    """A token, and where to go with it."""

    token: str
    """To be offered as a subprotocol: ``["invorto.v1", TOKEN]``."""
    call_id: str
    url: str
    expires_at: datetime


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the route."""
    routes = Routes("tokens", gate, "/v1/realtime")
    database, keyring = deps.database, gate.trust.secret_keys

    @routes.post(
        "/tokens", needs="dev", status=201, secret=True, rate="token",
        errors=["call_not_live", "agent_not_active", "conflict", "not_supported", "not_found"],
    )  # fmt: skip
    async def create(caller: Caller, body: NewToken) -> TokenAnswer:
        """Make a token with which a browser opens the voice socket of one call."""
        if not keyring:
            raise NotSupported("this installation signs no tokens: INVORTO_SECRET_KEYS is not set")
        allow = DEFAULT_ALLOW if body.allow is None else allowed(body.allow)
        if body.call_id is not None and not is_call_id(body.call_id):
            raise invalid([Fault("$.callId", "expected 1 to 64 of A-Z a-z 0-9 _ . - and not a reserved word")])
        try:
            agent = await agents.get(database, caller.tenant_id, body.agent_id)
        except NotFound:
            raise invalid([Fault("$.agentId", "there is no such agent")]) from None
        if agent.status != "active":
            raise Conflict(f"the agent is {agent.status}", "agent_not_active")
        if body.call_id is not None:
            await check_call(caller, body.call_id, agent.id)
        call_id = body.call_id or new_id("c")
        expires = int(time.time()) + body.ttl
        grant = Grant(
            tenant_id=caller.tenant_id, call_id=call_id, agent_id=agent.id, key_id=caller.key_id, expires_at=expires,
            allow=allow,
        )  # fmt: skip
        url = f"{socket_base(caller)}/realtime/voice?callId={quote(call_id)}&agentId={quote(agent.id)}"
        return TokenAnswer(
            token=mint(keyring, grant), call_id=call_id, url=url, expires_at=datetime.fromtimestamp(expires, UTC)
        )

    async def check_call(caller: Caller, call_id: str, agent_id: str) -> None:
        owner = await calls.whose(database, call_id)
        if owner is None:
            return
        call = await calls.get(database, caller.tenant_id, call_id)
        if call.status.terminal:
            raise Conflict("this call has ended", "call_not_live")
        if call.agent_id != agent_id:
            raise Conflict("the call has another agent")

    def socket_base(_: Caller) -> str:
        """Give the base URL of voice sockets, as this client reaches us."""
        network = deps.config.network
        base = network.realtime_ws_url or network.public_base_url
        if base is None:
            client = gate.client(request)
            base = f"{client.scheme or request.scheme}://{client.host or request.host}"
        parts = urlsplit(base)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"

    return routes
