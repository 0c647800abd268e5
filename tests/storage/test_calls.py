"""Calls are unique, move forward only, and are found again."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
import trio

from invorto.errors import Conflict, Invalid, NotFound
from invorto.model.call import MOVES, TERMINAL, CallStatus, Direction
from invorto.storage import calls, ledger_rows, system, tenants
from invorto.storage.postgres import Database
from tests.storage.nouns import BEGAN, a_call, an_agent, finished

DEFAULT = tenants.DEFAULT_TENANT


async def test_call_comes_back_as_it_was(database: Database) -> None:
    """Everything that is said of a call when it is created is read again."""
    agent = await an_agent(database)
    call = await a_call(
        database, agent, id="Client-made.id_1", direction=Direction.OUTBOUND, to="+919876543210", from_="+911140000000",
        metadata={"order": {"id": 7}}, variables={"name": "Asha"}, recording=False, transcription=True,
        campaign_id="cmp_1", node_id="n_1", epoch=3, status=CallStatus.QUEUED,
    )  # fmt: skip
    assert await calls.get(database, DEFAULT, call.id) == call
    assert await calls.whose(database, call.id) == DEFAULT
    assert await calls.whose(database, "c_nobody") is None


async def test_id_is_unique_over_the_installation(database: Database) -> None:
    """A call's id belongs to the first tenant who used it; another's attempt neither succeeds nor sees it."""
    other = await tenants.create(database, "Other")
    call = await a_call(database, await an_agent(database))
    theirs = await an_agent(database, other.id)
    for agent in (theirs, await an_agent(database, name="Second")):
        with pytest.raises(Conflict) as caught:
            await a_call(database, agent, id=call.id)
        assert caught.value.code == "call_exists"
    assert await calls.get(database, DEFAULT, call.id) == call
    with pytest.raises(NotFound):
        await calls.get(database, other.id, call.id)
    with pytest.raises(NotFound):
        await calls.detail(database, other.id, call.id)
    with pytest.raises(NotFound):
        await calls.activate(database, other.id, call.id, node_id="n", epoch=9, started_at=BEGAN)


@pytest.mark.parametrize("id", ["", "a b", "x" * 65, "tokens", "connections", "é", "a/b", "a\n"])
async def test_bad_id_is_refused(database: Database, id: str) -> None:
    """An id that could not stand in a URL, or is reserved, names no call."""
    with pytest.raises(Invalid):
        await a_call(database, await an_agent(database), id=id)


async def test_created_by_many_at_once_is_created_once(database: Database) -> None:
    """Of sockets that open with the same id at once, one makes the call."""
    agent = await an_agent(database)
    made: list[int] = []

    async def make(number: int) -> None:
        try:
            await a_call(database, agent, id="same")
            made.append(number)
        except Conflict:
            pass

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(make, number)
    assert len(made) == 1


async def test_call_needs_an_agent_of_its_tenant(database: Database) -> None:
    """Neither an unknown agent, nor a version that never was, nor another tenant's agent can take a call."""
    other = await tenants.create(database, "Other")
    agent = await an_agent(database)
    for wrong in (
        attrs.evolve(agent, id="a_none"),
        attrs.evolve(agent, version=2),
        attrs.evolve(agent, tenant_id=other.id),
    ):
        with pytest.raises(NotFound):
            await a_call(database, wrong)


@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_call_cannot_begin_at_its_end(database: Database, status: CallStatus) -> None:
    """A call is not created ended."""
    with pytest.raises(Conflict):
        await a_call(database, await an_agent(database), status=status)


@pytest.mark.parametrize("before", [status for status in CallStatus if not status.terminal])
async def test_moves_are_those_of_the_table(database: Database, before: CallStatus) -> None:
    """Every move of the table works and every other is refused, for each pair of states."""
    agent = await an_agent(database)
    for after in CallStatus:
        call = await a_call(database, agent, status=before)
        if after in MOVES[before] and not after.terminal:
            assert (await calls.move(database, DEFAULT, call.id, after, epoch=0)).status is after
        else:
            with pytest.raises(Conflict):
                await calls.move(database, DEFAULT, call.id, after, epoch=0)
            assert (await calls.get(database, DEFAULT, call.id)).status is before


async def test_call_becomes_active_once(database: Database) -> None:
    """The node where media opens becomes the owner; a second opening, or an older owner's, is refused."""
    call = await a_call(database, await an_agent(database), epoch=5)
    with pytest.raises(Conflict, match="another owner"):
        await calls.activate(database, DEFAULT, call.id, node_id="n_old", epoch=4, started_at=BEGAN)
    active = await calls.activate(
        database, DEFAULT, call.id, node_id="n_1", epoch=6, started_at=BEGAN, config={"prompt": "whole"}
    )
    assert (active.status, active.node_id, active.epoch, active.started_at) == (CallStatus.ACTIVE, "n_1", 6, BEGAN)
    assert (await calls.detail(database, DEFAULT, call.id))["agent"] == {"prompt": "whole"}
    with pytest.raises(Conflict, match="cannot become active"):
        await calls.activate(database, DEFAULT, call.id, node_id="n_2", epoch=7, started_at=BEGAN)
    await ledger_rows.write(database, finished(active, epoch=6))
    with pytest.raises(Conflict, match="completed cannot become active"):
        await calls.activate(database, DEFAULT, call.id, node_id="n_2", epoch=8, started_at=BEGAN)
    with pytest.raises(NotFound):
        await calls.activate(database, DEFAULT, "c_none", node_id="n", epoch=1, started_at=BEGAN)


