"""The way in: from the head of a handshake to somebody we know, a call and its agent, or to a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, Self

import attrs
import structlog

from invorto.config import Config
from invorto.errors import NotFound, PeerError, StoreUnavailable
from invorto.model.agent import Agent
from invorto.model.call import Call, CallStatus
from invorto.model.event_ids import event_id
from invorto.realtime.auth import Credential, Keys, Trust, authenticate
from invorto.realtime.handshake import Handshake, read_handshake
from invorto.realtime.head import Refused, Request
from invorto.realtime.origin import Origins
from invorto.realtime.protocol import Ended, ErrorMessage, ServerMessage, encode
from invorto.realtime.stored import StoredAgents, StoredCalls, StoredKeys
from invorto.storage.postgres import Database
from invorto.storage.tenants import DEFAULT_TENANT

log = structlog.get_logger(__name__)

_MAX_NAME = 200
"""Characters of an agent's name or id: what is longer is not looked up."""


class Calls(Protocol):
    """Where calls are kept."""

    async def whose(self, call_id: str) -> str | None:
        """Tell which tenant has a call of this id, of all in the installation."""
        ...

    async def get(self, tenant_id: str, call_id: str) -> Call:
        """Get a call; `NotFound`."""
        ...


class Agents(Protocol):
    """Where agents are kept."""

    async def get(self, tenant_id: str, id_or_name: str) -> Agent:
        """Get an agent by its id, else by its name; `NotFound`."""
        ...


@attrs.frozen(kw_only=True)
class Porter:
    """What it takes to let somebody in."""

    trust: Trust
    origins: Origins
    keys: Keys
    calls: Calls
    agents: Agents
    wall: Callable[[], float]
    """Unix time in seconds."""

    @classmethod
    def of(cls, config: Config, db: Database, wall: Callable[[], float] = time.time) -> Self:
        """Make one of the settings and the database; `UsageError` for keys and origins that are none."""
        return cls(
            trust=Trust.of(config, DEFAULT_TENANT),
            origins=Origins.of(config.network),
            keys=StoredKeys(db),
            calls=StoredCalls(db),
            agents=StoredAgents(db),
            wall=wall,
        )


@attrs.frozen(kw_only=True)
class Admission:
    """Somebody who may come in."""

    handshake: Handshake
    credential: Credential
    call: Call | None
    """None: the tenant has no such call, it is to be created, direction web."""
    agent: Agent


class TurnedAway(PeerError):
    """Nobody comes in: *messages* are sent before the socket closes, so that the client can tell why."""

    def __init__(self, close_code: int, reason: str, *messages: ServerMessage) -> None:
        super().__init__(close_code, reason)
        self.messages = messages


class Farewell(Protocol):
    """A socket whose handshake is complete, as far as a refusal needs it."""

    def send_text(self, text: str) -> None:
        """Send a text message; never waits."""
        ...

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        """Close, bounded in time."""
        ...


async def knock(request: Request, porter: Porter) -> Admission:
    """
    Let somebody in, or raise `PeerError` with what to close with, `TurnedAway` where there is more to say.

    A call of another tenant gets the same answer as a bad key. An expired token comes back to a live call alone;
    whether it is the one that opened it, the owner of the call knows by the fingerprint.
    """
    try:
        handshake = read_handshake(request)
    except Refused as error:  # a query that cannot be read, so the call's id in it cannot
        raise TurnedAway(4002, "bad_call_id", ErrorMessage(error.code, str(error), fatal=True)) from None
    porter.origins.check(request.headers.get("origin"), request.headers.get("host", ""))
    try:
        credential = await authenticate(request, handshake, porter.trust, porter.keys, porter.wall())
        call = await _call(handshake, credential, porter.calls)
        agent = await _agent(handshake, credential, call, porter.agents)
    except StoreUnavailable as error:
        lost = ErrorMessage(error.code, "try again in a moment", fatal=True, retry_after=error.retry_after)
        raise TurnedAway(1011, error.code, lost) from error
    return Admission(handshake=handshake, credential=credential, call=call, agent=agent)


async def refuse(socket: Farewell, refusal: PeerError, wall: float) -> None:
    """Say why, and close; the handshake is complete, since browsers cannot read a refused one."""
    messages = refusal.messages if isinstance(refusal, TurnedAway) else ()
    for place, message in enumerate(messages):
        socket.send_text(encode(message, event_id((int(wall * 1000), place))))
    await socket.aclose(refusal.close_code, refusal.reason)


async def _call(handshake: Handshake, credential: Credential, calls: Calls) -> Call | None:
    owner = await calls.whose(handshake.call_id)
    call = None
    if owner == credential.tenant_id:
        call = await calls.get(credential.tenant_id, handshake.call_id)
    stranger = owner is not None and call is None
    late = credential.expired and (call is None or call.status is not CallStatus.ACTIVE)
    if stranger or late:
        why = "it is another tenant's call" if stranger else "the token has expired"
        log.info("unauthorized", call_id=handshake.call_id, way=credential.way, why=why)
        raise PeerError(4003, "unauthorized")
    if call is not None and call.status.terminal:
        over = ErrorMessage("call_not_live", "this call has ended", fatal=True)
        raise TurnedAway(1000, "", over, Ended(call.end_reason or "hangup"))
    return call


async def _agent(handshake: Handshake, credential: Credential, call: Call | None, agents: Agents) -> Agent:
    wanted = handshake.agent or (call.agent_id if call else None) or credential.agent_id
    agent = None
    if wanted is not None and len(wanted) <= _MAX_NAME and "\0" not in wanted:
        try:
            agent = await agents.get(credential.tenant_id, wanted)
        except NotFound:
            agent = None
    if agent is None or (call is not None and call.agent_id != agent.id):
        message = "the call has another agent" if agent else "there is no such agent"
        raise TurnedAway(4004, "agent_not_found", ErrorMessage("agent_not_found", message, fatal=True))
    if credential.agent_id not in {None, agent.id, agent.name}:
        log.info("unauthorized", call_id=handshake.call_id, way=credential.way, why="it is for another agent")
        raise PeerError(4003, "unauthorized")
    live = call is not None and call.status is CallStatus.ACTIVE
    if agent.status != "active" and not live:
        message = f"the agent is {agent.status}"
        raise TurnedAway(4004, "agent_not_found", ErrorMessage("agent_not_active", message, fatal=True))
    return agent
