"""Endpoints and events, as short as a test wants them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from invorto.model.ids import new_id
from invorto.model.record import OutboxEvent
from invorto.model.webhook import Endpoint
from invorto.storage import ledger_rows, webhook_queue, webhooks
from invorto.storage.postgres import Database
from invorto.storage.system import Note
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.storage.webhook_outcomes import Outcome
from invorto.storage.webhook_queue import Claim, Claimed

_NUMBER = itertools.count(1)


async def an_endpoint(db: Database, tenant_id: str = DEFAULT_TENANT, **fields: Any) -> Endpoint:
    """Keep an endpoint that wants everything."""
    given: dict[str, Any] = {"id": new_id("wh"), "url": "https://hook.example/", "events": ("*",), "secret": b"sealed"}
    return await webhooks.create(db, tenant_id, webhooks.New(**given | fields))


async def facts(
    db: Database, count: int = 1, *, tenant_id: str = DEFAULT_TENANT, call_id: str = "", type: str = "stt.final"
) -> list[str]:
    """Write facts to the outbox; give their ids."""
    events = [OutboxEvent(type=type, data={"n": next(_NUMBER)}, event_id=new_id("evt")) for _ in range(count)]
    await ledger_rows.note(db, [Note(call_id or new_id("c"), tenant_id, event) for event in events])
    return [event.event_id for event in events]


async def routed(db: Database, count: int = 1, **fields: Any) -> list[str]:
    """Write facts and make deliveries of them."""
    made = await facts(db, count, **fields)
    await webhook_queue.route(db)
    return made


async def claim(db: Database, node_id: str = "n_1", *, lease: float = 30, most: int = 1000, **more: Any) -> Claimed:
    """Claim what is due."""
    return await webhook_queue.claim(db, node_id, lease=lease, most=most, **more)


def outcome(claimed: Claim, *, ok: bool = True, after: float | None = None, **fields: Any) -> Outcome:
    """Give how an attempt ended: well, or with a failure that is tried again *after* seconds."""
    now = datetime.now(UTC)
    given: dict[str, Any] = {
        "id": claimed.id, "token": claimed.token, "webhook_id": claimed.webhook_id, "at": now, "ms": 12.5,
        "status": 200 if ok else 503, "error": None if ok else "503",
        "again": now + timedelta(seconds=after) if after is not None else None,
    }  # fmt: skip
    return Outcome(**given | fields)
