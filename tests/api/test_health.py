"""Health tells load balancers where to send calls, and operators what is wrong."""

from __future__ import annotations

import asyncpg
import pytest
import trio

from invorto.api.deps import Part
from invorto.api.health import Checkup
from invorto.errors import StoreUnavailable
from invorto.storage.aio import aio
from invorto.storage.embedded import StoreUrls
from invorto.storage.fakes import FakeRedis
from tests.api.world import World


async def test_all_is_well(world: World) -> None:
    """Anybody may ask whether we live; only operators see versions of parts."""
    alive = await world.ask("GET", "/health", key=None)
    assert (alive.status, alive.json["ok"], alive.json["status"]) == (200, True, "ok")
    assert set(alive.json) == {"ok", "status", "version"}
    assert (await world.ask("GET", "/health/ready", key=None)).json == {"ready": True}
    detailed = (await world.ask("GET", "/health/detailed", key="operator")).json
    assert (detailed["ready"], detailed["draining"]) == (True, False)
    assert set(detailed["parts"]) == {"postgres", "redis"}
    assert detailed["parts"]["postgres"]["version"][0].isdigit()
    assert all(part["status"] == "ok" and part["latencyMs"] >= 0 for part in detailed["parts"].values())


async def test_draining_is_not_ready(world: World) -> None:
    """A node that goes away lives on and takes nothing new."""
    world.draining = True
    refused = await world.ask("GET", "/health/ready", key=None)
    assert (refused.status, refused.json["ready"], refused.json["code"]) == (503, False, "draining")
    assert "Retry-After" in refused.headers
    assert (await world.ask("GET", "/health", key=None)).status == 200
    assert (await world.ask("GET", "/v1/agents")).status == 200


async def test_a_full_node_is_not_ready(world: World) -> None:
    """A node that holds all the calls it can gets no more of them."""
    world.full = True
    assert (await world.ask("GET", "/health/ready", key=None)).json["code"] == "full"
    world.full = False
    assert (await world.ask("GET", "/health/ready", key=None)).status == 200


async def test_redis_away_is_degraded(shaky: World) -> None:
    """Without Redis calls go on: alive, ready, and degraded."""
    assert isinstance(shaky.redis, FakeRedis)
    shaky.redis.away = True
    alive = await shaky.ask("GET", "/health", key=None)
    assert (alive.status, alive.json["ok"], alive.json["status"]) == (200, True, "degraded")


async def test_postgres_away(world: World, stores: StoreUrls) -> None:
    """Without PostgreSQL nothing new begins: 503 with Retry-After, and health goes on telling."""
    assert (await world.ask("GET", "/metrics", key="operator")).status == 200
    admin = await aio(asyncpg.connect, stores.db_url)
    name = str(await aio(admin.fetchval, "SELECT datname FROM pg_stat_activity WHERE datname LIKE 'test_%'"))
    try:
        await aio(admin.execute, f"ALTER DATABASE {name} CONNECTION LIMIT 0")
        await aio(admin.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await aio(admin.execute, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await aio(admin.execute, f"ALTER DATABASE {name} RENAME TO {name}_away")
        for method, path, body in (
            ("GET", "/v1/agents", None),
            ("POST", "/v1/agents", {"name": "D"}),
            ("GET", "/v1/calls/x", None),
        ):
            refused = await world.ask(method, path, body)
            assert (refused.status, refused.json["code"]) == (503, "store_unavailable")
            assert refused.json["message"] == "a store cannot be reached for now"
            assert int(refused.headers["Retry-After"]) >= 1
        ready = await world.ask("GET", "/health/ready", key=None)
        assert (ready.status, ready.json["code"]) == (503, "store_unavailable")
        assert (await world.ask("GET", "/health", key=None)).json == {
            "ok": True,
            "status": "degraded",
            "version": "0.1.0",
        }
        seen = await world.ask("GET", "/metrics", key="operator")
        assert seen.status == 200, "an operator who was here before must see what is wrong"
        parts = (await world.ask("GET", "/health/detailed", key="operator")).json["parts"]
        assert (parts["postgres"]["status"], parts["redis"]["status"]) == ("away", "ok")
        assert (await world.ask("GET", "/metrics", key="admin")).status == 503
    finally:
        await aio(admin.execute, f"ALTER DATABASE {name}_away RENAME TO {name}")
        await aio(admin.execute, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await aio(admin.execute, f"ALTER DATABASE {name} CONNECTION LIMIT -1")
        await aio(admin.close)
    assert (await world.ask("GET", "/v1/agents")).status == 200


async def test_metrics(world: World) -> None:
    """Requests are counted by route, not by what was asked for, so that nobody can fill a Prometheus."""
    agent_id = await world.agent()
    for path in (f"/v1/agents/{agent_id}", "/v1/agents/a_other", "/v1/nonsense", "/v1/nonsense/2"):
        await world.ask("GET", path)
    await world.ask("BREW", "/v1/agents")
    text = (await world.ask("GET", "/metrics", key="operator")).data.decode()
    for line in (
        'http_requests_total{method="POST",path="/v1/agents",status="201"} 1.0',
        'http_requests_total{method="GET",path="/v1/agents/{agent_id}",status="200"} 1.0',
        'http_requests_total{method="GET",path="/v1/agents/{agent_id}",status="404"} 1.0',
        'http_requests_total{method="GET",path="unmatched",status="404"} 2.0',
        'http_requests_total{method="other",path="unmatched",status="405"} 1.0',
    ):
        assert line in text
    assert agent_id not in text


# -- asking parts ---------------------------------------------------------------------------------


async def test_one_slow_part_delays_nobody_for_long(autojump_clock: trio.testing.MockClock) -> None:
    """A part that hangs is away after a second; the others are told as they are."""

    async def hang() -> dict[str, str]:
        await trio.sleep_forever()
        raise AssertionError

    async def fine() -> dict[str, str]:
        return {"version": "1"}

    async def broken() -> dict[str, str]:
        raise ZeroDivisionError

    async def away() -> dict[str, str]:
        raise StoreUnavailable("gone")

    parts = [Part(name=name, probe=probe) for name, probe in (("a", hang), ("b", fine), ("c", broken), ("d", away))]
    began = trio.current_time()
    found = await Checkup(parts).look()
    assert trio.current_time() - began == pytest.approx(1.0)
    assert [(one.part.name, one.ok, one.error) for one in found] == [
        ("a", False, "no answer within 1 s"), ("b", True, None), ("c", False, "ZeroDivisionError"),
        ("d", False, "gone"),
    ]  # fmt: skip
    assert found[1].details == {"version": "1"}


async def test_a_crowd_asks_once(autojump_clock: trio.testing.MockClock) -> None:
    """A hundred balancers cost each part one question a second."""
    asked = 0

    async def count() -> dict[str, str]:
        nonlocal asked
        asked += 1
        await trio.sleep(0.1)
        return {}

    checkup = Checkup([Part(name="a", probe=count)])
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(checkup.look)
    assert asked == 1
    await trio.sleep(1.1)
    await checkup.look()
    assert asked == 2


async def test_a_cancelled_question_leaves_nothing(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever hangs up while parts are asked does not keep the next one from asking."""

    async def slow() -> dict[str, str]:
        await trio.sleep(0.5)
        return {}

    checkup = Checkup([Part(name="a", probe=slow)])
    with trio.move_on_after(0.1):
        await checkup.look()
    assert (await checkup.look())[0].ok
