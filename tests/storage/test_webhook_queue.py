"""The queue of webhooks: each delivery is one node's at a time, and nothing of it is lost or forgotten."""

from __future__ import annotations

from datetime import timedelta

import trio

from invorto.model.call import CallStatus
from invorto.storage import tenants, webhook_queue, webhook_upkeep, webhooks
from invorto.storage.postgres import Database, open_database
from invorto.storage.webhook_outcomes import settle
from tests.storage.nouns import a_call, an_agent
from tests.webhooks.nouns import an_endpoint, claim, facts, outcome, routed


async def rows(db: Database, sql: str, *args: object) -> list[tuple[object, ...]]:
    async with db._system() as work:
        return [tuple(row) for row in await work.fetch(sql, *args)]


async def test_a_fact_becomes_one_delivery_for_each_endpoint_that_wants_it(database: Database) -> None:
    """Types and tenants decide; disabled endpoints get nothing; a second look makes nothing twice."""
    other = (await tenants.create(database, "Other")).id
    everything = await an_endpoint(database)
    some = await an_endpoint(database, events=("call.ended", "stt.final"))
    await an_endpoint(database, events=("call.ended",))
    await an_endpoint(database, other)
    off = await an_endpoint(database)
    await webhooks.change(database, off.tenant_id, off.id, {"status": "disabled"})
    (event,) = await facts(database)
    assert await webhook_queue.route(database) == 1
    assert await webhook_queue.route(database) == 0
    made = await rows(database, "SELECT event_id, webhook_id, id ~ '^dlv_[0-9a-f]{12}7[0-9a-f]{19}$' FROM deliveries")
    assert sorted(made) == sorted([(event, everything.id, True), (event, some.id, True)])


async def test_what_is_claimed_is_nobody_elses(database: Database) -> None:
    """Eight nodes that claim at once share the work, and each delivery is one's; with its lease over, another's."""
    for _ in range(5):
        await an_endpoint(database)
    await routed(database, 30)
    got: list[str] = []
    holders: dict[str, str] = {}

    async def take(node: str) -> None:
        while len(got) < 140:
            claims = (await claim(database, node, most=7)).claims
            for one in claims:
                assert holders.setdefault(one.webhook_id, node) == node
            got.extend(one.id for one in claims)
            await trio.lowlevel.checkpoint()
            for one in claims:
                holders.pop(one.webhook_id, None)
            await settle(database, [outcome(one) for one in claims])

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(take, f"n_{number}")
    assert len(got) == len(set(got))
    await routed(database)
    left = {one.id for one in (await claim(database, "n_dead", lease=0.1)).claims}
    assert left
    assert not (await claim(database, "n_late")).claims
    await trio.sleep(0.15)
    assert {one.id for one in (await claim(database, "n_late")).claims} >= left


async def test_an_endpoint_belongs_to_one_node_at_a_time(database: Database) -> None:
    """Another node gets nothing of an endpoint while claims on it hold, so that its limits are the installation's."""
    await an_endpoint(database)
    await routed(database, 60)
    mine = (await claim(database, most=3)).claims
    assert len(mine) == 3
    assert not (await claim(database, "n_2")).claims
    assert len((await claim(database)).claims) == 47  # 50 are ours now
    assert not (await claim(database)).claims
    await settle(database, [outcome(one) for one in mine])
    assert len((await claim(database)).claims) == 3


async def test_each_endpoint_gets_one_before_any_gets_two(database: Database) -> None:
    """A long queue of one endpoint does not stand before the others'."""
    crowded = await an_endpoint(database)
    await routed(database, 40)
    others = {(await an_endpoint(database)).id for _ in range(4)}
    await routed(database, 1)
    claimed = await claim(database, most=5)
    assert {one.webhook_id for one in claimed.claims} == others | {crowded.id}


async def test_a_sick_endpoint_gets_one_at_a_time(database: Database) -> None:
    """After failures in a row an endpoint has one request in flight; when one arrives, ten again."""
    await an_endpoint(database)
    await routed(database, 60)
    for expected in (50, 10, 1, 1):
        claimed = await claim(database)
        assert len(claimed.claims) == expected
        failed = claimed.claims[:4]
        await settle(database, [outcome(one, ok=False, after=600) for one in failed])
        await webhook_queue.hand_back(database, [(one.id, one.token) for one in claimed.claims[4:]])
    (one,) = (await claim(database)).claims
    await settle(database, [outcome(one)])
    claimed = await claim(database)
    assert next(iter(claimed.receivers.values())).in_flight == 10


