"""A dispatcher in the test's own process, on a real database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from invorto.config import load
from invorto.model.ids import new_id
from invorto.model.webhook import Endpoint
from invorto.observability.metrics import Metrics
from invorto.storage.postgres import Database
from invorto.subkeys import SecretKeys
from invorto.vault import Vault
from invorto.webhooks.dispatcher import Dispatcher, Pace
from invorto.webhooks.seals import Seals
from invorto.webhooks.signing import secret_of
from tests.webhooks.nouns import an_endpoint

KEY = "a2" * 21 + "k="
"""32 bytes, in base64."""
HOME = {
    "WEBHOOK_ALLOW_HTTP": "1", "WEBHOOK_ALLOWED_SUBNETS": "127.0.0.0/8,::1", "WEBHOOK_ALLOWED_PORTS": "any",
    "INVORTO_SECRET_KEYS": KEY,
}  # fmt: skip
"""Settings that let webhooks go to this machine."""
QUICK = Pace(poll=0.1, upkeep=0.2, connect=1.0)
SECRET = secret_of(b"s" * 32)
SEALS = Seals(Vault(SecretKeys.parse([KEY])))


async def a_receivers_endpoint(db: Database, url: str, **fields: Any) -> Endpoint:
    """Keep an endpoint whose secret is `SECRET`."""
    made = new_id("wh")
    headers = fields.pop("headers", {})
    return await an_endpoint(
        db, id=made, url=url, secret=SEALS.secret(made, SECRET), headers=SEALS.headers(made, headers),
        header_names=tuple(headers), **fields,
    )  # fmt: skip


def a_dispatcher(db: Database, url: str, *, pace: Pace = QUICK, **environ: str) -> Dispatcher:
    """Make a dispatcher that may post to this machine."""
    return Dispatcher(
        database=db, db_url=url, seals=SEALS, settings=load({**HOME, **environ}).webhooks, node_id=new_id("n"),
        measures=Metrics(), pace=pace,
    )  # fmt: skip


@asynccontextmanager
async def dispatching(*dispatchers: Dispatcher, finish: bool = True) -> AsyncGenerator[Sequence[Dispatcher]]:
    """Run dispatchers for the length of the block; *finish*: let them finish what is in flight."""
    async with trio.open_nursery() as nursery:
        for one in dispatchers:
            await nursery.start(one.run)
        yield dispatchers
        if finish:
            with trio.fail_after(10):
                for one in dispatchers:
                    await one.finish()
        nursery.cancel_scope.cancel()


@attrs.frozen
class Row:
    """What is kept of a delivery."""

    status: str
    attempts: int
    last_status: int | None
    last_error: str | None


async def deliveries(db: Database) -> list[Row]:
    """Give what is kept of all deliveries, the oldest first."""
    async with db._system() as work:
        rows = await work.fetch(
            "SELECT d.status, d.attempts, d.last_status, d.last_error FROM deliveries AS d"
            " JOIN outbox AS o ON o.event_id = d.event_id ORDER BY o.position, d.id"
        )
    return [Row(*row) for row in rows]


async def settled(db: Database, count: int, seconds: float = 15) -> list[Row]:
    """Wait until so many deliveries are over."""
    found: list[Row] = []
    with trio.move_on_after(seconds):
        while True:
            found = await deliveries(db)
            if len([row for row in found if row.status != "pending"]) >= count:
                return found
            await trio.sleep(0.05)
    raise AssertionError(f"{count} should be over within {seconds} s: {found}")
