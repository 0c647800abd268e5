"""How a call went, in figures (pure): who spoke how much, how often interrupted, how quick the answers were."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from invorto.convert import camel
from invorto.model.record import TurnMetrics, Utterance
from invorto.realtime.summary import ToolUse

_SIDES: Final = {"user": "user", "assistant": "agent"}
_LATENCIES: Final = ("eou_ms", "stt_ms", "llm_first_token_ms", "tts_first_chunk_ms", "voice_to_voice_ms")


def kpis(transcript: Sequence[Utterance], metrics: Sequence[TurnMetrics], tools: Sequence[ToolUse]) -> dict[str, Any]:
    """Give turns, words and seconds of each side, interruptions, tools, and the latencies' quantiles, milliseconds."""
    said = {side: [one for one in transcript if one.role == role] for role, side in _SIDES.items()}
    return {
        "turns": {side: len(turns) for side, turns in said.items()},
        "words": {side: sum(len(one.text.split()) for one in turns) for side, turns in said.items()},
        "talkSeconds": {
            side: round(math.fsum(max(one.ended - one.began, 0.0) for one in turns), 3) for side, turns in said.items()
        },
        "interruptions": _interruptions(transcript),
        "toolCalls": {"total": len(tools), "failed": sum(not tool.succeeded for tool in tools)},
        "latency": {camel(name): _spread(getattr(turn, name) for turn in metrics) for name in _LATENCIES},
        "perTurn": [
            {"turn": turn.turn, **{camel(name): getattr(turn, name) for name in _LATENCIES}} for turn in metrics
        ],
    }


def _interruptions(transcript: Sequence[Utterance]) -> int:
    """Count the agent's turns that were cut and that the caller spoke after: the end of the call interrupts nobody."""
    last = max((place for place, one in enumerate(transcript) if one.role == "user"), default=0)
    return sum(one.interrupted for one in transcript[:last] if one.role == "assistant")


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Give median, 95th percentile and maximum, each a value that was measured; None of nothing."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    return {"p50": _quantile(known, 0.5), "p95": _quantile(known, 0.95), "max": known[-1]}


def _quantile(values: Sequence[float], share: float) -> float:
    return values[max(math.ceil(share * len(values)) - 1, 0)]
