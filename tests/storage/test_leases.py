"""Leases on the fake and on a real Redis: all levels or none, idempotent, fenced, and gone when they run out."""

from __future__ import annotations

import pytest
import trio

from invorto.errors import Conflict, LimitReached, StoreUnavailable, Unavailable
from invorto.model.lease import Holding
from invorto.storage import leases as kept
from invorto.storage.fake_leases import LeaseBook
from invorto.storage.fakes import FakeRedis
from invorto.storage.leases import Leases
from invorto.storage.redis import Redis, open_redis
from tests.faults.servers import redis_server
from tests.storage.leases import Nodes, claim


@pytest.fixture(params=["fake", "real"])
async def nodes(request, loop, redis_url):
    """Give nodes over the fake and the real one in turn: the same tests hold for both."""
    if request.param == "fake":
        yield Nodes(None, LeaseBook())
    else:
        async with open_redis(redis_url) as redis:
            yield Nodes(redis, None)


@pytest.fixture
async def brief(nodes: Nodes):
    """Give nodes whose leases last 0.3 s."""
    return Nodes(nodes.redis, nodes.book, 0.3)


async def test_all_levels_or_none(nodes: Nodes):
    """A refusal at any level leaves nothing at the others, and says which level, its limit and what is held."""
    node = await nodes.open()
    await node.take(claim("c_1", campaign=("cmp_1", 1), number=("+911", 9)))
    for refusing, scope in (
        (claim("c_2", everything=1), "global"),
        (claim("c_2", tenant=("t_1", 1)), "tenant"),
        (claim("c_2", campaign=("cmp_1", 1)), "campaign"),
        (claim("c_2", number=("+911", 1)), "number"),
        (claim("c_2", everything=1, tenant=("t_1", 1)), "global"),
    ):
        with pytest.raises(LimitReached) as refused:
            await node.take(refusing)
        assert (refused.value.scope, refused.value.limit, refused.value.held) == (scope, 1, 1)
        assert refused.value.retry_after > 0
        counts = await node.counts()
        assert (counts.everything, counts.tenants, counts.campaigns) == (1, {"t_1": 1}, {"cmp_1": 1})
        assert counts.numbers == {"+911": 1}


async def test_no_limit_is_counted(nodes: Nodes):
    """A limit of 0 refuses nobody, and what is held can be read all the same."""
    node = await nodes.open()
    for number in range(5):
        await node.take(claim(f"c_{number}"))
    assert (await node.counts()).everything == 5


async def test_asking_again_is_not_asking_twice(nodes: Nodes):
    """When the answer was lost, the same claim gets the same epoch and holds one slot."""
    node = await nodes.open()
    first = await node.take(claim("c_1", everything=1))
    assert await node.take(claim("c_1", everything=1)) == first
    assert (await node.counts()).everything == 1


async def test_epochs_only_go_up(nodes: Nodes):
    """Each lease's epoch is above all before it, and above what the call's row says."""
    node = await nodes.open()
    ahead = 2**52
    epochs = [(await node.take(claim(f"c_{n}"))).epoch for n in range(20)]
    epochs.append((await node.take(claim("c_ahead", floor=ahead))).epoch)
    epochs.append((await node.take(claim("c_after"))).epoch)
    assert epochs == sorted(set(epochs))
    assert epochs[-2:] == [ahead + 1, ahead + 2]


async def test_release_is_idempotent_and_only_of_its_own(nodes: Nodes):
    """A slot is given back once, and never by the ticket of an earlier attempt."""
    node = await nodes.open()
    await node.take(claim("c_1", ticket="first"))
    assert await node.release([claim("c_1", ticket="another")]) == 0
    assert await node.release([claim("c_1", ticket="first"), claim("c_none")]) == 1
    assert await node.release([claim("c_1", ticket="first")]) == 0
    second = await node.take(claim("c_1", ticket="second"))
    assert await node.release([claim("c_1", ticket="first")]) == 0
    owner = await node.owner_of("c_1")
    assert owner is not None
    assert (owner.node_id, owner.epoch, owner.tenant_id) == ("n_1", second.epoch, "t_1")
    assert await node.release([]) == 0


async def test_live_elsewhere(nodes: Nodes):
    """A call that is live on one node is not begun on another."""
    one, two = await nodes.open("n_1"), await nodes.open("n_2")
    await one.take(claim("c_1"))
    with pytest.raises(Conflict, match="n_1") as clash:
        await two.take(claim("c_1", ticket="theirs"))
    assert clash.value.code == "call_elsewhere"


async def test_adoption(nodes: Nodes):
    """What one node reserved the other adopts: one member, a new epoch; the first finds it taken, and frees nothing."""
    one, two = await nodes.open("n_1"), await nodes.open("n_2")
    reserved = claim("c_1", everything=1, campaign=("cmp_1", 1), phase="reserved")
    first = await one.take(reserved)
    # The limits are full with the call itself, which does not keep it from being adopted.
    adopted = await two.take(claim("c_1", ticket="theirs", everything=1))
    assert adopted.adopted_from == "n_1"
    assert adopted.epoch > first.epoch
    counts = await one.counts()
    assert (counts.everything, counts.campaigns) == (1, {"cmp_1": 1})
    beat = await one.beat([Holding(claim=reserved, epoch=first.epoch)])
    assert beat.renewals == {"c_1": "taken"}
    assert await one.release([reserved]) == 0
    owner = await two.owner_of("c_1")
    assert owner is not None
    assert (owner.node_id, owner.phase) == ("n_2", "live")