async def test_a_late_acknowledgement_is_refused(database: Database) -> None:
    """Who slept past the lease does not tell how it ended: the one who has it now does, once."""
    await an_endpoint(database)
    await routed(database)
    (slow,) = (await claim(database, "n_slow", lease=0.05)).claims
    await trio.sleep(0.1)
    (quick,) = (await claim(database, "n_quick")).claims
    assert (quick.id, quick.event) == (slow.id, slow.event)
    assert (await settle(database, [outcome(slow, ok=False)])).refused == {slow.id}
    assert (await webhook_queue.hand_back(database, [(slow.id, slow.token)])) == 0
    assert (await settle(database, [outcome(quick)])).taken == 1
    assert (await settle(database, [outcome(quick)])).refused == {quick.id}
    assert await rows(database, "SELECT status, attempts, last_status FROM deliveries") == [("delivered", 1, 200)]
    assert await rows(database, "SELECT number, status FROM delivery_attempts") == [(1, 200)]


async def test_in_order_endpoints_get_a_calls_events_one_after_the_other(database: Database) -> None:
    """With ``fifo`` an event of a call waits for the one before, also while that is retried; other calls go on."""
    endpoint = await an_endpoint(database, fifo=True)
    agent = await an_agent(database)
    one, two = [(await a_call(database, agent, status=CallStatus.ACTIVE)).id for _ in range(2)]
    first = await routed(database, 3, call_id=one)
    second = await routed(database, 2, call_id=two)
    seen: list[str] = []
    while claims := (await claim(database)).claims:
        assert len({claimed.event.call_id for claimed in claims}) == len(claims)
        if not seen:  # the first attempt at each fails, and its successors wait
            await settle(database, [outcome(claimed, ok=False, after=0.2) for claimed in claims])
            assert not (await claim(database)).claims
            await trio.sleep(0.25)
            claims = (await claim(database)).claims
        seen += [claimed.event.event_id for claimed in claims]
        await settle(database, [outcome(claimed) for claimed in claims])
    assert [event for event in seen if event in first] == first
    assert [event for event in seen if event in second] == second
    assert endpoint.fifo


async def test_a_dead_event_lets_its_successors_through(database: Database) -> None:
    """What was given up holds nobody up."""
    await an_endpoint(database, fifo=True)
    call = (await a_call(database, await an_agent(database), status=CallStatus.ACTIVE)).id
    events = await routed(database, 2, call_id=call)
    (head,) = (await claim(database)).claims
    await settle(database, [outcome(head, ok=False)])
    (following,) = (await claim(database)).claims
    assert following.event.event_id == events[1]


async def test_a_pace_is_kept(database: Database) -> None:
    """An endpoint with a rate gets so many a second and no more, whoever claims."""
    await an_endpoint(database, rate_limit=20.0)
    await routed(database, 50)
    got, began = 0, trio.current_time()
    while got < 5 or trio.current_time() - began < 1:
        claimed = await claim(database)
        got += len(claimed.claims)
        await settle(database, [outcome(one) for one in claimed.claims])
        assert claimed.soon is not None
        assert claimed.soon <= 0.2
        await trio.sleep(0.01)
    assert 5 <= got <= (trio.current_time() - began) * 20 + 3


async def test_disabling_gives_up_what_waits(database: Database) -> None:
    """A 410, or five days of failures, disable an endpoint, say so, and leave dead letters."""
    endpoint, watcher = await an_endpoint(database), await an_endpoint(database, events=("webhook.endpoint.disabled",))
    await routed(database, 3)
    claims = (await claim(database, most=2)).claims
    settled = await settle(database, [outcome(claims[0], ok=False, status=410, gone=True)])
    assert settled.disabled == (endpoint.id,)
    found = await webhooks.get(database, endpoint.tenant_id, endpoint.id)
    assert (found.status, found.disabled_reason) == ("disabled", "gone")
    await settle(database, [outcome(claims[1], ok=False, after=5)])  # was on its way
    assert await rows(database, "SELECT DISTINCT status FROM deliveries") == [("dead",)]
    await webhook_queue.route(database)
    (told,) = [one for one in (await claim(database)).claims if one.webhook_id == watcher.id]
    assert told.event.data == {
        "schemaVersion": 1, "endpointId": endpoint.id, "url": endpoint.url, "reason": "gone"
    }  # fmt: skip


