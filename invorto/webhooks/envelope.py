"""The body of a webhook: a row of the outbox becomes the same bytes each time (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from invorto.convert import iso
from invorto.model.ids import moment_of


def body(
    *,
    type_: str,
    event_id: str,
    tenant_id: str,
    call_id: str | None,
    seq: int | None,
    data: Mapping[str, Any],
    written_at: datetime,
) -> bytes:
    """
    Give what is signed and sent: ``{"type","timestamp","data"}`` as JSON.

    The timestamp is when the fact was noted, which its id tells; *written_at*, when its row came to the outbox, stands
    in where the id does not. A row of before there were schemas counts as version 1.
    """
    known = {
        "eventId": event_id,
        "schemaVersion": data.get("schemaVersion", 1),
        "tenantId": tenant_id,
        "callId": call_id,
        "seq": seq,
    }
    timestamp = iso(moment_of(event_id) or written_at)
    return msgspec.json.encode({"type": type_, "timestamp": timestamp, "data": {**known, **data, **known}})