async def test_calls_are_listed_by_what_one_looks_for(database: Database) -> None:
    """Filters, search, sorting and paging find the calls that match, and count them all."""
    desk, shop = await an_agent(database), await an_agent(database, name="Shop")
    made = [
        await a_call(
            database, desk if n % 2 else shop, id=f"call_{n}", to=f"+9111000{n}", created_at=BEGAN + timedelta(hours=n),
            campaign_id="cmp_1" if n < 2 else None, direction=Direction.OUTBOUND if n < 3 else Direction.WEB,
        )
        for n in range(6)
    ]  # fmt: skip
    await calls.activate(database, DEFAULT, made[0].id, node_id="n", epoch=1, started_at=BEGAN + timedelta(hours=9))

    async def ids(**asked: object) -> list[str]:
        found, total = await calls.listing(database, DEFAULT, **asked)  # pyright: ignore[reportArgumentType]
        assert total == len(found)
        return [call.id for call in found]

    assert await ids() == [f"call_{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert await ids(sort_order="asc") == [f"call_{n}" for n in range(6)]
    assert await ids(sort_by="startedAt") == [f"call_{n}" for n in (0, 5, 4, 3, 2, 1)]
    assert await ids(agent_id=desk.id) == ["call_5", "call_3", "call_1"]
    assert await ids(campaign_id="cmp_1", sort_order="asc") == ["call_0", "call_1"]
    assert await ids(direction="outbound", status="created") == ["call_2", "call_1"]
    assert await ids(search="ALL_4") == ["call_4"]
    assert await ids(search="+91110005") == ["call_5"]
    assert await ids(search="%") == []
    assert await ids(search="call.4") == []
    assert await ids(since=BEGAN + timedelta(hours=4), until=BEGAN + timedelta(hours=9)) == ["call_5", "call_4"]
    assert await ids(since=BEGAN + timedelta(hours=9)) == ["call_0"]
    assert await ids(status="'; DROP TABLE calls; --") == []

    page, total = await calls.listing(database, DEFAULT, page=2, limit=4)
    assert ([call.id for call in page], total) == (["call_1", "call_0"], 6)
    assert await calls.listing(database, DEFAULT, page=3, limit=4) == ([], 6)


@pytest.mark.parametrize(
    "asked",
    [{"page": 0}, {"page": -1}, {"page": 10**12}, {"limit": 0}, {"limit": 101}, {"sort_by": "id; DROP TABLE calls"},
     {"sort_by": "metadata"}, {"sort_order": "up"}],
    ids=str,
)  # fmt: skip
async def test_bad_lists_are_refused(database: Database, asked: dict[str, object]) -> None:
    """A page, a size or an order that is none is said, with its path, and reaches no SQL."""
    with pytest.raises(Invalid) as caught:
        await calls.listing(database, DEFAULT, **asked)  # pyright: ignore[reportArgumentType]
    assert [fault.path for fault in caught.value.faults] == [
        {"page": "$.page", "limit": "$.limit", "sort_by": "$.sortBy", "sort_order": "$.sortOrder"}[next(iter(asked))]
    ]


async def test_kept_timeline_is_read_in_pages(database: Database) -> None:
    """After Redis has let go of a call, its timeline is read from PostgreSQL, both ways, by cursor and by kind."""
    call = await a_call(database, await an_agent(database))
    record = finished(call)
    events = tuple(
        attrs.evolve(
            record.timeline[0], id=f"{1000 + n // 3}-{n % 3}", kind="odd" if n % 2 else "even", payload={"n": n}
        )
        for n in range(30)
    )
    await ledger_rows.write(database, attrs.evolve(record, timeline=events))

    async def read(**asked: object) -> list[int]:
        found = await calls.timeline(database, DEFAULT, call.id, **asked)  # pyright: ignore[reportArgumentType]
        return [event.payload["n"] for event in found]

    assert await read() == list(range(30))
    assert await read(count=4) == [0, 1, 2, 3]
    assert await read(count=4, after="1001-0") == [4, 5, 6, 7]
    assert await read(count=4, before="1001-0") == [0, 1, 2]
    assert await read(count=2, before="1001-0") == [1, 2]
    assert await read(after="1009-1") == [29]
    assert await read(after="1009-2") == []
    assert await read(after="1002", before="1003-1", kinds=["odd"]) == [7, 9]
    assert await read(kinds=[]) == []
    with pytest.raises(Invalid):
        await read(after="yesterday")
    with pytest.raises(NotFound):
        await calls.timeline(database, DEFAULT, "c_none")


async def test_live_calls_of_all_tenants_are_known(database: Database) -> None:
    """A reconciler sees every call that has not ended, whosever it is, and none that has."""
    other = await tenants.create(database, "Other")
    mine = await a_call(database, await an_agent(database))
    theirs = await a_call(database, await an_agent(database, other.id), created_at=BEGAN + timedelta(seconds=1))
    over = await a_call(database, await an_agent(database, name="Third"))
    await ledger_rows.write(database, finished(over))
    found = await system.live_calls(database)
    assert [(call.id, call.tenant_id) for call in found] == [(mine.id, DEFAULT), (theirs.id, other.id)]
