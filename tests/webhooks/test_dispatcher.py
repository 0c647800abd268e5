"""Deliveries from the outbox to real receivers: signed, tried again, bounded, apart from one another."""

from __future__ import annotations

import hashlib
import hmac
import random

import pytest
import trio

from invorto.model.call import CallStatus
from invorto.storage import webhooks
from invorto.storage.postgres import Database, open_database
from invorto.webhooks.dispatcher import Pace
from invorto.webhooks.signing import secret_of
from tests.storage.nouns import a_call, an_agent
from tests.webhooks.house import (
    QUICK,
    SEALS,
    SECRET,
    a_dispatcher,
    a_receivers_endpoint,
    deliveries,
    dispatching,
    settled,
)
from tests.webhooks.nouns import facts
from tests.webhooks.receiver import OK, Message, open_receiver, saying, silently, status


async def test_a_fact_reaches_its_receiver_signed(database: Database, postgres_url: str) -> None:
    """What is written arrives at once, signed over its raw bytes, with the endpoint's headers and the original's."""
    async with open_receiver() as receiver, dispatching(a_dispatcher(database, postgres_url)):
        headers = {"Authorization": "Bearer x", "Webhook-Id": "forged", "User-Agent": "forged"}
        await a_receivers_endpoint(database, receiver.url, headers=headers, legacy=True)
        began = trio.current_time()
        (event,) = await facts(database)
        (message,) = await receiver.until(1)
        assert message.at - began < 1
        body = message.verified(SECRET)
        assert (message.id, body["data"]["eventId"], body["type"]) == (event, event, "stt.final")
        assert message.headers["authorization"] == "Bearer x"
        assert message.headers["content-type"] == "application/json"
        assert message.headers["user-agent"].startswith("Invorto")
        expected = hmac.new(SECRET.encode(), message.body, hashlib.sha256).hexdigest()
        assert message.headers["x-webhook-signature"] == f"sha256={expected}"
        (row,) = await settled(database, 1)
        assert (row.status, row.attempts, row.last_status) == ("delivered", 1, 200)


async def test_a_notification_wakes(database: Database, postgres_url: str) -> None:
    """Without a look at the queue for a minute, a fact is delivered when it is committed."""
    dispatcher = a_dispatcher(database, postgres_url, pace=Pace(poll=60))
    async with open_receiver() as receiver, dispatching(dispatcher):
        await a_receivers_endpoint(database, receiver.url)
        for number in range(1, 4):
            await facts(database)
            await receiver.until(number, 5)


