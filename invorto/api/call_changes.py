"""Routes that change calls: their status, and a summary that was made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, cast

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.call_shapes import CallAnswer, CallDetail, detail_answer
from invorto.api.deps import ApiDeps
from invorto.api.routing import Routes
from invorto.errors import Conflict
from invorto.model import rules
from invorto.model.call import Call, CallStatus, Direction, EndReason, check_move
from invorto.model.record import FinishedCall, Summary, Utterance
from invorto.realtime.acts import End
from invorto.realtime.outside import REASONS, at_a_glance, unbegun
from invorto.storage import call_changes, calls, ledger_rows

_TRIES = 3
"""How often a call may begin or move on under our hands before we give up on it."""


@attrs.frozen(kw_only=True)
class StatusBody:
    """What a call is to become; an end ends it wherever it is held."""

    status: CallStatus
    metadata: Mapping[str, Any] = attrs.field(factory=dict[str, Any], validator=rules.count(200))
    """Laid over what the call has."""


@attrs.frozen(kw_only=True)
class SummaryBody:
    """What came of a call, as somebody else sees it."""

    text: str = attrs.field(validator=rules.text(64 * 1024, least=1))
    outcome: str = attrs.field(default="", validator=rules.text(200))
    reason: str = attrs.field(default="", validator=rules.text(2000))
    next_steps: tuple[str, ...] = attrs.field(default=(), validator=rules.every(rules.count(50), rules.text(2000)))
    analysis: Mapping[str, Any] | None = None
    """Structured data and findings; null: what there is stays."""


def _record(detail: calls.Detail, said: tuple[Utterance, ...]) -> FinishedCall:
    """Put together again what a call left; it does not matter where it has not ended."""
    call = detail["call"]
    return FinishedCall(
        call_id=call.id,
        tenant_id=call.tenant_id,
        epoch=call.epoch,
        status=call.status,
        reason=call.end_reason or EndReason.API,
        started_at=call.started_at,
        ended_at=call.ended_at or call.created_at,
        duration=call.duration or 0.0,
        transcript=said,
        costs=detail["costs"],
        metrics=detail["metrics"],
        recording=detail["recording"],
        consent=detail["consent"],
        usage=detail["usage"],
    )


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("call_changes", gate, "/v1/calls")
    database = deps.database
    address = (deps.config.network.public_base_url or "").rstrip("/")

    async def become(call: Call, status: CallStatus) -> bool:
        """Move a call; False where it has moved on meanwhile, and is to be looked at again."""
        check_move(call.status, status)
        if not status.terminal:
            if status is CallStatus.ACTIVE or call.direction is Direction.WEB:
                raise Conflict(f"a {call.direction} call becomes {status} when its media opens, and by nothing else")
            await calls.move(database, call.tenant_id, call.id, status, epoch=call.epoch)
            return True
        if call.status is not CallStatus.ACTIVE or deps.switchboard is None:
            agent = (await calls.detail(database, call.tenant_id, call.id))["agent"]
            now = datetime.fromtimestamp(deps.wall(), UTC)
            try:
                return await ledger_rows.write(database, unbegun(call, agent, status, now, address))
            except Conflict:
                return False
        reason = cast("Literal['api', 'canceled', 'error']", REASONS[status].value)
        await deps.switchboard.act(call, End(reason=reason))
        return True

    @routes.patch(
        "/<call_id>/status", needs="dev", errors=["conflict", "call_not_live", "owner_unreachable"]
    )  # fmt: skip
    async def change_status(caller: Caller, call_id: str, body: StatusBody) -> CallAnswer:
        """
        Move a call along the table of states; anything else is `409`.

        An end ends a live call through its owner, and is answered when it has ended.
        """
        for last in range(_TRIES, 0, -1):
            call = await calls.get(database, caller.tenant_id, call_id)
            if await become(call, body.status):
                break
            if last == 1:
                raise Conflict("the call moves on all the time: try again")
        if body.metadata:
            await call_changes.add_metadata(database, caller.tenant_id, call_id, body.metadata)
        return CallAnswer.of(await calls.get(database, caller.tenant_id, call_id))

    @routes.post("/<call_id>/summary", needs="dev", errors=["conflict"])
    async def summarize(caller: Caller, call_id: str, body: SummaryBody) -> CallDetail:
        """Keep a summary that was made elsewhere in place of ours, and publish it as `agent.summary`."""
        summary = Summary(outcome=body.outcome, reason=body.reason, next_steps=body.next_steps, text=body.text)
        detail = await calls.detail(database, caller.tenant_id, call_id)
        said = await calls.transcript(database, caller.tenant_id, call_id)
        otherwise = at_a_glance(_record(detail, said), detail["call"], detail["agent"], address)
        await call_changes.summarize(
            database, caller.tenant_id, call_id, summary=summary, analysis=body.analysis, otherwise=otherwise
        )
        return detail_answer(await calls.detail(database, caller.tenant_id, call_id), live=False)

    return routes
