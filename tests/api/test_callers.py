"""Erasing a person."""

from __future__ import annotations

from pathlib import Path

import trio

from invorto.model.call import CallStatus
from invorto.storage import calls, ledger_rows
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World, event
from tests.storage.nouns import a_call, an_agent, finished

NUMBER = "+919876543210"
PATH = "/v1/callers/%2B919876543210"


async def left(world: World) -> dict[str, int]:
    """Count what there is of all calls."""
    tables = ("calls", "call_results", "transcripts", "timelines", "costs", "call_metrics", "outbox", "erasures")
    async with world.database.tenant(DEFAULT_TENANT) as work:
        return {table: await work.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


async def test_a_person_is_erased(world: World) -> None:
    """All of a person's calls go, with words, timeline, sound and events; others' stay; a receipt names nobody."""
    agent = await an_agent(world.database)
    sound = trio.Path(world.deps.recordings) / "x.wav"
    await sound.write_bytes(b"RIFF")
    stays = await a_call(world.database, agent, to="+4912345678")
    await ledger_rows.write(world.database, finished(stays, recording=None))
    before = await left(world)
    for fields in ({"to": NUMBER}, {"from_": "+91 98765-43210"}, {"to": f"sip:{NUMBER}@example.com"}):
        call = await a_call(world.database, agent, **fields)
        await ledger_rows.write(world.database, finished(call, recording="x.wav"))
    waiting = await a_call(world.database, agent, to=NUMBER)
    await world.happen(waiting.id, event(1))
    assert (await world.ask("DELETE", PATH, key="dev")).status == 403
    other = await world.ask("DELETE", PATH, key="other")
    assert (other.status, other.json["calls"]) == (200, 0)
    told = await world.ask("DELETE", PATH, key="admin")
    assert (told.status, told.json["calls"], told.json["recordings"], told.json["events"]) == (200, 4, 3, 6)
    assert NUMBER not in str(told.json)
    assert await left(world) == {**before, "erasures": 1}
    assert not await sound.exists()
    assert await world.timeline.read(waiting.id) == []
    assert (await world.ask("GET", f"/v1/calls/{waiting.id}")).status == 404
    assert (await world.ask("DELETE", PATH, key="admin")).json["calls"] == 0
    assert (await calls.get(world.database, DEFAULT_TENANT, stays.id)).to == "+4912345678"


async def test_not_while_they_talk(world: World, tmp_path: Path) -> None:
    """While a call with the person is under way nothing is erased; what is no number is refused."""
    call = await a_call(world.database, await an_agent(world.database), to=NUMBER)
    await calls.move(world.database, DEFAULT_TENANT, call.id, CallStatus.ACTIVE, epoch=1)
    refused = await world.ask("DELETE", PATH, key="admin")
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    assert (await left(world))["calls"] == 1
    for wrong in ("919876543210", "%2B0123456789", "x", "%2B91' OR true"):
        assert (await world.ask("DELETE", f"/v1/callers/{wrong}", key="admin")).status == 422
