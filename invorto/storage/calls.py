"""Calls: one row each, moved along the table of states by whoever holds the newest epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, cast

import asyncpg

from invorto.errors import Conflict, Invalid, NotFound
from invorto.model.call import MOVES, Call, CallStatus, Direction, EndReason
from invorto.model.ids import is_call_id
from invorto.model.record import Cost, Summary, TimelineEvent, TurnMetrics, Utterance
from invorto.storage import system
from invorto.storage.listing import order, pattern, window
from invorto.storage.postgres import Database, Record, Work

_COLUMNS = (
    "id, tenant_id, agent_id, agent_version, direction, status, epoch, created_at, started_at, ended_at, end_reason,"
    " to_party, from_party, node_id, campaign_id, duration, cost_inr, metadata, variables, recording, transcription"
)
_SORTS = {"startedAt": "started_at", "createdAt": "created_at", "endedAt": "ended_at", "duration": "duration"}


class Detail(TypedDict):
    """Everything that is kept of a call, apart from transcript and timeline."""

    call: Call
    costs: tuple[Cost, ...]
    usage: Mapping[str, Any]
    summary: Summary | None
    analysis: Mapping[str, Any] | None
    metrics: tuple[TurnMetrics, ...]
    agent: Mapping[str, Any] | None
    """The agent's configuration as it was at the start."""
    consent: Mapping[str, Any] | None
    recording: str | None
    """Where the recording is."""


def sources(status: CallStatus) -> list[str]:
    """Give the states from which a call may become *status*."""
    return [before.value for before, after in MOVES.items() if status in after]


async def create(db: Database, call: Call, *, config: Mapping[str, Any] | None = None) -> None:
    """
    Write the row of a new call; *config* is the agent's whole configuration at this moment.

    `Conflict` (code ``call_exists``) if the installation has a call of that id, whosever it is; `NotFound` if the
    tenant has no such version of the agent; `Invalid` if the id is none.
    """
    if not is_call_id(call.id):
        raise Invalid("a call's id is 1 to 64 of A-Z a-z 0-9 _ . - and not a reserved word")
    try:
        async with db.tenant(call.tenant_id) as work:
            await work.execute(
                "INSERT INTO calls (id, tenant_id, agent_id, agent_version, agent_config, direction, status, epoch,"
                " created_at, started_at, to_party, from_party, node_id, campaign_id, metadata, variables, recording,"
                " transcription)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
                call.id, call.tenant_id, call.agent_id, call.agent_version, config, call.direction, call.status,
                call.epoch, call.created_at, call.started_at, call.to, call.from_, call.node_id, call.campaign_id,
                call.metadata, call.variables, call.recording, call.transcription,
            )  # fmt: skip
    except asyncpg.UniqueViolationError as error:
        raise Conflict(f"there is a call {call.id} already", "call_exists") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise NotFound(f"no version {call.agent_version} of an agent {call.agent_id}") from error
    except asyncpg.CheckViolationError as error:
        raise Conflict(f"a new call cannot be {call.status}") from error


async def get(db: Database, tenant_id: str, id: str) -> Call:
    """Give a call; `NotFound`, also for another tenant's."""
    async with db.tenant(tenant_id) as work:
        return await _get(work, id)


async def whose(db: Database, id: str) -> str | None:
    """Give the tenant of a call, or None where there is no such call."""
    return await system.tenant_of(db, id)


async def activate(
    db: Database,
    tenant_id: str,
    id: str,
    *,
    node_id: str,
    epoch: int,
    started_at: datetime,
    config: Mapping[str, Any] | None = None,
) -> Call:
    """
    Say that a call's media is open on *node_id*, which owns it from now on.

    *config* replaces the agent's configuration that was kept when the call was created. `Conflict` if the call is
    active or over already, or is owned by a newer *epoch*; `NotFound`.
    """
    return await _move(
        db, tenant_id, (id, CallStatus.ACTIVE, epoch),
        "node_id = $5, started_at = coalesce(started_at, $6), agent_config = coalesce($7, agent_config)",
        node_id, started_at, config,
    )  # fmt: skip