async def test_without_notifications_a_look_finds_it(
    database: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody hears of is found by the poll behind."""

    async def deaf(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("invorto.webhooks.dispatcher.listen", deaf)
    async with open_receiver() as receiver, dispatching(a_dispatcher(database, postgres_url)):
        await a_receivers_endpoint(database, receiver.url)
        await facts(database)
        await receiver.until(1, 5)


async def test_what_fails_is_tried_again_with_the_same_id(database: Database, postgres_url: str) -> None:
    """Until it arrives, with the same body under the same id, each time signed anew."""
    answers = [status(500), status(302, Location="http://127.0.0.1:1/"), b"hello\r\n\r\n", OK]
    dispatcher = a_dispatcher(database, postgres_url, WEBHOOK_SCHEDULE="0,0.1,0.2,0.3,60")
    async with open_receiver(saying(*answers)) as receiver, dispatching(dispatcher):
        await a_receivers_endpoint(database, receiver.url)
        (event,) = await facts(database)
        messages = await receiver.until(4)
        assert {(message.id, message.body) for message in messages} == {(event, messages[0].body)}
        for message in messages:
            message.verified(SECRET)
        (row,) = await settled(database, 1)
        assert (row.status, row.attempts) == ("delivered", 4)
        async with database._system() as work:
            kept = await work.fetch("SELECT number, status, error, excerpt FROM delivery_attempts ORDER BY number")
        assert [one["status"] for one in kept] == [500, 302, None, 200]
        assert kept[3]["excerpt"] == "thanks"
        assert kept[3]["error"] is None
        assert "redirects are not followed" in kept[1]["error"]


async def test_after_the_last_attempt_it_is_dead(database: Database, postgres_url: str) -> None:
    """The schedule ends, MAX_WEBHOOK_RETRIES ends it sooner, and a dead letter stays."""
    dispatcher = a_dispatcher(database, postgres_url, WEBHOOK_SCHEDULE="0,0.1,0.2,0.3", MAX_WEBHOOK_RETRIES="1")
    async with open_receiver(saying(status(503))) as receiver, dispatching(dispatcher):
        await a_receivers_endpoint(database, receiver.url, events=("stt.final",))
        await facts(database)
        (row,) = await settled(database, 1)
        assert (row.status, row.attempts, row.last_status, len(receiver.messages)) == ("dead", 2, 503, 2)


async def test_retry_after_is_kept(database: Database, postgres_url: str) -> None:
    """A receiver that asks for time gets it."""
    answers = saying(status(429, Retry_After="1"), OK)
    dispatcher = a_dispatcher(database, postgres_url, WEBHOOK_SCHEDULE="0,0.1,0.2")
    async with open_receiver(answers) as receiver, dispatching(dispatcher):
        await a_receivers_endpoint(database, receiver.url)
        await facts(database)
        first, second = await receiver.until(2)
        assert second.at - first.at >= 0.95


async def test_gone_disables(database: Database, postgres_url: str) -> None:
    """410 is the end of the endpoint: nothing more goes there."""
    async with open_receiver(saying(status(410))) as receiver, dispatching(a_dispatcher(database, postgres_url)):
        endpoint = await a_receivers_endpoint(database, receiver.url)
        await facts(database)
        await settled(database, 1)
        await facts(database, 3)
        await trio.sleep(0.3)
        assert len(receiver.messages) == 1
        found = await webhooks.get(database, endpoint.tenant_id, endpoint.id)
        assert (found.status, found.disabled_reason) == ("disabled", "gone")


async def drip(_: Message, stream: trio.abc.Stream) -> None:
    """Answer a byte at a time, for ever."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        await stream.send_all(b".")
        await trio.sleep(0.05)


async def drip_head(_: Message, stream: trio.abc.Stream) -> None:
    """Answer a head that never ends."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\n")
    while True:
        await stream.send_all(b"X-More: x\r\n")
        await trio.sleep(0.05)


async def flood(_: Message, stream: trio.abc.Stream) -> None:
    """Answer more than anybody wants to know."""
    await stream.send_all(b"HTTP/1.1 500 X\r\nContent-Length: 10000000\r\n\r\n" + b"\0\xff" * 50_000)
    await trio.sleep_forever()


@pytest.mark.parametrize("behave", [silently, drip, drip_head])
async def test_slow_receivers_get_their_time_and_no_more(database, postgres_url, behave) -> None:
    """However slowly an answer drips, the whole of it has one deadline."""
    dispatcher = a_dispatcher(database, postgres_url, WEBHOOK_TIMEOUT="0.5", MAX_WEBHOOK_RETRIES="0")
    async with open_receiver(behave) as receiver, dispatching(dispatcher):
        await a_receivers_endpoint(database, receiver.url, events=("stt.final",))
        await facts(database)
        (row,) = await settled(database, 1, 5)
        assert (row.status, row.last_error) == ("dead", "no whole answer within 0.5 s")


async def test_a_flood_is_cut(database: Database, postgres_url: str) -> None:
    """Of a long answer 16 KiB are kept, whatever bytes they are, and nobody waits for the rest."""
    dispatcher = a_dispatcher(database, postgres_url, MAX_WEBHOOK_RETRIES="0")
    async with open_receiver(flood) as receiver, dispatching(dispatcher):
        await a_receivers_endpoint(database, receiver.url, events=("stt.final",))
        await facts(database)
        (row,) = await settled(database, 1, 5)
        assert row.last_status == 500
        async with database._system() as work:
            assert len(await work.fetchval("SELECT excerpt FROM delivery_attempts")) == 16_384


async def test_ten_in_flight(database: Database, postgres_url: str) -> None:
    """One endpoint has ten requests at a time, of all nodes together."""

    async def slowly(_: Message, stream: trio.abc.Stream) -> None:
        await trio.sleep(0.05)
        await stream.send_all(OK)

    async with open_receiver(slowly) as receiver:
        await a_receivers_endpoint(database, receiver.url)
        await facts(database, 150)
        async with dispatching(*[a_dispatcher(database, postgres_url) for _ in range(3)]):
            await receiver.until(150)
            await settled(database, 150)
        assert receiver.most_in_flight == 10
        assert len({message.id for message in receiver.messages}) == len(receiver.messages) == 150
        assert receiver.connections <= 40  # they are used again


async def test_order_within_a_call(database: Database, postgres_url: str) -> None:
    """With ``fifo`` each call's events come in their order, though attempts fail and two nodes deliver."""
    chance = random.Random(7)
    seen: dict[str, list[int]] = {}

    async def moody(message: Message, stream: trio.abc.Stream) -> None:
        await trio.sleep(chance.uniform(0, 0.01))
        if chance.random() < 0.2:
            await stream.send_all(status(500))
        else:
            data = message.json["data"]
            seen.setdefault(data["callId"], []).append(data["seq"])
            await stream.send_all(OK)

    agent = await an_agent(database)
    calls = [(await a_call(database, agent, status=CallStatus.ACTIVE)).id for _ in range(4)]
    often = ",".join(str(place / 20) for place in range(40))
    async with open_receiver(moody) as receiver:
        await a_receivers_endpoint(database, receiver.url, fifo=True)
        async with dispatching(*[a_dispatcher(database, postgres_url, WEBHOOK_SCHEDULE=often) for _ in range(2)]):
            for _ in range(6):
                for call in calls:
                    await facts(database, 1, call_id=call)
            await settled(database, 24, 30)
    assert seen == {call: [1, 2, 3, 4, 5, 6] for call in calls}


async def test_a_dead_endpoint_slows_no_other(database: Database, postgres_url: str) -> None:
    """Of twenty endpoints three hang with full queues: what goes to the others arrives at once."""
    async with open_receiver(silently) as dead, open_receiver() as alive:
        for _ in range(3):
            await a_receivers_endpoint(database, dead.url, events=("stt.final",))
        async with dispatching(a_dispatcher(database, postgres_url), finish=False):
            await facts(database, 60)
            await dead.until(30)
            for _ in range(17):
                await a_receivers_endpoint(database, alive.url)
            began = trio.current_time()
            await facts(database, 10)
            await alive.until(170)
            assert trio.current_time() - began < 5


async def test_rotation_overlaps(database: Database, postgres_url: str) -> None:
    """After a rotation both secrets sign, so that a receiver may change when it likes; then the new one alone."""
    new = secret_of(b"n" * 32)
    async with open_receiver() as receiver, dispatching(a_dispatcher(database, postgres_url)):
        endpoint = await a_receivers_endpoint(database, receiver.url)
        await webhooks.rotate(database, endpoint.tenant_id, endpoint.id, SEALS.secret(endpoint.id, new))
        await facts(database)
        (message,) = await receiver.until(1)
        message.verified(SECRET)
        message.verified(new)
        async with database._system() as work:
            await work.execute("UPDATE webhooks SET previous_until = now()")
        await facts(database)
        message = (await receiver.until(2))[1]
        message.verified(new)
        assert " " not in message.headers["webhook-signature"]


async def test_a_secret_that_cannot_be_opened_harms_nobody_else(database: Database, postgres_url: str) -> None:
    """An endpoint sealed with a key that was lost fails by itself."""
    async with open_receiver() as receiver, dispatching(a_dispatcher(database, postgres_url)):
        lost = await a_receivers_endpoint(database, receiver.url)
        async with database._system() as work:
            await work.execute("UPDATE webhooks SET secret = 'x' WHERE id = $1", lost.id)
        await a_receivers_endpoint(database, receiver.url)
        await facts(database)
        await receiver.until(1)
        await settled(database, 1)
        assert {row.last_error for row in await deliveries(database)} == {
            None, "it cannot be signed: UsageError"
        }  # fmt: skip


async def test_a_clean_stop_finishes_what_is_in_flight(database: Database, postgres_url: str) -> None:
    """`finish` lets requests end and claims no more; the rest stays for others, at once."""

    async def slowly(_: Message, stream: trio.abc.Stream) -> None:
        await trio.sleep(0.2)
        await stream.send_all(OK)

    dispatcher = a_dispatcher(database, postgres_url)
    async with open_receiver(slowly) as receiver:
        await a_receivers_endpoint(database, receiver.url)
        await facts(database, 30)
        async with dispatching(dispatcher):
            await receiver.until(1)
            await facts(database, 30)
        rows = await deliveries(database)
        assert sum(row.status == "delivered" for row in rows) == len(receiver.messages) <= 60
        async with database._system() as work:
            assert await work.fetchval("SELECT count(*) FROM deliveries WHERE token IS NOT NULL") == 0


async def test_a_cancelled_dispatcher_hands_back(database: Database, postgres_url: str) -> None:
    """Cut off in the middle of requests, it gives everything back: another one delivers it without waiting."""
    dispatcher = a_dispatcher(database, postgres_url)
    async with open_receiver(silently) as receiver:
        await a_receivers_endpoint(database, receiver.url)
        await facts(database, 20)
        async with dispatching(dispatcher, finish=False):
            await receiver.until(10)
        async with open_receiver() as other:
            async with database._system() as work:
                await work.execute("UPDATE webhooks SET url = $1", other.url)
            began = trio.current_time()
            async with dispatching(a_dispatcher(database, postgres_url)):
                await other.until(20)
            assert trio.current_time() - began < 3
            assert {row.attempts for row in await deliveries(database)} == {1}


async def test_a_pool_of_one_is_enough(loop: None, postgres_url: str) -> None:
    """All of its work goes over as many connections as there are, and one to listen on."""
    async with open_database(postgres_url, 1) as database, open_receiver() as receiver:
        await a_receivers_endpoint(database, receiver.url)
        async with dispatching(a_dispatcher(database, postgres_url, pace=QUICK)):
            await facts(database, 50)
            await receiver.until(50)
            await settled(database, 50)
