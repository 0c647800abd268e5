"""How an event lies in a Redis stream: fields ``kind``, ``payload`` (JSON) and ``timestamp`` (ms), read forgivingly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from invorto.model.event_ids import event_key
from invorto.model.record import TimelineEvent

_LATEST = 2**53
"""The largest Unix milliseconds believed; more is no time."""


def stream_key(call_id: str) -> str:
    """Give the key of a call's stream."""
    return f"events:{call_id}"


def decode_event(entry_id: str, fields: Mapping[bytes, bytes]) -> TimelineEvent:
    """
    Make an event of a stream's entry, whatever is in it.

    Without a timestamp it is the id's; a payload that is no JSON object is ``{"raw": …}``; a kind that is missing is
    ``unknown``.
    """
    return TimelineEvent(
        id=entry_id,
        kind=fields.get(b"kind", b"").decode(errors="replace") or "unknown",
        payload=_payload(fields.get(b"payload")),
        timestamp=_timestamp(fields.get(b"timestamp"), event_key(entry_id)[0]),
    )


def _payload(text: bytes | None) -> Mapping[str, Any]:
    if text is None:
        return {}
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return {"raw": text.decode(errors="replace")}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"raw": value}


def _timestamp(text: bytes | None, otherwise: int) -> int:
    try:
        value = int(float(text or b""))
    except (ValueError, OverflowError):
        return otherwise
    return value if 0 <= value <= _LATEST else otherwise
