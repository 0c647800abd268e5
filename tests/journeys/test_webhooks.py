"""A conversation's events reach a real receiver, from the one tree, and a stop leaves nothing open."""

from __future__ import annotations

from pathlib import Path

import trio

from invorto.observability.metrics import Metrics
from tests.journeys.house import BINARY, open_client, open_server, settings, speech
from tests.webhooks.house import HOME, SECRET
from tests.webhooks.receiver import Message, open_receiver


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