async def move(
    db: Database, tenant_id: str, id: str, status: CallStatus, *, epoch: int, node_id: str | None = None
) -> Call:
    """
    Move a call that goes on; its end is the ledger's, since facts are written with it.

    `Conflict` for what the table of moves does not have, or an older *epoch* than the row's; `NotFound`.
    """
    if status.terminal:
        raise Conflict(f"a call becomes {status} through the ledger")
    return await _move(db, tenant_id, (id, status, epoch), "node_id = coalesce($5, node_id)", node_id)


async def listing(
    db: Database,
    tenant_id: str,
    *,
    page: int = 1,
    limit: int = 20,
    status: str | None = None,
    agent_id: str | None = None,
    campaign_id: str | None = None,
    direction: str | None = None,
    search: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    sort_by: str = "createdAt",
    sort_order: str = "desc",
) -> tuple[list[Call], int]:
    """
    Give one page of calls, and how many there are in all.

    *search* looks in the id and both parties; *since* and *until* bound the start, or the making of a call that has
    not started: the first is in, the second out. `Invalid` for a page or an order that is none.
    """
    most, skip = window(page, limit)
    sorting = order(_SORTS, sort_by, sort_order)
    filters = {
        "status = {}": status,
        "agent_id = {}": agent_id,
        "campaign_id = {}": campaign_id,
        "direction = {}": direction,
        "(id ILIKE {0} OR to_party ILIKE {0} OR from_party ILIKE {0})": pattern(search),
        "coalesce(started_at, created_at) >= {}": since,
        "coalesce(started_at, created_at) < {}": until,
    }
    asked = {text: value for text, value in filters.items() if value is not None}
    where = " AND ".join(text.format(f"${place}") for place, text in enumerate(asked, 1)) or "true"
    async with db.tenant(tenant_id) as work:
        total = await work.fetchval(f"SELECT count(*) FROM calls WHERE {where}", *asked.values())  # noqa: S608
        rows = await work.fetch(
            f"SELECT {_COLUMNS} FROM calls WHERE {where} ORDER BY {sorting} LIMIT {most} OFFSET {skip}",  # noqa: S608
            *asked.values(),
        )
    return [_call(row) for row in rows], total


async def detail(db: Database, tenant_id: str, id: str) -> Detail:
    """Give all that is kept of a call but transcript and timeline; `NotFound`."""
    async with db.tenant(tenant_id) as work:
        call = await _get(work, id)
        costs = await work.fetch(
            "SELECT kind, provider, quantity, unit, inr FROM costs WHERE call_id = $1 ORDER BY position", id
        )
        metrics = await work.fetch(
            "SELECT turn, eou_ms, stt_ms, llm_first_token_ms, tts_first_chunk_ms, voice_to_voice_ms"
            " FROM call_metrics WHERE call_id = $1 ORDER BY turn",
            id,
        )
        rest = await work.fetchrow(
            "SELECT summary, analysis, coalesce(usage, '{}') AS usage, consent, r.recording,"
            " coalesce(c.agent_config, v.document) AS agent FROM calls AS c"
            " JOIN agent_versions AS v ON v.agent_id = c.agent_id AND v.version = c.agent_version"
            " LEFT JOIN call_results AS r ON r.call_id = c.id WHERE c.id = $1",
            id,
        )
    assert rest is not None  # noqa: S101 - the row was read in the same transaction
    summary = rest["summary"]
    return Detail(
        call=call,
        costs=tuple(Cost(**row) for row in costs),
        usage=rest["usage"],
        summary=None if summary is None else _summary(summary),
        analysis=rest["analysis"],
        metrics=tuple(TurnMetrics(**row) for row in metrics),
        agent=rest["agent"],
        consent=rest["consent"],
        recording=rest["recording"],
    )


