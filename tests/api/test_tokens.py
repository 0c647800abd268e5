"""Tokens for browsers, and what RS256 tokens, proxies and lists of addresses let in."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from invorto.realtime.tokens import DEFAULT_ALLOW, verify
from invorto.storage import ledger_rows
from invorto.storage.fakes import FakeRedis
from invorto.storage.postgres import Database
from invorto.subkeys import SecretKeys
from tests.api.world import World, open_world
from tests.storage.nouns import a_call, an_agent, finished

PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.fixture
async def guarded(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """Give an API with keys of its own and lists of addresses; a test's client comes from ``<local>``, a stranger."""
    environ = {"INVORTO_SECRET_KEYS": SECRET, "JWT_PUBLIC_KEY": PEM}
    async with open_world(database, FakeRedis(), tmp_path, **environ) as made:
        yield made


def signed(**claims: Any) -> dict[str, str]:
    """Give the header of an RS256 token."""
    body = {"aud": "invorto", "exp": time.time() + 600, "tenant": "t_default", "role": "dev", **claims}
    return {"Authorization": f"Bearer {jwt.encode(body, PRIVATE, 'RS256')}"}


async def test_a_token_says_what_it_is_for(guarded: World) -> None:
    """It is good for the tenant, the call and the agent, five minutes at most, and hangs on the key that made it."""
    agent = await guarded.agent()
    made = await guarded.ask("POST", "/v1/realtime/tokens", {"agentId": "Desk", "ttl": 60})
    assert made.status == 201
    grant = verify(SecretKeys.parse([SECRET]), made.json["token"])
    assert (grant.tenant_id, grant.call_id, grant.agent_id) == ("t_default", made.json["callId"], agent)
    assert grant.allow == DEFAULT_ALLOW
    assert grant.key_id is not None
    assert 0 < grant.expires_at - time.time() <= 60
    assert made.json["url"].startswith(f"wss://voice.example.com/realtime/voice?callId={grant.call_id}&agentId=")
    assert made.json["token"] not in made.json["url"]
    more = {"agentId": agent, "callId": "my-call.1", "allow": ["text", "config"]}
    wide = await guarded.ask("POST", "/v1/realtime/tokens", more)
    grant = verify(SecretKeys.parse([SECRET]), wide.json["token"])
    assert (grant.call_id, grant.allow) == ("my-call.1", {"text", "config"})


async def test_tokens_that_are_not_made(guarded: World) -> None:
    """For no agent, a sleeping one, somebody else's call, a call that is over, another agent's, or too long."""
    kept = await an_agent(guarded.database)
    await guarded.ask("POST", "/v1/agents", {"name": "Asleep", "status": "inactive"})
    live, over = await a_call(guarded.database, kept), await a_call(guarded.database, kept)
    await ledger_rows.write(guarded.database, finished(over))
    other = await guarded.agent(name="Other")
    for body, status, code in (
        ({"agentId": "nobody"}, 422, "validation_failed"),
        ({}, 422, "validation_failed"),
        ({"agentId": "Desk", "ttl": 301}, 422, "validation_failed"),
        ({"agentId": "Desk", "callId": "tokens"}, 422, "validation_failed"),
        ({"agentId": "Desk", "allow": ["everything"]}, 422, "validation_failed"),
        ({"agentId": "Asleep"}, 409, "agent_not_active"),
        ({"agentId": "Desk", "callId": over.id}, 409, "call_not_live"),
        ({"agentId": other, "callId": live.id}, 409, "conflict"),
    ):
        refused = await guarded.ask("POST", "/v1/realtime/tokens", body)
        assert (refused.status, refused.json["code"]) == (status, code), body
    assert (await guarded.ask("POST", "/v1/realtime/tokens", {"agentId": "Desk", "callId": live.id})).status == 201
    theirs = await guarded.ask("POST", "/v1/agents", {"name": "Desk"}, key="other")
    stranger = {"agentId": theirs.json["id"], "callId": live.id}
    assert (await guarded.ask("POST", "/v1/realtime/tokens", stranger, key="other")).status == 404


async def test_without_a_key_of_the_installation(database: Database, tmp_path: Path) -> None:
    """An installation that cannot sign says so."""
    async with open_world(database, FakeRedis(), tmp_path, INVORTO_SECRET_KEYS="") as world:
        await world.agent()
        refused = await world.ask("POST", "/v1/realtime/tokens", {"agentId": "Desk"})
        assert (refused.status, refused.json["code"]) == (409, "not_supported")


async def test_rs256_tokens(guarded: World) -> None:
    """They say tenant and role as a key does, while they hold; one that is bound to a call reads that alone."""
    kept = await an_agent(guarded.database)
    call = await a_call(guarded.database, kept)
    ask = guarded.ask
    assert (await ask("POST", "/v1/agents", {"name": "x"}, key=None, headers=signed())).status == 201
    assert (await ask("POST", "/v1/agents", {"name": "y"}, key=None, headers=signed(role="analyst"))).status == 403
    assert (await ask("GET", "/v1/keys", key=None, headers=signed(role="admin"))).status == 200
    elsewhere = signed(tenant=guarded.other_tenant)
    assert (await ask("GET", f"/v1/calls/{call.id}", key=None, headers=elsewhere)).status == 404
    assert (await ask("GET", "/v1/agents", key=None, headers=signed(exp=time.time() - 1))).status == 401
    assert (await ask("GET", "/v1/agents", key=None, headers=signed(exp=time.time() + 90_000))).status == 401
    assert (await ask("GET", "/v1/agents", key=None, headers=signed(aud="other"))).status == 401
    bound = signed(callId=call.id)
    assert (await ask("GET", f"/v1/calls/{call.id}", key=None, headers=bound)).status == 200
    assert (await ask("GET", "/v1/calls/c_2", key=None, headers=bound)).status == 403
    assert (await ask("GET", "/v1/calls", key=None, headers=bound)).status == 403
    await ask("POST", "/v1/keys", {"name": "k"}, key=None, headers=signed(role="admin", sub="ann@example.com"))
    assert (await ask("GET", "/v1/audit", key="admin")).json["data"][0]["actor"] == "jwt:ann@example.com"


async def test_lists_of_addresses(database: Database, tmp_path: Path) -> None:
    """Only listed addresses may ask, as a trusted proxy passes them on; health is for everybody."""
    environ = {"API_ALLOWED_IPS": "203.0.113.0/24,2001:db8::/32", "TRUSTED_PROXIES": "127.0.0.1"}
    async with open_world(database, FakeRedis(), tmp_path, **environ) as world:
        client: Any = world.app.test_client()

        async def status(path: str, peer: str, **headers: str) -> int:
            sent = {"Authorization": f"Bearer {world.keys['dev']}", **headers}
            asked = await client.get(path, headers=sent, scope_base={"client": (peer, 1)})
            return asked.status_code

        assert await status("/v1/agents", "203.0.113.5") == 200
        assert await status("/v1/agents", "2001:db8::9") == 200
        assert await status("/v1/agents", "198.51.100.1") == 403
        assert await status("/docs", "198.51.100.1") == 403
        assert await status("/health", "198.51.100.1") == 200
        assert await status("/v1/agents", "127.0.0.1", **{"X-Forwarded-For": "203.0.113.5"}) == 200
        assert await status("/v1/agents", "127.0.0.1", **{"X-Forwarded-For": "203.0.113.5, 198.51.100.1"}) == 403
        assert await status("/v1/agents", "198.51.100.1", **{"X-Forwarded-For": "203.0.113.5"}) == 403
