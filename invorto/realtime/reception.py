"""Takes a socket from its handshake to its call, or turns it away with a reason that a browser can read."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from invorto.config import Limits
from invorto.errors import Conflict, Invalid, LimitReached, NotFound, PeerError, ProviderFailed, Unavailable, UsageError
from invorto.model.agent import Agent, AgentConfig
from invorto.model.agent_document import resolve
from invorto.model.call import Call, CallStatus, Direction
from invorto.realtime.auth import choose_subprotocol
from invorto.realtime.call import House, Ticket, run_call
from invorto.realtime.door import Upgrade
from invorto.realtime.head import Request
from invorto.realtime.knock import Admission, Porter, TurnedAway, knock, refuse
from invorto.realtime.livecall import LiveCall
from invorto.realtime.protocol import SUBPROTOCOL, Connected, ErrorMessage
from invorto.realtime.revoking import Holds
from invorto.realtime.socket import VoiceSocket
from invorto.realtime.web import LEAD, WebLine

log = structlog.get_logger(__name__)


@attrs.frozen(kw_only=True)
class Reception:
    """The handler of the door for voice sockets."""

    porter: Porter
    house: House
    calls: trio.Nursery
    """Where calls live: they outlive the socket that began them."""
    limits: Limits
    defaults: Mapping[str, Any]
    """The installation's defaults of an agent."""
    holds: Holds
    """What each key holds open."""

    async def answer(self, request: Request, upgrade: Upgrade) -> None:
        """Serve one socket until its call or itself is over."""
        async with upgrade.accept(choose_subprotocol(request)) as socket:
            try:
                line, live, listening, key_id = await self._admit(request, socket)
            except PeerError as refused:
                log.info("socket_refused", code=refused.close_code, reason=refused.reason)
                await refuse(socket, refused, self.house.wall())
                return
            bound = structlog.contextvars.bound_contextvars(call_id=live.id, tenant_id=live.call.tenant_id)
            with bound, self.holds.holding(key_id, line):
                await live.serve(line, listening=listening)

    async def _admit(self, request: Request, socket: VoiceSocket) -> tuple[WebLine, LiveCall, bool, str | None]:
        with trio.move_on_after(self.house.deadlines.admission):
            admission = await knock(request, self.porter)
            call_id = admission.handshake.call_id
            while self.house.live.holds(call_id) and self.house.live.get(call_id) is None:
                await self.house.live.wait_settled(call_id)  # it is being begun by another socket, or written down
                admission = await knock(request, self.porter)
            live = self.house.live.get(call_id)
            joined = live is not None
            listening = joined and self._joins(live, admission)
            if live is None:
                live = await self._begin(admission)
            try:
                line = self._welcome(admission, socket, live, joined=joined)
                return line, live, listening, admission.credential.key_id
            except Exception as error:
                if not joined:
                    live.fail(error)  # it would wait for a line that never comes
                raise
        raise _away(1011, "store_unavailable", "the call could not be opened in time")

    def _welcome(self, admission: Admission, socket: VoiceSocket, live: LiveCall, *, joined: bool) -> WebLine:
        line = WebLine.of(socket, admission, live.next_id, self.limits)
        hello = Connected(
            call_id=live.id, timestamp=round(self.house.wall() * 1000), agent_id=admission.agent.id,
            session_id=secrets.token_hex(8), resumed=joined, protocol=SUBPROTOCOL,
        )  # fmt: skip
        line.tell(hello, live.next_id())
        return line

    def _joins(self, live: LiveCall, admission: Admission) -> bool:
        """Tell whether a socket joins a live call to listen only; False: it takes over. Raises `PeerError`."""
        if admission.handshake.rate != live.rate:
            raise _away(1003, "unsupported_audio", f"the call is held at {live.rate} Hz")
        if admission.credential.fingerprint == live.holder:
            return False
        if self.limits.realtime_allow_multi and live.listeners + 1 < self.limits.max_connections_per_call:
            return True
        raise _away(4001, "connection_limit_exceeded", "this call has its client already")

    async def _begin(self, admission: Admission) -> LiveCall:
        if admission.call is not None and admission.call.status is CallStatus.ACTIVE:
            raise _away(1011, "owner_unreachable", "this call lives on another node")
        if self.house.live.draining:
            raise _away(1001, "draining", "this node is going away")
        agent = admission.agent
        ticket = Ticket(
            call=admission.call or _new_call(admission, agent, self.house.wall()),
            new=admission.call is None,
            rate=admission.handshake.rate,
            lead=LEAD,
            holder=admission.credential.fingerprint,
            resolve=partial(_resolve, agent, self.defaults),
        )
        try:
            return await self.calls.start(partial(run_call, ticket, self.house))
        except LimitReached as full:
            dear = full.scope == "usage_cap"
            message = ErrorMessage(
                code="usage_cap_exceeded" if dear else "concurrency_limit", message=str(full), fatal=True,
                scope=full.scope, retry_after=full.retry_after,
            )  # fmt: skip
            raise TurnedAway(4029, "quota_exceeded" if dear else "concurrency_limit", message) from None
        except Conflict as clash:
            if clash.code == "call_elsewhere":
                raise _away(1011, "owner_unreachable", "this call lives on another node") from None
            raise _away(4001, "connection_limit_exceeded", str(clash)) from None
        except Unavailable as lost:
            code = 1001 if lost.code == "draining" else 1011
            raise _away(code, lost.code, str(lost), lost.retry_after) from None
        except ProviderFailed as failed:
            raise _away(1011, "provider_failed", f"the {failed.stage} engine failed") from failed
        except (Invalid, NotFound, UsageError) as broken:
            raise _away(4004, "agent_not_found", str(broken)) from None


def _away(close_code: int, code: str, message: str, retry_after: float | None = None) -> TurnedAway:
    return TurnedAway(close_code, code, ErrorMessage(code=code, message=message, fatal=True, retry_after=retry_after))


def _resolve(
    agent: Agent, defaults: Mapping[str, Any], variables: Mapping[str, str], locale: str | None
) -> AgentConfig:
    document = agent.document if locale is None else {**agent.document, "locale": locale}
    return resolve(document, defaults, variables)


def _new_call(admission: Admission, agent: Agent, wall: float) -> Call:
    now = datetime.fromtimestamp(wall, UTC)
    return Call(
        id=admission.handshake.call_id, tenant_id=agent.tenant_id, agent_id=agent.id, agent_version=agent.version,
        direction=Direction.WEB, status=CallStatus.CREATED, epoch=0, created_at=now,
    )  # fmt: skip
