"""What a key holds open is closed soon after it is revoked, and nothing else is."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import attrs
import trio
from trio.testing import MockClock

from invorto.errors import StoreUnavailable
from invorto.realtime.revoking import EVERY, Holds
from invorto.storage import keys
from tests.journeys.house import BINARY, open_client, open_server, settings


@attrs.define(eq=False)
class Thing:
    """Something that is held open."""

    closed: tuple[int, str] | None = None

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = (code, reason)
        await trio.lowlevel.checkpoint()


async def test_what_was_revoked_is_closed(autojump_clock: MockClock) -> None:
    """All that the key holds, within a look; what other keys hold, and what nothing holds, stays; looks cease."""
    asked: list[list[str]] = []
    gone: set[str] = set()
    away = False

    async def revoked(ids: Collection[str]) -> set[str]:
        await trio.lowlevel.checkpoint()
        asked.append(sorted(ids))
        if away:
            raise StoreUnavailable
        return gone & set(ids)

    holds = Holds(revoked)
    things = [Thing() for _ in range(4)]
    async with trio.open_nursery() as nursery:
        await nursery.start(holds.run)
        await trio.sleep(100)
        assert asked == [], "there is nothing to look for"
        with ExitStack() as stack:
            for key, thing in zip(("k_1", "k_1", "k_2", None), things, strict=True):
                stack.enter_context(holds.holding(key, thing))
            away = True
            gone.add("k_1")
            await trio.sleep(3 * EVERY + 0.01)
            assert [thing.closed for thing in things] == [None] * 4, "a store that is away revokes nothing"
            away = False
            await trio.sleep(EVERY + 0.01)
            assert [thing.closed for thing in things] == [(4003, "unauthorized")] * 2 + [None] * 2
        await trio.sleep(EVERY + 0.01)
        count = len(asked)
        await trio.sleep(100)
        assert len(asked) <= count + 1
        nursery.cancel_scope.cancel()


async def test_a_revoked_keys_socket_is_closed(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """A key that another node revokes loses its socket here within a second, 4003; others go on."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as server:
        record, secret = await keys.create(server.resources.database, server.tenant_id, "dev", "short-lived")
        async with (
            open_client(server, "c-1", start=BINARY) as stays,
            open_client(server, "c-2", start=BINARY, key=secret) as goes,
        ):
            await goes.until("tts.done")
            began = trio.current_time()
            await keys.revoke(server.resources.database, server.tenant_id, record.id)
            assert await goes.until_closed() == (4003, "unauthorized")
            assert trio.current_time() - began < 1
            assert stays.closed is None
            async with open_client(server, "c-3", key=secret) as again:
                assert await again.until_closed() == (4003, "unauthorized")
