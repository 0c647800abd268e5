"""Acts on live calls wherever they run: here at once, elsewhere through the node that owns the call."""

from __future__ import annotations

from functools import partial
from typing import Protocol

import attrs
import structlog
import trio

from invorto.errors import (
    Conflict,
    Fault,
    Forbidden,
    Invalid,
    InvortoError,
    NotFound,
    NotSupported,
    Unavailable,
    first_of,
)
from invorto.model.call import Call, CallStatus
from invorto.model.ids import new_id
from invorto.realtime.acts import Act, Done, act_on, read_act, write_act
from invorto.realtime.live import LiveCalls
from invorto.realtime.livecall import LiveCall
from invorto.storage import calls
from invorto.storage.control import PATIENCE, Command, ControlPost, Reply
from invorto.storage.leases import Leases
from invorto.storage.postgres import Database

log = structlog.get_logger(__name__)

ELSEWHERE = frozenset({"not_here", "wrong_epoch"})
"""What a node answers that does not own the call it was asked about; nothing was done then."""


@attrs.frozen
class Owner:
    """Which node has a call, and since which epoch."""

    node_id: str
    epoch: int


class Owners(Protocol):
    """Where it is known who owns a live call."""

    async def find(self, tenant_id: str, call_id: str) -> Owner | None:
        """Give a call's owner; None where nobody has it."""
        ...


@attrs.frozen
class LeasedOwners:
    """Owners as the leases of slots name them, or the call's row, where the lease is not there or not live yet."""

    db: Database
    leases: Leases

    async def find(self, tenant_id: str, call_id: str) -> Owner | None:
        """Give the owner of a call whose media is open."""
        lease = await self.leases.owner_of(call_id)
        if lease is not None and lease.phase == "live":
            return Owner(lease.node_id, lease.epoch) if lease.tenant_id == tenant_id else None
        call = await calls.get(self.db, tenant_id, call_id)
        if call.status is not CallStatus.ACTIVE or call.node_id is None:
            return None
        return Owner(call.node_id, call.epoch)


@attrs.frozen(kw_only=True)
class Switchboard:
    """One node's: asks others, and answers them."""

    node_id: str
    live: LiveCalls
    owners: Owners
    post: ControlPost

    async def act(self, call: Call, act: Act) -> Done:
        """
        Do *act* to a call and return when its owner has done it.

        `Conflict` (``call_not_live``) where nobody has the call; `Unavailable` (``owner_unreachable``) where the owner
        does not answer within two seconds: it is not known then what came of it. Else what `act_on` raises.
        """
        asked: Owner | None = None
        while True:
            if (here := self.live.get(call.id)) is not None:
                return await self._here(here, act)
            owner = None if self.live.holds(call.id) else await self.owners.find(call.tenant_id, call.id)
            if owner is None or owner.node_id == self.node_id or owner == asked:
                raise Conflict(f"call {call.id} is not live", "call_not_live")
            reply = await self._ask(owner, call.id, act)
            if reply.code not in ELSEWHERE:
                return _outcome(reply)
            if asked is not None:
                raise _unreachable()
            asked = owner

    async def answer(self, command: Command) -> Reply:
        """Do what another node asks for; never raises."""
        here = self.live.get(command.call_id)
        if here is None:
            await trio.lowlevel.checkpoint()
            return Reply(code="not_here")
        if here.call.epoch != command.epoch:
            await trio.lowlevel.checkpoint()
            return Reply(code="wrong_epoch")
        try:
            return Reply(done=await self._do(here, read_act(command.act, command.args)))
        except InvortoError as error:
            details = error.faults if isinstance(error, Invalid) else ()
            told = tuple((fault.path, fault.message) for fault in details)
            return Reply(code=_code(error), message=str(error), details=told)
        except Exception as error:
            # What one caller asked for must not end the others' calls.
            log.exception("act_failed", act=command.act, call_id=command.call_id, exc_info=first_of(error))
            return Reply(code="internal_error", message="the call's owner made a mistake")

    async def _here(self, here: LiveCall, act: Act) -> Done:
        with trio.move_on_after(PATIENCE):
            return await self._do(here, act)
        raise _unreachable()

    async def _do(self, here: LiveCall, act: Act) -> Done:
        return await act_on(here, act, partial(self.live.wait_gone, here.id))

    async def _ask(self, owner: Owner, call_id: str, act: Act) -> Reply:
        name, args = write_act(act)
        command = Command(id=new_id("m"), call_id=call_id, epoch=owner.epoch, deadline=0, act=name, args=args)
        reply = await self.post.ask(owner.node_id, command)
        if reply is None:
            log.warning("owner_unreachable", node=owner.node_id, call_id=call_id, act=name)
            raise _unreachable()
        return reply


def _unreachable() -> Unavailable:
    return Unavailable("the call's owner does not answer: it is not known whether it was done", "owner_unreachable")


def _code(error: InvortoError) -> str:
    match error:
        case Conflict():
            return error.code
        case Invalid():
            return "validation_failed"
        case Forbidden():
            return "forbidden"
        case NotSupported():
            return "not_supported"
        case NotFound():
            return "not_found"
        case Unavailable():
            return "owner_unreachable"
        case _:
            return "internal_error"


def _outcome(reply: Reply) -> Done:
    if reply.done is not None:
        return reply.done
    match reply.code:
        case "validation_failed":
            raise Invalid(reply.message, [Fault(path, message) for path, message in reply.details])
        case "forbidden":
            raise Forbidden(reply.message)
        case "not_supported":
            raise NotSupported(reply.message)
        case "not_found" | "owner_unreachable":  # a node of another version, or one that cannot do it just now
            raise Unavailable(reply.message, "owner_unreachable")
        case "internal_error":
            raise RuntimeError(reply.message)
        case _:
            raise Conflict(reply.message, reply.code)
