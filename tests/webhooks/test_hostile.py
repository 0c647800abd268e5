"""Hostile addresses at delivery: whatever got into the table of endpoints, nothing private is connected to."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
import trio

from invorto.outgoing import client
from invorto.outgoing.addresses import Address, AddressRules, parse_networks
from invorto.outgoing.client import open_client
from invorto.storage import webhooks
from invorto.storage.postgres import Database
from invorto.webhooks import attempt, dispatcher
from tests.outgoing.test_addresses import HOSTILE
from tests.webhooks.house import QUICK, a_dispatcher, a_receivers_endpoint, deliveries, dispatching, settled
from tests.webhooks.nouns import facts
from tests.webhooks.receiver import open_receiver

CLOSED = {"WEBHOOK_ALLOW_HTTP": "0", "WEBHOOK_ALLOWED_SUBNETS": "", "WEBHOOK_ALLOWED_PORTS": "443,80"}


@pytest.fixture
def nothing_connects(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Write down every connection that is tried, and let none through."""
    tried: list[Any] = []

    async def connect(_: object, host: str, port: int, **__: object) -> Any:
        tried.append((host, port))
        await trio.lowlevel.checkpoint()
        raise AssertionError("it connects")

    monkeypatch.setattr(client.httpcore2.TrioBackend, "connect_tcp", connect)
    return tried


async def test_hostile_urls_are_refused_at_delivery(
    database: Database, postgres_url: str, nothing_connects: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each URL of the table, put there behind our back, fails at delivery before anything is connected to."""
    monkeypatch.setattr(webhooks, "MOST", 1000)
    urls = [url for url in HOSTILE if url and "\0" not in url]
    for url in urls:
        await a_receivers_endpoint(database, url, events=("stt.final",))
    async with dispatching(a_dispatcher(database, postgres_url, pace=QUICK, MAX_WEBHOOK_RETRIES="0", **CLOSED)):
        await facts(database)
        rows = await settled(database, len(urls), 30)
    assert {(row.status, row.last_status) for row in rows} == {("dead", None)}
    assert len(rows) >= 60
    assert nothing_connects == []


@pytest.mark.parametrize("url", [url for url in HOSTILE if "\0" in url or not url])
async def test_what_cannot_even_be_kept(url: str, nothing_connects: list[Any]) -> None:
    """A URL that no column takes is refused as well."""
    async with open_client(AddressRules()) as guarded:
        result = await attempt.post(guarded, url, {}, b"{}", seconds=1, now=0)
    assert result.kind == "address"
    assert nothing_connects == []


async def test_a_name_that_changes_its_mind(
    database: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: a name that was public when it was registered and is private now gets nothing."""
    answers = ["127.0.0.1", "10.0.0.7", "::ffff:10.0.0.7", "64:ff9b::a00:7", "127.0.0.1"]
    asked: list[str] = []

    async def rebinding(host: str) -> Sequence[Address]:
        await trio.lowlevel.checkpoint()
        asked.append(host)
        return [ip_address(answers[min(len(asked), len(answers)) - 1])]

    def opened(*args: Any, **more: Any) -> Any:
        return open_client(*args, **more | {"resolve": rebinding})

    monkeypatch.setattr(dispatcher, "open_client", opened)
    often = ",".join(str(place / 10) for place in range(8))
    async with open_receiver() as receiver:
        receiver_url = f"http://hook.example:{receiver.port}/"
        await a_receivers_endpoint(database, receiver_url)
        async with dispatching(a_dispatcher(database, postgres_url, WEBHOOK_SCHEDULE=often)):
            await facts(database)
            await receiver.until(1)
            await settled(database, 1)
            monkeypatch.setattr(client, "_IDLE_SECONDS", -1.0)  # else the connection that is open is used again
            await facts(database)
            await receiver.until(2)
            await settled(database, 2)
    assert len(asked) == 5
    async with database._system() as work:
        errors = await work.fetch("SELECT error FROM delivery_attempts WHERE error IS NOT NULL ORDER BY at")
    assert [row["error"] for row in errors] == [f"{one} is not a public address" for one in answers[1:4]]
    assert {row.status for row in await deliveries(database)} == {"delivered"}


async def test_the_allow_list_works(database: Database, postgres_url: str) -> None:
    """A network that is opened is reached, on the ports that are allowed, and no other."""
    async with open_receiver() as receiver:
        await a_receivers_endpoint(database, receiver.url, events=("stt.final",))
        rules = {"WEBHOOK_ALLOWED_SUBNETS": "127.0.0.0/30", "WEBHOOK_ALLOWED_PORTS": str(receiver.port)}
        async with dispatching(a_dispatcher(database, postgres_url, pace=QUICK, MAX_WEBHOOK_RETRIES="0", **rules)):
            await a_receivers_endpoint(database, receiver.url.replace("127.0.0.1", "127.0.0.9"))
            await a_receivers_endpoint(database, receiver.url.replace(str(receiver.port), "9"))
            await facts(database)
            await receiver.until(1)
            await settled(database, 3)
    assert len(receiver.messages) == 1
    assert parse_networks(["127.0.0.0/30"])


async def test_proxies_of_the_environment_are_not_used(
    database: Database, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy variable does not lead requests past the check."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with open_receiver() as receiver, dispatching(a_dispatcher(database, postgres_url)):
        await a_receivers_endpoint(database, receiver.url)
        await facts(database)
        await receiver.until(1)