async def transcript(db: Database, tenant_id: str, id: str) -> tuple[Utterance, ...]:
    """Give what was said, in order; empty while the call goes on. `NotFound`."""
    async with db.tenant(tenant_id) as work:
        await _get(work, id)
        rows = await work.fetch(
            "SELECT role, text, began, ended, turn, interrupted, heard_by, confidence, unheard"
            " FROM transcripts WHERE call_id = $1 ORDER BY position",
            id,
        )
    return tuple(Utterance(**row) for row in rows)


async def timeline(
    db: Database,
    tenant_id: str,
    id: str,
    *,
    after: str | None = None,
    before: str | None = None,
    count: int = 100,
    kinds: Sequence[str] | None = None,
) -> list[TimelineEvent]:
    """
    Give the kept timeline of a call that is over, ascending: what remains when Redis has let go of it.

    *after* and *before* are ids of events, and neither is included; with *before* alone, the last *count* events in
    front of it. `NotFound`.
    """
    backwards = before is not None and after is None
    async with db.tenant(tenant_id) as work:
        await _get(work, id)
        rows = await work.fetch(
            "SELECT id, kind, payload, timestamp_ms AS timestamp FROM timelines WHERE call_id = $1"  # noqa: S608
            f" AND ($2::bigint[] IS NULL OR {_PLACE} > $2) AND ($3::bigint[] IS NULL OR {_PLACE} < $3)"
            f" AND ($4::text[] IS NULL OR kind = ANY($4)) ORDER BY position {'DESC' if backwards else 'ASC'} LIMIT $5",
            id, _place(after), _place(before), None if kinds is None else list(kinds), count,
        )  # fmt: skip
    events = [TimelineEvent(**row) for row in rows]
    return events[::-1] if backwards else events


_PLACE = "string_to_array(id, '-')::bigint[]"


def _place(id: str | None) -> list[int] | None:
    if id is None:
        return None
    millis, _, number = id.partition("-")
    try:
        return [int(millis), int(number or 0)]
    except ValueError:
        raise Invalid(f"{id!r} is not the id of an event") from None


async def _get(work: Work, id: str) -> Call:
    row = await work.fetchrow(f"SELECT {_COLUMNS} FROM calls WHERE id = $1", id)  # noqa: S608 - our words
    if row is None:
        raise NotFound(f"no call {id}")
    return _call(row)


async def _move(db: Database, tenant_id: str, to: tuple[str, CallStatus, int], also: str, *values: object) -> Call:
    call_id, status, epoch = to
    async with db.tenant(tenant_id) as work:
        row = await work.fetchrow(
            f"UPDATE calls SET status = $2, epoch = $3, {also}"  # noqa: S608 - our words
            f" WHERE id = $1 AND epoch <= $3 AND status = ANY($4) RETURNING {_COLUMNS}",
            call_id, status, epoch, sources(status), *values,
        )  # fmt: skip
        if row is None:
            call = await _get(work, call_id)
            if call.epoch > epoch:
                raise Conflict(f"call {call_id} has another owner")
            raise Conflict(f"a call that is {call.status} cannot become {status}")
    return _call(row)


def _summary(kept: dict[str, Any]) -> Summary:
    values: dict[str, Any] = {**kept, "next_steps": tuple(kept["next_steps"])}
    return Summary(**values)


def _call(row: Record) -> Call:
    values = dict(row)
    cost = values.pop("cost_inr")
    reason = values.pop("end_reason")
    return Call(
        to=values.pop("to_party"),
        from_=values.pop("from_party"),
        direction=Direction(values.pop("direction")),
        status=CallStatus(values.pop("status")),
        end_reason=reason and EndReason(reason),
        cost_inr=None if cost is None else str(cost),
        **cast("dict[str, Any]", values),
    )