async def test_an_adopted_call_is_counted_where_it_was_reserved(nodes: Nodes):
    """Whoever adopts a call, and does not know its number, renews it there too, and gives it back there."""
    one, two = await nodes.open("n_1"), await nodes.open("n_2")
    await one.take(claim("c_1", number=("+911", 1), phase="reserved"))
    live = claim("c_1", ticket="theirs")
    grant = await two.take(live)
    assert grant.levels == claim("c_1", number=("+911", 1)).levels
    assert (await two.beat([Holding(claim=live, epoch=grant.epoch)])).renewals == {"c_1": "renewed"}
    with pytest.raises(LimitReached):
        await one.take(claim("c_2", number=("+911", 1)))
    await two.release([live, live])
    assert (await one.counts()).numbers == {}


async def test_leases_run_out(brief: Nodes):
    """What nobody renews is free after its time; what is renewed is kept."""
    node = await brief.open()
    kept_claim = claim("c_kept", everything=2)
    grant = await node.take(kept_claim)
    await node.take(claim("c_dead", everything=2))
    for _ in range(4):
        await trio.sleep(0.1)
        beat = await node.beat([Holding(claim=kept_claim, epoch=grant.epoch)])
        assert beat.renewals == {"c_kept": "renewed"}
    assert await node.owner_of("c_dead") is None
    await node.take(claim("c_new", everything=2))
    counts = await node.counts()
    assert (counts.everything, counts.tenants) == (2, {"t_1": 2})


async def test_a_lease_that_is_gone(brief: Nodes):
    """A renewal that comes too late takes the slot again while there is room, and else is told that it is lost."""
    node = await brief.open()
    claims = [claim(f"c_{n}", everything=2) for n in range(2)]
    holdings = [Holding(claim=each, epoch=(await node.take(each)).epoch) for each in claims]
    await trio.sleep(0.35)
    other = await brief.open("n_2")
    await other.take(claim("c_other", everything=2))
    assert (await node.beat(holdings)).renewals == {"c_0": "retaken", "c_1": "lost"}
    owner = await node.owner_of("c_0")
    assert owner is not None
    assert owner.epoch == holdings[0].epoch


async def test_back_empty(brief: Nodes):
    """After Redis lost everything admission is closed for a lease's length, in which what is held is registered."""
    node = await brief.open()
    claims = [claim(f"c_{n}", everything=2) for n in range(2)]
    holdings = [Holding(claim=each, epoch=(await node.take(each)).epoch) for each in claims]
    await brief.forget()
    with pytest.raises(Unavailable) as unknown:
        await node.take(claim("c_new", everything=9))
    assert unknown.value.code == "capacity_unknown"
    other = brief.node("n_2")
    beat = await other.beat([])
    assert beat.fresh
    assert 0 < beat.opens_in <= 0.3
    with pytest.raises(Unavailable) as unknown:
        await other.take(claim("c_new", everything=9))
    assert 0 < unknown.value.retry_after <= 0.3
    # Three hold where two may: none is thrown out.
    third = Holding(claim=claim("c_third", everything=2), epoch=7)
    assert set((await node.beat([*holdings, third])).renewals.values()) == {"registered"}
    assert not await other.open()
    for _ in range(2):
        await trio.sleep(0.11)
        await node.beat([*holdings, third])
    await trio.sleep(0.11)
    again = await node.beat([*holdings, third])
    assert not again.fresh
    assert again.opens_in == 0
    assert again.nodes >= 1
    with pytest.raises(LimitReached) as full:
        await other.take(claim("c_new", everything=2))
    assert full.value.held == 3


async def test_registering_keeps_the_newest_owner(brief: Nodes):
    """When Redis has forgotten an adoption, the newer epoch owns the call, whoever registers first."""
    one, two = await brief.open("n_1"), await brief.open("n_2")
    reserved = claim("c_1", phase="reserved")
    first = await one.take(reserved)
    live = claim("c_1", ticket="theirs")
    second = await two.take(live)
    await brief.forget()
    assert (await one.beat([Holding(claim=reserved, epoch=first.epoch)])).renewals == {"c_1": "registered"}
    assert (await two.beat([Holding(claim=live, epoch=second.epoch)])).renewals == {"c_1": "renewed"}
    assert (await one.beat([Holding(claim=reserved, epoch=first.epoch)])).renewals == {"c_1": "taken"}


async def test_admitted_while_away(nodes: Nodes):
    """A call that was admitted while nobody could ask is registered beyond the limits, and renewed from then on."""
    node = await nodes.open()
    await node.take(claim("c_1", everything=1))
    away = claim("c_2", everything=1)
    assert (await node.beat([Holding(claim=away, epoch=5, unleased=True)])).renewals == {"c_2": "registered"}
    assert (await node.beat([Holding(claim=away, epoch=5)])).renewals == {"c_2": "renewed"}