async def test_five_days_of_failures_disable(database: Database) -> None:
    """Failures alone for long enough disable; one success in between begins the count anew."""
    endpoint = await an_endpoint(database)
    await routed(database, 4)
    patience = timedelta(seconds=0.2)
    claims = (await claim(database)).claims
    for number, ok in enumerate((False, True, False)):
        settled = await settle(database, [outcome(claims[number], ok=ok, after=60)], patience=patience)
        assert not settled.disabled
        await trio.sleep(0.15)
    await trio.sleep(0.1)
    settled = await settle(database, [outcome(claims[3], ok=False, after=60)], patience=patience)
    assert settled.disabled == (endpoint.id,)
    assert (await webhooks.get(database, endpoint.tenant_id, endpoint.id)).disabled_reason == "failing"


async def test_exhausted_and_recovered_are_told(database: Database) -> None:
    """A delivery that dies is told, and so is one that arrives after all; of events about webhooks nothing is told."""
    await an_endpoint(database, events=("stt.final", "webhook.message.exhausted"))
    await routed(database)
    (one,) = (await claim(database)).claims
    assert (await settle(database, [outcome(one, ok=False)])).dead == 1
    await webhook_queue.route(database)
    (told,) = (await claim(database)).claims
    assert told.event.type == "webhook.message.exhausted"
    assert told.event.data["messageId"] == one.event.event_id
    assert (told.event.data["deliveryId"], told.event.data["lastStatus"]) == (one.id, 503)
    await settle(database, [outcome(told, ok=False)])
    assert await webhook_queue.route(database) == 0
    async with database._system() as work:
        await work.execute("UPDATE deliveries SET status = 'pending', settled_at = NULL WHERE id = $1", one.id)
    (again,) = (await claim(database)).claims
    await settle(database, [outcome(again)])
    assert await rows(database, "SELECT type FROM outbox WHERE routed_at IS NULL") == [("webhook.message.recovered",)]


async def test_what_was_kept_long_enough_is_taken_away(database: Database) -> None:
    """Settled deliveries and routed facts have a life; what is pending, and its fact, stay."""
    await an_endpoint(database, events=("call.ended",))
    await routed(database, 3, type="call.ended")
    await routed(database, 2)
    unrouted = await facts(database)
    claims = (await claim(database)).claims
    await settle(database, [outcome(claims[0]), outcome(claims[1], ok=False)])
    assert await webhook_upkeep.purge(database, timedelta(days=1)) == 0
    before = await webhook_upkeep.backlog(database)
    assert (before.facts, before.pending, before.dead) == (2, 1, 1)  # one of them tells of the dead one
    await trio.sleep(0.01)
    assert await webhook_upkeep.purge(database, timedelta()) == 6  # two deliveries, their facts, and two for nobody
    left = await rows(database, "SELECT event_id FROM outbox WHERE type <> 'webhook.message.exhausted'")
    assert sorted(left) == sorted([(claims[2].event.event_id,), (unrouted[0],)])


async def test_the_oldest_that_waits_is_known(database: Database) -> None:
    """How long the oldest unclaimed delivery has been due is told; what is claimed or comes later does not count."""
    await an_endpoint(database)
    await routed(database)
    await trio.sleep(0.1)
    assert (await webhook_upkeep.backlog(database)).oldest_ready >= 0.1
    (one,) = (await claim(database)).claims
    assert (await webhook_upkeep.backlog(database)).oldest_ready == 0
    await settle(database, [outcome(one, ok=False, after=60)])
    assert (await webhook_upkeep.backlog(database)).oldest_ready == 0
    await routed(database)  # to an endpoint that fails by now
    assert (await webhook_upkeep.backlog(database)).oldest_ready == 0


async def test_two_pools_one_queue(loop: None, postgres_url: str) -> None:
    """Who routes at the same time routes each fact once."""
    async with open_database(postgres_url, 2) as one, open_database(postgres_url, 2) as other:
        await an_endpoint(one)
        await facts(one, 1200)
        counts: list[int] = []

        async def work(db: Database) -> None:
            counts.extend([await webhook_queue.route(db) for _ in range(10)])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, one)
            nursery.start_soon(work, other)
        assert sum(counts) == 1200
        assert await rows(one, "SELECT count(*), count(DISTINCT event_id) FROM deliveries") == [(1200, 1200)]
