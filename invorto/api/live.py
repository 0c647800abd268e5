"""Routes that act on live calls, wherever they run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from quart import request

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.routing import Routes
from invorto.api.socket_credentials import SocketCredentials
from invorto.errors import Conflict, NotFound, Unauthorized
from invorto.model import rules
from invorto.realtime import acts
from invorto.realtime.stored import StoredKeys
from invorto.storage import calls

_ERRORS = ("call_not_live", "not_supported", "owner_unreachable", "conflict")


@attrs.frozen(kw_only=True)
class Acted:
    """What was done, by the call's owner."""

    call_id: str
    status: str
    """``ended``, ``ending``, ``started``, ``speaking``, ``queued``, ``whispered``, ``held``, ``active`` …"""
    turn: int | None = None
    """The agent's turn that it became, where it became one at once."""


@attrs.frozen(kw_only=True)
class EndBody:
    """How a call is to end."""

    goodbye: bool = False
    """Whether the agent says goodbye first: then the answer does not wait for the end."""
    reason: str | None = attrs.field(default=None, validator=rules.text(200))
    """Of no meaning to us; what the original's client sends."""


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("realtime", gate, "/v1/realtime")
    database = deps.database
    credentials = SocketCredentials(
        trust=gate.trust, keys=StoredKeys(database), longest=deps.config.limits.call_timeout_minutes * 60
    )

    async def do(tenant_id: str, call_id: str, act: acts.Act) -> Mapping[str, Any]:
        call = await calls.get(database, tenant_id, call_id)
        if call.status.terminal or deps.switchboard is None:
            raise Conflict(f"call {call_id} is not live", "call_not_live")
        return await deps.switchboard.act(call, act)

    async def acted(caller: Caller, call_id: str, act: acts.Act) -> Acted:
        done = await do(caller.tenant_id, call_id, act)
        return Acted(call_id=call_id, status=done["status"], turn=done.get("turn"))

    @routes.post("/<call_id>/end", needs=None, errors=[*_ERRORS, "invalid_api_key", "forbidden"])
    async def end(call_id: str, body: EndBody) -> Acted:
        """
        End a call, wherever it runs; the answer comes when its record is written.

        Needs a key of the role `dev`, or what the call's socket was opened with: its token, or its `sig` and `ts`.
        """
        act = acts.End(goodbye=body.goodbye)
        if not credentials.shown(request):
            return await acted(await gate.admit(request, "dev", {"call_id": call_id}), call_id, act)
        tenant_id = await credentials.tenant(request, call_id, deps.wall())
        try:
            done = await do(tenant_id, call_id, act)
        except NotFound:  # another tenant's, or none: the same answer as to a bad key
            raise Unauthorized("this does not end this call") from None
        return Acted(call_id=call_id, status=done["status"])

    @routes.post("/<call_id>/transfer", needs="dev", errors=_ERRORS)
    async def transfer(caller: Caller, call_id: str, body: acts.Transfer) -> Acted:
        """Hand the caller over to one of the agent's `transferTargets`."""
        return await acted(caller, call_id, body)

    @routes.post("/<call_id>/say", needs="dev", errors=_ERRORS)
    async def say(caller: Caller, call_id: str, body: acts.Say) -> Acted:
        """Have the agent say something, as soon as nobody else has the floor."""
        return await acted(caller, call_id, body)

    @routes.post("/<call_id>/whisper", needs="dev", errors=_ERRORS)
    async def whisper(caller: Caller, call_id: str, body: acts.Whisper) -> Acted:
        """Tell the agent something for its next answer, which the caller never hears of."""
        return await acted(caller, call_id, body)

    @routes.post("/<call_id>/hold", needs="dev", errors=_ERRORS)
    async def hold(caller: Caller, call_id: str, body: acts.Hold) -> Acted:
        """Put the caller on hold, with music or in silence, or take the conversation up again."""
        return await acted(caller, call_id, body)

    @routes.post("/<call_id>/dtmf", needs="dev", errors=_ERRORS)
    async def dtmf(caller: Caller, call_id: str, body: acts.Dtmf) -> Acted:
        """Send digits to the far end."""
        return await acted(caller, call_id, body)

    @routes.post("/<call_id>/recording", needs="dev", errors=_ERRORS)
    async def recording(caller: Caller, call_id: str, body: acts.RecordingControl) -> Acted:
        """Start, stop, pause or go on with the recording; never without the consent that the agent asks for."""
        return await acted(caller, call_id, body)

    return routes
