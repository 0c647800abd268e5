"""A conversation's events reach a real receiver, from the one tree, and a stop leaves nothing open."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import trio

from invorto.observability.metrics import Metrics
from invorto.storage.postgres import Database
from tests.journeys.house import BINARY, open_client, open_server, settings, speech
from tests.journeys.processes import running
from tests.webhooks.house import HOME, SECRET, a_receivers_endpoint, deliveries
from tests.webhooks.nouns import facts
from tests.webhooks.receiver import OK, Message, open_receiver, silently


def shown(metrics: Metrics, name: str) -> float:
    """Read a metric as it is served."""
    text = metrics.render()[0].decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


async def test_a_calls_events_reach_the_receiver(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Each event of a call arrives once, verified, in the order of the call; the endpoint is the environment's."""
    async with open_receiver() as receiver:
        environ = settings(postgres_url, redis_url, tmp_path, **HOME)
        environ |= {"TENANT_WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET}
        async with open_server(environ, webhooks=True) as server:
            async with open_client(server, "call-1", start=BINARY) as client:
                await client.until("tts.done")
                await client.speak(speech())
                await client.until("turn.metrics")
                await client.send(t="end")
                await client.until_closed()

            def summaries() -> list[Message]:
                return [one for one in receiver.messages if one.json["type"] == "agent.summary"]

            with trio.fail_after(10):
                while not summaries():
                    await receiver.until(len(receiver.messages) + 1)
            (summary,) = summaries()
            async with server.resources.database.tenant(server.tenant_id) as work:
                facts = await work.fetch("SELECT event_id, seq FROM outbox WHERE call_id = 'call-1'")
            await receiver.until(len(facts))
            assert summary.verified(SECRET)["data"]["callId"] == "call-1"
            assert {one.id for one in receiver.messages} == {fact["event_id"] for fact in facts}
            assert len(receiver.messages) == len(facts)
            types = [one.json["type"] for one in receiver.messages]
            assert {"call.started", "stt.final", "call.ended"} <= set(types)
            assert receiver.messages[0].headers["x-webhook-signature"].startswith("sha256=")
            metrics = server.resources.metrics
            with trio.fail_after(5):
                while shown(metrics, 'webhooks_events_total{event="delivered"}') < len(facts):
                    await trio.sleep(0.02)
            assert shown(metrics, "webhook_first_attempt_seconds_count") == len(facts)


async def test_without_its_part_nothing_is_delivered(
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A process that does not serve webhooks leaves them to others."""
    async with open_receiver() as receiver:
        environ = settings(postgres_url, redis_url, tmp_path, **HOME)
        environ |= {"TENANT_WEBHOOK_URL": receiver.url, "WEBHOOK_SECRET": SECRET}
        async with open_server(environ) as server:
            async with open_client(server, "call-1", start=BINARY) as client:
                await client.until("connected")
                await client.send(t="end")
                await client.until_closed()
        assert not receiver.messages
        async with open_server(environ, webhooks=True) as server:
            await receiver.until(3)
        assert server.resources.dispatcher.held == 0


async def test_sigterm_with_webhooks_in_flight(
    database: Database, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A process that is told to stop finishes what is answered in time, hands back the rest, and exits 0 at once."""

    async def slowly(_: Message, stream: trio.abc.Stream) -> None:
        await trio.sleep(0.5)
        await stream.send_all(OK)

    environ = settings(postgres_url, redis_url, tmp_path / "data", LOG_LEVEL="info", DRAIN_TIMEOUT="1", **HOME)
    async with open_receiver(slowly) as slow, open_receiver(silently) as dead:
        for receiver in (slow, dead):
            await a_receivers_endpoint(database, receiver.url)
        async with running("serve", "--only", "api,webhooks", folder=tmp_path, environ=environ) as process:
            await process.port()
            await facts(database, 5)
            await slow.until(5)
            await dead.until(5)
            began = trio.current_time()
            process.tell(signal.SIGTERM)
            assert await process.ended(10) == 0
            assert trio.current_time() - began < 6.5
            assert not process.complaints()
    assert len(slow.messages) == 5
    rows = Counter(row.status for row in await deliveries(database))
    assert rows == {"delivered": 5, "pending": 5}
    async with database._system() as work:
        assert await work.fetchval("SELECT count(*) FROM deliveries WHERE token IS NOT NULL OR due_at > now()") == 0
