"""Slots in virtual time: kept for as long as calls live, through a Redis that is away, empty or slow."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime

import attrs
import pytest
import trio

from invorto.errors import Conflict, LimitReached, Unavailable
from invorto.model.call import Call, CallStatus, Direction, EndReason
from invorto.realtime.capacity import Capacity
from invorto.realtime.live import LiveCalls
from invorto.realtime.slots import Caps
from invorto.storage.fake_leases import FakeLeases, LeaseBook

WALL = 1_700_000_000.0


def call(id: str, direction: Direction = Direction.WEB, epoch: int = 0) -> Call:
    """Make a call's row."""
    return Call(
        id=id, tenant_id="t_1", epoch=epoch, agent_id="a_1", agent_version=1, direction=direction,
        status=CallStatus.CREATED, created_at=datetime.fromtimestamp(WALL, UTC),
    )  # fmt: skip


@attrs.define(eq=False)
class Told:
    """A live call that notes what it is told."""

    id: str
    left: list[EndReason] = attrs.field(factory=list)

    def leave(self, reason: EndReason, *, goodbye: bool = True) -> None:
        """Note it."""
        self.left.append(reason)


@attrs.define(eq=False)
class Node:
    """One node: its slots, and its part of a house."""

    leases: FakeLeases
    capacity: Capacity
    live: LiveCalls


def node(book: LeaseBook, name: str = "n_1", *, limit: int = 10, clock: float = 0, everything: int = 0) -> Node:
    """Make a node whose own clock is *clock* seconds off."""
    live, leases, wall = LiveCalls(limit), FakeLeases(book, name, 30), WALL + clock
    caps = Caps(everything=everything)
    capacity = Capacity(leases=leases, live=live, caps=caps, wall=lambda: wall + trio.current_time())
    return Node(leases, capacity, live)


async def test_a_slot_is_a_seat_and_a_lease(autojump_clock):
    """It is there while the block lasts, at the node and in Redis, and gone after it, however it ends."""
    book = LeaseBook(opens=0)
    one = node(book, everything=1)

    async def crash() -> None:
        async with one.capacity.slot(call("c_1")) as slot:
            assert slot.epoch == book.leases["c_1"].epoch
            assert (one.live.held, len(book.leases)) == (1, 1)
            with pytest.raises(LimitReached) as full:
                await one.capacity.reserve(call("c_2"))
            assert full.value.scope == "global"
            assert one.live.held == 1
            with pytest.raises(Conflict):
                await one.capacity.reserve(call("c_1"))
            raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        with pytest.raises(ZeroDivisionError):
            await crash()
        assert (one.live.held, len(book.leases)) == (0, 0)
        nursery.cancel_scope.cancel()
    assert book.nodes == {}


async def test_the_node_is_asked_first(autojump_clock):
    """A full node refuses without asking Redis, and says that it is the node."""
    book = LeaseBook(opens=0)
    one = node(book, limit=1)
    await one.capacity.beat()
    async with one.capacity.slot(call("c_1")):
        book.away = True
        with pytest.raises(LimitReached) as full:
            async with one.capacity.slot(call("c_2")):
                raise AssertionError
        assert (full.value.scope, full.value.limit, full.value.held) == ("node", 1, 1)
        book.away = False