async def test_guaranteed_slots(nodes: Nodes):
    """What is guaranteed to a tenant and not in use nobody else gets; what it uses counts against its guarantee."""
    node = await nodes.open()
    await node.promise({"t_vip": 2})
    for number in range(2):
        await node.take(claim(f"c_{number}", everything=4))
    with pytest.raises(LimitReached) as full:
        await node.take(claim("c_more", everything=4))
    assert (full.value.scope, full.value.limit, full.value.held) == ("global", 4, 2)
    for number in range(2):
        await node.take(claim(f"c_vip_{number}", everything=4, tenant=("t_vip", 0)))
    with pytest.raises(LimitReached):
        await node.take(claim("c_vip_more", everything=4, tenant=("t_vip", 0)))
    await node.release([claim("c_vip_0")])
    with pytest.raises(LimitReached):
        await node.take(claim("c_more", everything=4))
    await node.promise({})
    await node.take(claim("c_more", everything=4))


async def test_spare_slots(nodes: Nodes):
    """A call may have to leave some slots of the global limit to others, as campaigns leave them to inbound calls."""
    node = await nodes.open()
    await node.take(claim("c_1", everything=3, spare=1))
    await node.take(claim("c_2", everything=3, spare=1))
    with pytest.raises(LimitReached):
        await node.take(claim("c_3", everything=3, spare=1))
    await node.take(claim("c_4", everything=3))


async def test_many_renewals_are_one_write(loop, redis_url):
    """A node with hundreds of calls renews them in one round trip, in runs that hold up Redis for nobody."""
    async with open_redis(redis_url) as redis:
        node = await Nodes(redis, None).open()
        claims = [claim(f"c_{n}") for n in range(2 * kept.CHUNK + 1)]
        holdings = [Holding(claim=each, epoch=(await node.take(each)).epoch) for each in claims]
        sent: list[int] = []
        whole = redis.pipeline

        async def pipeline(commands):
            sent.append(len(commands))
            return await whole(commands)

        redis.pipeline = pipeline
        beat = await node.beat(holdings)
        assert sent == [3]
        assert beat.renewals == dict.fromkeys((each.call_id for each in claims), "renewed")


async def test_pages(nodes: Nodes):
    """The calls that hold a slot are listed by tenant, in pages, without looking at any other key."""
    node = await nodes.open()
    for number in range(5):
        await node.take(claim(f"c_{number}", tenant=(f"t_{number % 2}", 0)))
    assert [call for call, _ in await node.page("t_0", 0, 2)] == ["c_0", "c_2"]
    assert [call for call, _ in await node.page("t_0", 2, 2)] == ["c_4"]
    everything = await node.page(None, 0, 100)
    assert [(call, owner.tenant_id) for call, owner in everything] == [(f"c_{n}", f"t_{n % 2}") for n in range(5)]
    assert await node.page("t_none", 0, 10) == []


async def test_nothing_is_left_in_redis(loop, redis_url):
    """When all is given back there is no set, no index and no record of any call, tenant or campaign."""
    async with open_redis(redis_url) as redis:
        node = await Nodes(redis, None).open()
        claims = [claim(f"c_{n}", tenant=(f"t_{n}", 0), campaign=(f"cmp_{n}", 0)) for n in range(3)]
        for each in claims:
            await node.take(each)
        await node.release(claims)
        await node.leave()
        keys = {key.removeprefix(f"{kept.PREFIX}:".encode()) for key in await redis.call("KEYS", "*")}
        assert keys == {b"boot", b"last"}


async def loading(redis: Redis) -> str:
    """Tell what a Redis says that has just started, and may not be able to say yet."""
    try:
        return f"loading:{(await redis.info('persistence'))['loading']}"
    except StoreUnavailable:
        return "loading:1"


async def test_another_process_of_redis(loop):
    """A Redis that was restarted with its data closes admission too: it may have lost the last second."""
    with redis_server("--appendonly", "yes", "--appendfsync", "always") as (server, url):
        async with open_redis(url) as redis:
            node = await Nodes(redis, None, 0.5).open()
            held = Holding(claim=claim("c_1"), epoch=(await node.take(claim("c_1"))).epoch)
            server.kill()
            with pytest.raises(StoreUnavailable):
                await node.take(claim("c_2"))
            server.start()
            with trio.fail_after(5):
                while "loading:1" in str(await loading(redis)):
                    await trio.sleep(0.01)
            with pytest.raises(Unavailable, match="not known"):
                await node.take(claim("c_2"))
            beat = await node.beat([held])
            assert beat.fresh
            assert beat.opens_in > 0
            assert beat.renewals["c_1"] in {"renewed", "registered"}


async def test_refused_by_redis_is_away(loop):
    """A Redis that is out of memory or read-only counts as away."""
    redis = FakeRedis()
    redis.refusing = "OOM command not allowed"
    with pytest.raises(StoreUnavailable):
        await Leases(redis, "n_1", 30).take(claim("c_1"))
