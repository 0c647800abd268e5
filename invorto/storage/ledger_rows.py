"""A finished call as rows: all of it in one transaction, once, by the newest owner."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

import attrs

from invorto.errors import Conflict, NotFound
from invorto.model.call import CallStatus
from invorto.model.record import FinishedCall
from invorto.storage import system
from invorto.storage.calls import sources
from invorto.storage.postgres import Database, Work
from invorto.storage.system import Note

_PAISA = Decimal("0.01")


async def note(db: Database, notes: Sequence[Note]) -> None:
    """Write facts of calls that go on to the outbox, all in one transaction; again does no harm."""
    await system.note(db, notes)


async def write(db: Database, finished: FinishedCall) -> bool:
    """
    Write everything of a call that is over, in one transaction.

    False, and nothing is changed, if the call is over already or its row has a newer epoch: writing again, when
    nobody knows whether the last commit came through, does no harm. `NotFound` without a row of the call in the
    tenant; `Conflict` where the table of moves has no such end for the state that the call is in; both leave
    everything as it was, and trying again does not help.
    """
    async with db.tenant(finished.tenant_id) as work:
        last = await work.fetchval(_END, *_ending(finished))
        if last is None:
            await _explain(work, finished)
            return False
        await _write_results(work, finished)
        await _write_words(work, finished)
        await _write_figures(work, finished)
        await _write_facts(work, finished, last - len(finished.outbox))
        if finished.order is not None:
            await work.execute(
                "INSERT INTO analyses (call_id, tenant_id, asked) VALUES ($1, $2, $3)",
                finished.call_id, finished.tenant_id, finished.order,
            )  # fmt: skip
    return True


_END = """
UPDATE calls SET status = $3, end_reason = $4, epoch = $2, started_at = $5, ended_at = $6, duration = $7,
    cost_inr = $8, outbox_seq = outbox_seq + $9
WHERE id = $1 AND epoch <= $2 AND status = ANY($10)
RETURNING outbox_seq
"""


def _ending(finished: FinishedCall) -> tuple[object, ...]:
    total = sum((cost.inr for cost in finished.costs), Decimal(0)).quantize(_PAISA, ROUND_HALF_UP)
    return (
        finished.call_id, finished.epoch, finished.status, finished.reason, finished.started_at, finished.ended_at,
        finished.duration, total, len(finished.outbox), sources(finished.status),
    )  # fmt: skip


async def _explain(work: Work, finished: FinishedCall) -> None:
    """Raise unless the call is over, or somebody newer's."""
    row = await work.fetchrow("SELECT status, epoch FROM calls WHERE id = $1", finished.call_id)
    if row is None:
        raise NotFound(f"no call {finished.call_id}")
    now = CallStatus(row["status"])
    if not now.terminal and row["epoch"] <= finished.epoch:
        raise Conflict(f"a call that is {now} cannot become {finished.status}")


async def _write_results(work: Work, finished: FinishedCall) -> None:
    await work.execute(
        "INSERT INTO call_results (call_id, tenant_id, summary, analysis, usage, consent, recording)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)",
        finished.call_id, finished.tenant_id, finished.summary and attrs.asdict(finished.summary), finished.analysis,
        finished.usage, finished.consent, finished.recording,
    )  # fmt: skip


async def _write_words(work: Work, finished: FinishedCall) -> None:
    if finished.transcript:
        await work.executemany(
            "INSERT INTO transcripts (call_id, tenant_id, position, role, text, began, ended, turn, interrupted,"
            " heard_by, confidence, unheard) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            [
                (finished.call_id, finished.tenant_id, place, said.role, said.text, said.began, said.ended, said.turn,
                 said.interrupted, said.heard_by, said.confidence, said.unheard)
                for place, said in enumerate(finished.transcript)
            ],
        )  # fmt: skip
    if finished.timeline:
        await work.executemany(
            "INSERT INTO timelines (call_id, tenant_id, position, id, kind, payload, timestamp_ms)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [
                (finished.call_id, finished.tenant_id, place, event.id, event.kind, event.payload, event.timestamp)
                for place, event in enumerate(finished.timeline)
            ],
        )


async def _write_figures(work: Work, finished: FinishedCall) -> None:
    if finished.costs:
        await work.executemany(
            "INSERT INTO costs (call_id, tenant_id, position, kind, provider, quantity, unit, inr, ended_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            [
                (finished.call_id, finished.tenant_id, place, cost.kind, cost.provider, cost.quantity, cost.unit,
                 cost.inr, finished.ended_at)
                for place, cost in enumerate(finished.costs)
            ],
        )  # fmt: skip
    if finished.metrics:
        await work.executemany(
            "INSERT INTO call_metrics (call_id, tenant_id, turn, eou_ms, stt_ms, llm_first_token_ms,"
            " tts_first_chunk_ms, voice_to_voice_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
            " ON CONFLICT (call_id, turn) DO NOTHING",
            [
                (finished.call_id, finished.tenant_id, turn.turn, turn.eou_ms, turn.stt_ms, turn.llm_first_token_ms,
                 turn.tts_first_chunk_ms, turn.voice_to_voice_ms)
                for turn in finished.metrics
            ],
        )  # fmt: skip


async def _write_facts(work: Work, finished: FinishedCall, base: int) -> None:
    if finished.outbox:
        await work.executemany(
            "INSERT INTO outbox (event_id, tenant_id, call_id, type, data, seq) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (event_id) DO NOTHING",
            [
                (event.event_id, finished.tenant_id, finished.call_id, event.type, event.data, base + number)
                for number, event in enumerate(finished.outbox, 1)
            ],
        )
