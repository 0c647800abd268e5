"""What is made of a call whose node is lost: its record, from what the timeline has kept of it (pure)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from invorto.model.agent import AgentConfig
from invorto.model.call import ENDS, Call, Direction, EndReason
from invorto.model.event_ids import event_id, event_key
from invorto.model.record import FinishedCall, TimelineEvent, TurnMetrics, Utterance
from invorto.realtime.closing import Closing
from invorto.realtime.costs import Meter
from invorto.realtime.summary import ToolUse, summarize
from invorto.realtime.watch import Flag, Watch

FAULT = "the node that wrote it was lost"


@attrs.frozen(kw_only=True)
class Salvaged:
    """A recording whose header was repaired: *path* is below the recordings' folder."""

    path: str
    seconds: float
    rate: int
    fault: str | None = FAULT
    lost: float = 0.0


def lost_call(
    call: Call,
    agent: AgentConfig,
    events: Sequence[TimelineEvent],
    *,
    recording: Salvaged | None,
    usd_inr: float,
    address: str = "",
) -> FinishedCall:
    """
    Make the record of *call*, which carries the epoch of whoever claimed it, to end as ``node_lost``.

    It ends when the last thing happened that is known of it. Costs are of what is known to have been used: the line and
    the ears until then, tokens and characters as far as they were noted.
    """
    started_at = call.started_at or call.created_at
    last = max((event.timestamp for event in events), default=round(started_at.timestamp() * 1000))
    duration = max(0.0, last / 1000 - started_at.timestamp())
    reason = EndReason.NODE_LOST
    meter = _meter(call, agent, events, duration)
    utterances, tools = _utterances(events, started_at), _tools(events)
    kept = agent.transcription if call.transcription is None else call.transcription
    ended = TimelineEvent(
        id=_after(events, last), kind="call.ended", payload={"reason": reason.value}, timestamp=last
    )  # fmt: skip
    record = FinishedCall(
        call_id=call.id, tenant_id=call.tenant_id, epoch=call.epoch, status=ENDS[reason], reason=reason,
        started_at=started_at, ended_at=started_at + timedelta(seconds=duration), duration=round(duration, 3),
        transcript=utterances if kept else (), costs=meter.bill(usd_inr).costs, metrics=_metrics(events),
        summary=summarize(utterances, reason, tools) if agent.summary.enabled else None,
        recording=recording.path if recording is not None else None, timeline=(*events, ended),
        consent=next((event.payload for event in reversed(events) if event.kind == "consent.answered"), None),
        usage={**meter.usage(), **_recorded(recording)},
    )  # fmt: skip
    closing = Closing(
        record=record, call=call, agent=agent, rate=_rate(events, recording), recording=recording, tools=tools,
        watch=_watch(events), address=address,
    )  # fmt: skip
    return attrs.evolve(record, outbox=closing.facts())


def _meter(call: Call, agent: AgentConfig, events: Iterable[TimelineEvent], duration: float) -> Meter:
    meter = Meter()
    meter.transport(call.direction if call.direction is Direction.WEB else "carrier", duration)
    meter.stt(agent.stt.providers[0], duration, agent.stt.model)
    for event in events:
        match event:
            case TimelineEvent(kind="usage.llm", payload={"provider": str(name), **used}):
                meter.llm(name, _whole(used, "prompt"), _whole(used, "completion"), used.get("model"))
            case TimelineEvent(kind="usage.tts", payload={"provider": str(name), **used}):
                meter.tts(name, _whole(used, "characters"), used.get("model"))
            case _:
                pass
    return meter


def _utterances(events: Iterable[TimelineEvent], started_at: datetime) -> tuple[Utterance, ...]:
    """Put together what both sides said: the caller's words when they were final, the agent's when it had spoken."""
    said: list[Utterance] = []
    for event in events:
        payload, at = event.payload, round(max(0.0, event.timestamp / 1000 - started_at.timestamp()), 3)
        if event.kind == "stt.final" and payload.get("text"):
            began = float(payload.get("ts") or at)
            said.append(
                Utterance(
                    role="user", text=payload["text"], began=began, ended=began, turn=_whole(payload, "turn"),
                    confidence=payload.get("confidence"),
                )
            )  # fmt: skip
        elif event.kind == "tts.done" and payload.get("heard"):
            said.append(
                Utterance(
                    role="assistant", text=payload["heard"], began=at, ended=at, turn=_whole(payload, "turn"),
                    interrupted=bool(payload.get("interrupted")), heard_by="timed",
                )
            )  # fmt: skip
    return tuple(said)


def _tools(events: Iterable[TimelineEvent]) -> tuple[ToolUse, ...]:
    return tuple(
        ToolUse(
            str(event.payload.get("name", "")), event.kind == "tool.succeeded", str(event.payload.get("error", "")),
            _whole(event.payload, "turn"), {}, float(event.payload.get("latencyMs") or 0.0),
        )
        for event in events
        if event.kind in {"tool.succeeded", "tool.failed"}
    )  # fmt: skip


def _metrics(events: Iterable[TimelineEvent]) -> tuple[TurnMetrics, ...]:
    names = {
        "eouMs": "eou_ms", "sttMs": "stt_ms", "llmFirstTokenMs": "llm_first_token_ms",
        "ttsFirstChunkMs": "tts_first_chunk_ms", "voiceToVoiceMs": "voice_to_voice_ms",
    }  # fmt: skip
    return tuple(
        TurnMetrics(
            turn=_whole(event.payload, "turn"), **{ours: event.payload.get(name) for name, ours in names.items()}
        )
        for event in events
        if event.kind == "turn.metrics"
    )  # fmt: skip


def _watch(events: Iterable[TimelineEvent]) -> Watch:
    def nobody(flag: Flag, turn: int, at: float, evidence: str) -> None:
        """Hold that all flags were raised while the call lived."""

    watch = Watch(nobody)
    for event in events:
        if event.kind == "qa.flags":
            watch.raised += [flag for flag in event.payload.get("flags", ()) if flag not in watch.raised]
    return watch


def _rate(events: Iterable[TimelineEvent], recording: Salvaged | None) -> int:
    noted = next((_whole(event.payload, "rate") for event in events if event.kind == "call.started"), 0)
    return noted or (recording.rate if recording is not None else 8000)


def _recorded(recording: Salvaged | None) -> Mapping[str, Any]:
    return {} if recording is None else {"recordedSeconds": round(recording.seconds, 3), "recordingFault": FAULT}


def _after(events: Sequence[TimelineEvent], last: int) -> str:
    """Give the id of the end, after all that is known."""
    millis, number = max((event_key(event.id) for event in events), default=(0, 0))
    return event_id((last, 0) if last > millis else (millis, number + 1))


def _whole(payload: Mapping[str, Any], name: str) -> int:
    value = payload.get(name)
    return value if isinstance(value, int) else 0