async def test_a_call_of_an_hour_keeps_its_slot(autojump_clock):
    """Sixty minutes are 360 renewals; at no instant is the slot free, and one second after it is."""
    book = LeaseBook(opens=0)
    one, two = node(book, everything=1), node(book, "n_2", everything=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        await nursery.start(two.capacity.run)
        async with one.capacity.slot(call("c_hour")) as slot:
            for _ in range(3600):
                await trio.sleep(1)
                with pytest.raises(LimitReached):
                    async with two.capacity.slot(call("c_other")):
                        raise AssertionError
            assert book.leases["c_hour"].epoch == slot.epoch
        async with two.capacity.slot(call("c_other")):
            assert list(book.leases) == ["c_other"]
        nursery.cancel_scope.cancel()


async def test_a_dead_nodes_slots_are_free_in_time(autojump_clock):
    """Slots of a node that is killed can be had again when their leases have run out, a second later at most."""
    book = LeaseBook(opens=0)
    one, two = node(book, everything=1), node(book, "n_2", everything=1)
    await two.capacity.beat()
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        await one.capacity.reserve(call("c_1"))
        await trio.sleep(15)
        one.leases.cut = True  # killed: nothing of it reaches Redis any more
        nursery.cancel_scope.cancel()
    left = book.leases["c_1"].ends / 1e6 - trio.current_time()
    assert 20 <= left <= 30
    await trio.sleep(left - 0.5)
    with pytest.raises(LimitReached):
        async with two.capacity.slot(call("c_2")):
            raise AssertionError
    await trio.sleep(1.5)
    async with two.capacity.slot(call("c_2")):
        pass


@pytest.mark.parametrize("seconds", [20, 60])
async def test_partitioned(seconds: int, autojump_clock):
    """For 20 s nothing changes; after 60 s the slot is taken again while there is room, else the call ends."""
    book = LeaseBook(opens=0)
    one, two = node(book, everything=2), node(book, "n_2", everything=2)
    first, second = Told("c_1"), Told("c_2")
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await nursery.start(one.capacity.run)
        await nursery.start(two.capacity.run)
        for each in (first, second):
            await stack.enter_async_context(one.capacity.slot(call(each.id)))
            stack.enter_context(one.live.registered(each))  # pyright: ignore[reportArgumentType]
        one.leases.cut = True
        taken = False
        for _ in range(seconds):
            await trio.sleep(1)
            if not taken:
                try:
                    await stack.enter_async_context(two.capacity.slot(call("c_other")))
                    taken = True
                except LimitReached:
                    pass
        assert not first.left
        assert not second.left
        one.leases.cut = False
        await trio.sleep(2)
        assert taken is (seconds == 60)
        ended = [each for each in (first, second) if each.left]
        assert len(ended) == taken
        assert all(set(each.left) == {EndReason.CAPACITY_LOST} for each in ended)
        assert book.most["global", ""] == 2
        nursery.cancel_scope.cancel()


async def test_redis_away(autojump_clock):
    """Outbound is refused, inbound and web get in up to the node's share of the cap, and live calls go on."""
    book = LeaseBook(opens=0)
    one, two = node(book, everything=5), node(book, "n_2", everything=5)
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await nursery.start(one.capacity.run)
        await nursery.start(two.capacity.run)
        await one.capacity.beat()
        assert one.capacity.nodes == 2
        told = Told("c_0")
        await stack.enter_async_context(one.capacity.slot(call("c_0")))
        stack.enter_context(one.live.registered(told))  # pyright: ignore[reportArgumentType]
        book.away = True
        with pytest.raises(Unavailable) as unknown:
            await stack.enter_async_context(one.capacity.slot(call("c_out", Direction.OUTBOUND)))
        assert (unknown.value.code, unknown.value.retry_after > 0) == ("capacity_unknown", True)
        slot = await stack.enter_async_context(one.capacity.slot(call("c_1", Direction.INBOUND, epoch=2**52)))
        assert slot.epoch > 2**52
        with pytest.raises(LimitReached) as full:  # five for two nodes: two each
            await stack.enter_async_context(one.capacity.slot(call("c_2")))
        assert (full.value.scope, full.value.limit, full.value.held) == ("global", 2, 2)
        await trio.sleep(120)
        assert one.live.held == 2
        assert not told.left
        book.away = False
        await trio.sleep(2)
        assert set(book.leases) == {"c_0", "c_1"}
        assert book.leases["c_1"].epoch == slot.epoch
        await stack.enter_async_context(one.capacity.slot(call("c_out", Direction.OUTBOUND)))
        nursery.cancel_scope.cancel()


async def test_redis_back_empty(autojump_clock):
    """Admission is closed for one lease's length; all nodes register what they hold; then it opens and counts right."""
    book = LeaseBook(opens=0)
    one, two = node(book, everything=3), node(book, "n_2", everything=3)
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        await nursery.start(one.capacity.run)
        await nursery.start(two.capacity.run)
        for number in range(3):
            holder = one if number % 2 else two
            await stack.enter_async_context(holder.capacity.slot(call(f"c_{number}")))
        book.forget()
        lost_at = trio.current_time()
        while True:
            with pytest.raises((Unavailable, LimitReached)) as refused:
                await stack.enter_async_context(one.capacity.slot(call("c_new")))
            if isinstance(refused.value, LimitReached):
                break
            assert refused.value.code == "capacity_unknown"
            await trio.sleep(0.5)
        assert 30 <= trio.current_time() - lost_at <= 31.5
        assert set(book.leases) == {"c_0", "c_1", "c_2"}
        counted = [each.capacity.measures._registered._value.get() for each in (one, two)]
        assert sum(counted) == 3
        nursery.cancel_scope.cancel()


async def test_an_empty_redis_of_nobody_is_open_at_once(autojump_clock):
    """Where no call is written down as live, a new Redis is a new one, and the first caller does not wait."""
    book = LeaseBook()
    one = node(book)

    async def nobody() -> bool:
        await trio.lowlevel.checkpoint()
        return True

    one.capacity.nobody = nobody
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        async with one.capacity.slot(call("c_1")):
            pass
        nursery.cancel_scope.cancel()


async def test_a_clock_an_hour_off(autojump_clock):
    """A node whose clock is an hour ahead, or behind, gets the slots and frees the slots that any other would."""
    book = LeaseBook(opens=0)
    ahead, behind = node(book, "n_a", everything=1, clock=3600), node(book, "n_b", everything=1, clock=-3600)
    async with trio.open_nursery() as nursery:
        await nursery.start(ahead.capacity.run)
        await nursery.start(behind.capacity.run)
        for first, second in ((ahead, behind), (behind, ahead)):
            async with first.capacity.slot(call("c_1")):
                for _ in range(90):
                    await trio.sleep(1)
                    with pytest.raises(LimitReached):
                        async with second.capacity.slot(call("c_2")):
                            raise AssertionError
            async with second.capacity.slot(call("c_2")):
                pass
        assert book.most["global", ""] == 1
        nursery.cancel_scope.cancel()


async def test_a_reservation_is_taken_over_here(autojump_clock):
    """Where its media opens on the same node, the reserved call goes on with its seat, its lease and its epoch."""
    book = LeaseBook(opens=0)
    one = node(book, limit=1, everything=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        reserved = await one.capacity.reserve(call("c_1"))
        epoch = reserved.epoch
        await trio.sleep(50)
        async with one.capacity.slot(call("c_1")) as slot:
            assert slot.epoch == epoch
            await trio.sleep(100)
            assert book.leases["c_1"].claim.phase == "live"
            await one.capacity.cancel("c_1")
            assert one.live.held == 1
        assert (one.live.held, book.leases) == (0, {})
        nursery.cancel_scope.cancel()


async def test_a_reservation_ends_by_itself(autojump_clock):
    """Nobody answered: a minute later seat and lease are free, to the second; cancelled, at once."""
    book = LeaseBook(opens=0)
    one = node(book, everything=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        await one.capacity.reserve(call("c_1"))
        await trio.sleep(59.9)
        assert (one.live.held, list(book.leases)) == (1, ["c_1"])
        await trio.sleep(0.2)
        assert (one.live.held, book.leases) == (0, {})
        await one.capacity.reserve(call("c_2"))
        await one.capacity.cancel("c_2")
        await one.capacity.cancel("c_2")
        assert (one.live.held, book.leases) == (0, {})
        nursery.cancel_scope.cancel()


async def test_adoption_by_another_node(autojump_clock):
    """Media opens elsewhere: that node holds the call, beyond its own limit if need be; the first gives back a seat."""
    book = LeaseBook(opens=0)
    one, two = node(book, everything=2), node(book, "n_2", limit=1, everything=2)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        await nursery.start(two.capacity.run)
        async with two.capacity.slot(call("c_other")):
            reserved = await one.capacity.reserve(call("c_1"))
            async with two.capacity.slot(call("c_1"), adopting=True) as slot:
                assert slot.epoch > reserved.epoch
                assert (two.live.held, two.live.standing) == (2, 1)
                await trio.sleep(11)
                assert one.live.held == 0
                assert len(book.leases) == 2
                await trio.sleep(100)
                assert book.leases["c_1"].node == "n_2"
            assert (two.live.held, two.live.standing) == (1, 0)
        assert book.leases == {}
        assert book.most["global", ""] == 2
        nursery.cancel_scope.cancel()


async def test_cut_while_asking(autojump_clock):
    """A caller who goes away while Redis is asked leaves no slot behind, even if Redis gave it one."""
    book = LeaseBook(opens=0)
    one = node(book, everything=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        take = one.leases.take

        async def slowly(claim):
            await take(claim)
            await trio.sleep_forever()

        one.leases.take = slowly
        with trio.move_on_after(0.5) as cut:
            await one.capacity.reserve(call("c_1"))
        assert cut.cancelled_caught
        assert one.live.held == 0
        await trio.testing.wait_all_tasks_blocked()
        assert book.leases == {}
        nursery.cancel_scope.cancel()


async def test_an_answer_that_is_lost(autojump_clock):
    """When Redis stalls while it is asked, the caller is let in as if it were away, and holds one slot afterwards."""
    book = LeaseBook(opens=0)
    one = node(book, everything=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        take = one.leases.take

        async def slowly(claim):
            await take(claim)
            await trio.sleep_forever()

        one.leases.take = slowly
        async with one.capacity.slot(call("c_1")):
            assert not one.capacity.reached
            await trio.sleep(3)
            assert one.capacity.reached
            assert list(book.leases) == ["c_1"]
        assert book.leases == {}
        nursery.cancel_scope.cancel()


async def test_released_during_a_renewal(autojump_clock):
    """A call that ends while it is being renewed does not come back as a slot that nobody holds."""
    book = LeaseBook(opens=0)
    one = node(book, everything=1)
    beat = one.leases.beat
    asked, answer = trio.Event(), trio.Event()

    async def slowly(holdings):
        if holdings:
            asked.set()
            await answer.wait()
        return await beat(holdings)

    one.leases.beat = slowly
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        async with one.capacity.slot(call("c_1")):
            await asked.wait()
        assert book.leases == {}
        answer.set()
        await trio.testing.wait_all_tasks_blocked()
        assert book.leases == {}
        nursery.cancel_scope.cancel()


async def test_release_while_redis_is_away(autojump_clock):
    """What could not be given back is given back as soon as Redis is there."""
    book = LeaseBook(opens=0)
    one = node(book, everything=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.capacity.run)
        async with one.capacity.slot(call("c_1")):
            book.away = True
        assert one.live.held == 0
        assert list(book.leases) == ["c_1"]
        book.away = False
        await trio.sleep(1.1)
        assert book.leases == {}
        nursery.cancel_scope.cancel()


async def test_draining_serves_what_is_reserved(autojump_clock):
    """A draining node takes no new calls; media of a call that it reserved, or adopts, is served."""
    book = LeaseBook(opens=0)
    one = node(book)
    await one.capacity.beat()
    await one.capacity.reserve(call("c_1"))
    one.live.draining = True
    with pytest.raises(Unavailable, match="going away"):
        async with one.capacity.slot(call("c_2")):
            raise AssertionError
    async with one.capacity.slot(call("c_1")):
        assert one.live.held == 1
