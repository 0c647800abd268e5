"""Limits of a key over REST, and requests that come twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from invorto.storage.fakes import FakeRedis
from invorto.storage.postgres import Database
from invorto.storage.redis import open_redis
from tests.api.world import World, open_world


@pytest.fixture
async def strict(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Give an API that counts: five reads and three writes a minute."""
    limits = {"RATE_LIMIT_MAX_REQUESTS": "3", "RATE_LIMIT_READS": "5"}
    async with open_redis(redis_url) as redis, open_world(database, redis, tmp_path, **limits) as made:
        yield made


async def test_one_too_many(strict: World) -> None:
    """It is 429 and says when to come again; each answer says where the key stands; other keys and classes go on."""
    for number in range(5):
        answered = await strict.ask("GET", "/v1/agents")
        assert answered.status == 200
        assert (answered.headers["RateLimit-Limit"], answered.headers["RateLimit-Remaining"]) == ("5", str(4 - number))
        assert 0 < int(answered.headers["RateLimit-Reset"]) <= 60
    refused = await strict.ask("GET", "/v1/agents")
    assert (refused.status, refused.json["code"]) == (429, "rate_limit_exceeded")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert "calls" not in refused.json["message"]
    assert (await strict.ask("GET", "/v1/agents", key="admin")).status == 200
    for number in range(3):
        assert (await strict.ask("POST", "/v1/agents", {"name": f"D{number}"})).status == 201
    assert (await strict.ask("POST", "/v1/agents", {"name": "D4"})).status == 429
    assert (await strict.ask("POST", "/v1/realtime/tokens", {"agentId": "D1"})).status == 201, "tokens count apart"
    for _ in range(9):
        assert (await strict.ask("GET", "/health", key=None)).status == 200
        assert (await strict.ask("GET", "/health/detailed", key="dev")).status == 403


async def test_without_redis(database: Database, tmp_path: Path) -> None:
    """While Redis is away nobody is refused, and no answer pretends to know."""
    redis = FakeRedis()
    redis.away = True
    async with open_world(database, redis, tmp_path, RATE_LIMIT_READS="1") as world:
        for _ in range(3):
            answered = await world.ask("GET", "/v1/agents")
            assert answered.status == 200
            assert "RateLimit-Limit" not in answered.headers


def again(key: str = "once-1") -> dict[str, str]:
    """Give the header that makes a repeat one."""
    return {"Idempotency-Key": key}


async def test_the_same_again_is_answered_again(world: World) -> None:
    """The second one gets the first one's answer and does nothing; another body with the same key is 409."""
    first = await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again())
    second = await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again())
    assert (second.status, second.json) == (201, first.json)
    assert second.headers["Location"] == first.headers["Location"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    other = await world.ask("POST", "/v1/agents", {"name": "Other"}, headers=again())
    assert (other.status, other.json["code"]) == (409, "idempotency_conflict")
    elsewhere = await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again(), key="other")
    assert elsewhere.status == 201, "another tenant's keys are its own"
    assert (await world.ask("GET", "/v1/agents")).json["pagination"]["total"] == 1


async def test_a_refusal_is_no_answer(world: World) -> None:
    """What was refused did nothing: the same key may come again, mended."""
    assert (await world.ask("POST", "/v1/agents", {"nam": "Desk"}, headers=again())).status == 422
    assert (await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again())).status == 201
    for key in ("", " ", "x" * 256, "ключ"):
        sent = again(key.encode().decode("latin-1"))
        assert (await world.ask("POST", "/v1/agents", {"name": "D"}, headers=sent)).status == 400, key


async def test_twins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twins at the same time one acts, and all get its answer."""
    from invorto.storage import agents

    made: list[str] = []
    create = agents.create

    async def slow(*given: Any, **more: Any) -> Any:
        await trio.sleep(0.3)
        agent = await create(*given, **more)
        made.append(agent.id)
        return agent

    monkeypatch.setattr(agents, "create", slow)
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again()))

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(ask)
    assert len(made) == 1
    assert {(one.status, one.json["id"]) for one in answers} == {(201, made[0])}


async def test_one_that_died_is_followed(world: World, database: Database) -> None:
    """Who claimed the right to act and is gone does not hold it for ever."""
    await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again())
    async with database.tenant("t_default") as work:
        await work.execute("UPDATE idempotency SET status = NULL, claimed_at = now() - interval '61 seconds'")
        await work.execute("UPDATE agents SET deleted_at = now()")
    with trio.fail_after(5):
        assert (await world.ask("POST", "/v1/agents", {"name": "Desk"}, headers=again())).status == 201
    async with database.tenant("t_default") as work:
        await work.execute("UPDATE idempotency SET claimed_at = now() - interval '25 hours'")
    assert (await world.ask("POST", "/v1/agents", {"name": "New"}, headers=again())).status == 201, "a day is over"


async def test_secrets_are_not_kept(world: World, database: Database) -> None:
    """What shows a secret is not shown again: the repeat is told so, and nothing that was kept holds it."""
    made = await world.ask("POST", "/v1/keys", {"name": "x"}, headers=again(), key="admin")
    repeated = await world.ask("POST", "/v1/keys", {"name": "x"}, headers=again(), key="admin")
    assert (repeated.status, repeated.json["code"]) == (409, "secret_already_shown")
    assert made.json["key"].encode() not in repeated.data
    async with database.tenant("t_default") as work:
        (row,) = await work.fetch("SELECT * FROM idempotency")
    assert row["body"] is None
    assert made.json["key"] not in str(dict(row))
