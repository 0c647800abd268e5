"""A key says who asks: its tenant, its role, and nothing beyond."""

from __future__ import annotations

import trio

from invorto.storage import keys
from invorto.storage.keys import new_key
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World


async def test_both_headers(world: World) -> None:
    """`Authorization: Bearer` and `x-api-key` are the same to us."""
    key = world.keys["dev"]
    for headers in (
        {"Authorization": f"Bearer {key}"}, {"Authorization": f"bearer  {key} "}, {"X-Api-Key": key},
        {"x-api-key": key},
    ):  # fmt: skip
        assert (await world.ask("GET", "/v1/agents", key=None, headers=headers)).status == 200


async def test_nobody_we_know(world: World) -> None:
    """A missing, wrong, odd or revoked key is 401, and the answer does not tell which."""
    revoked, secret = await keys.create(world.database, DEFAULT_TENANT, "dev", "old")
    await keys.revoke(world.database, DEFAULT_TENANT, revoked.id)
    key = world.keys["dev"]
    for headers in (
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic abc"},
        {"Authorization": f"Bearer {new_key()}"}, {"Authorization": f"Bearer {secret}"}, {"X-Api-Key": secret},
        {"Authorization": f"Bearer {key}x"}, {"Authorization": f"Bearer {key[:-1]}"}, {"Authorization": key},
        {"Authorization": f"Bearer {key} {key}"}, {"X-Api-Key": "x" * 8000}, {"X-Api-Key": "ключ"},
        {"Authorization": "Basic abc", "X-Api-Key": key},
    ):  # fmt: skip
        sent = {name: value.encode().decode("latin-1") for name, value in headers.items()}
        refused = await world.ask("GET", "/v1/agents", key=None, headers=sent)
        assert (refused.status, refused.json["code"]) == (401, "invalid_api_key"), headers
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert key not in refused.data.decode()


async def test_the_tenant_is_the_keys(world: World) -> None:
    """`x-tenant-id` may repeat the key's tenant; another one is refused, also for an operator."""
    for key in ("dev", "operator"):
        assert (await world.ask("GET", "/v1/agents", key=key, headers={"X-Tenant-Id": DEFAULT_TENANT})).status == 200
        refused = await world.ask("GET", "/v1/agents", key=key, headers={"X-Tenant-Id": world.other_tenant})
        assert (refused.status, refused.json["code"]) == (403, "forbidden")


async def test_roles(world: World) -> None:
    """Analysts read, developers write, and the installation's own routes are the operator's."""
    for role in ("operator", "admin", "dev", "analyst"):
        writes, installation = role != "analyst", role == "operator"
        assert (await world.ask("GET", "/v1/agents", key=role)).status == 200
        assert (await world.ask("POST", "/v1/agents", {"name": role}, key=role)).status == (201 if writes else 403)
        assert (await world.ask("PATCH", "/v1/agents/a_x", {}, key=role)).status == (404 if writes else 403)
        for path in ("/metrics", "/health/detailed"):
            assert (await world.ask("GET", path, key=role)).status == (200 if installation else 403)


async def test_a_role_comes_before_the_body(world: World) -> None:
    """Whoever may not write is told that, and not what is wrong with what they wrote."""
    assert (await world.ask("POST", "/v1/agents", b"{", key="analyst")).status == 403
    assert (await world.ask("POST", "/v1/agents", b"{", key=None)).status == 401


async def test_many_at_once(world: World) -> None:
    """More requests than connections to the store are served one after the other, all of them."""
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append((await world.ask("GET", "/v1/agents")).status)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ask)
    assert statuses == [200] * 40


async def test_web_pages(world: World) -> None:
    """Pages of our own origins may read answers, others may not, and nobody sends cookies."""
    for origin, may in (
        ("https://voice.example.com", True), ("https://app.example.com", True), ("https://app.example.com:443", True),
        ("https://evil.example.com", False), ("http://app.example.com", False), ("null", False),
    ):  # fmt: skip
        answered = await world.ask("GET", "/v1/agents", headers={"Origin": origin})
        assert answered.headers.get("Access-Control-Allow-Origin") == (origin if may else None)
        assert "Access-Control-Allow-Credentials" not in answered.headers
        assert "Origin" in answered.headers["Vary"]
        asking = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
        before = await world.ask("OPTIONS", "/v1/agents/x", key=None, headers=asking)
        assert before.status == 204
        assert ("authorization" in before.headers.get("Access-Control-Allow-Headers", "")) is may
    refused = await world.ask("GET", "/v1/agents", key=None, headers={"Origin": "https://app.example.com"})
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
