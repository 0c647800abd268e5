"""Tools and secrets over REST: kept by name, checked, tried out; values of secrets are never shown."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from invorto.api.app import make_app
from invorto.storage import tenants
from invorto.storage.fakes import FakeRedis
from invorto.storage.postgres import Database
from invorto.storage.redis import Commands
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.tools.equipment import open_equipping
from tests.api.world import World, open_world
from tests.tools.test_runner import Clinic, open_web

KEYS = base64.b64encode(bytes(range(32))).decode()
OPEN = {"WEBHOOK_ALLOW_HTTP": "1", "WEBHOOK_ALLOWED_SUBNETS": "127.0.0.0/8", "WEBHOOK_ALLOWED_PORTS": "any"}


@asynccontextmanager
async def toolshop(
    database: Database, redis: Commands, folder: Path, **environ: str
) -> AsyncGenerator[World]:  # fmt: skip
    """Open an API that keeps and runs tools."""
    told = {"INVORTO_SECRET_KEYS": KEYS, **OPEN, **environ}
    async with open_world(database, redis, folder, **told) as world:
        async with open_equipping(world.deps.config, database) as equipping:
            world.deps = attrs.evolve(world.deps, equipping=equipping)
            world.app = make_app(attrs.evolve(world.deps, metrics=type(world.deps.metrics)()))
            yield world


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncGenerator[World]:
    async with toolshop(database, FakeRedis(), tmp_path) as opened:
        await tenants.change(database, DEFAULT_TENANT, settings={"toolHosts": ["127.0.0.1"]})
        yield opened


def booking(url: str = "http://127.0.0.1:9", **more: Any) -> dict[str, Any]:
    return {
        "name": "book", "description": "Books.", "url": f"{url}/book/{{day}}",
        "headers": {"X-Key": "${secrets.clinic}"}, "inputSchema": {"properties": {"day": {}, "people": {}}}, **more,
    }  # fmt: skip


async def test_a_tool_is_kept_listed_and_taken_away(world: World) -> None:
    """By name or id, once, within its tenant."""
    made = await world.ask("POST", "/v1/tools", booking())
    assert made.status == 201
    assert made.json["id"].startswith("tool_")
    assert made.json["timeoutMs"] == 2000
    assert (await world.ask("POST", "/v1/tools", booking())).status == 409
    for name in ("book", made.json["id"]):
        assert (await world.ask("GET", f"/v1/tools/{name}", key="analyst")).json == made.json
    assert [tool["name"] for tool in (await world.ask("GET", "/v1/tools", key="analyst")).json["data"]] == ["book"]
    assert (await world.ask("GET", "/v1/tools/book", key="other")).status == 404
    assert (await world.ask("DELETE", "/v1/tools/book", key="analyst")).status == 403
    assert (await world.ask("DELETE", "/v1/tools/book")).status == 204
    assert (await world.ask("DELETE", "/v1/tools/book")).status == 404


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"name": "end_call"}, "$.name"),
        ({"name": "with space"}, "$.name"),
        ({"url": "http://evil.example/"}, "$.url"),
        ({"url": "ftp://127.0.0.1/"}, "$.url"),
        ({"inputSchema": {"type": "text"}}, "$.inputSchema.type"),
        ({"timeoutMs": 1}, "$.timeoutMs"),
        ({"colour": "red"}, "$.colour"),
        ({"headers": {"X": "a\nb"}}, "$.headers"),
    ],
)
async def test_tools_that_are_refused(world: World, more: dict[str, Any], path: str) -> None:
    """Each fault has the path of what is wrong; nothing is kept."""
    refused = await world.ask("POST", "/v1/tools", booking(**more))
    assert refused.status == 422
    assert path in [fault[0] for fault in refused.faults]
    assert (await world.ask("GET", "/v1/tools")).json["data"] == []


async def test_a_tool_is_validated_without_being_kept(world: World) -> None:
    """What is wrong with it and with arguments, and the request that it would make, without secrets."""
    told = await world.ask("POST", "/v1/tools/validate", {"tool": booking(), "args": {"day": "a b", "people": 2}})
    assert told.status == 200
    assert told.json["valid"]
    assert told.json["request"]["url"].endswith("/book/a%20b")
    assert told.json["request"]["body"] == {"people": 2}
    assert told.json["request"]["headers"]["X-Key"] == "***"
    bad = await world.ask("POST", "/v1/tools/validate", {"tool": booking(url="http://10.0.0.1"), "args": {}})
    assert not bad.json["valid"]
    assert {fault["path"] for fault in bad.json["faults"]} == {"$.tool.url", "$.args"}


async def test_a_tool_is_invoked(world: World) -> None:
    """As a call would: with its secret; what goes wrong is an answer."""
    clinic = Clinic(["well", "refuses"])
    async with open_web(clinic.serve) as url:
        assert (await world.ask("POST", "/v1/tools", booking(url))).status == 201
        failed = await world.ask("POST", "/v1/tools/book/invoke", {"args": {"day": "x"}})
        assert failed.json["error"] == "it is not set up: a secret is missing"
        assert (await world.ask("PUT", "/v1/secrets/clinic", {"value": "hidden"})).status == 200
        done = await world.ask("POST", "/v1/tools/book/invoke", {"args": {"day": "x"}})
        assert (done.json["ok"], done.json["status"], done.json["result"]) == (True, 200, {"booked": True})
        refused = await world.ask("POST", "/v1/tools/book/invoke", {"args": {"day": "x"}})
        assert (refused.json["ok"], refused.json["status"]) == (False, 422)
    assert [exchange.headers["x-key"] for exchange in clinic.seen] == ["hidden", "hidden"]
    assert (await world.ask("POST", "/v1/tools/none/invoke", {})).status == 404
    await world.ask("POST", "/v1/tools", {"name": "mine"})
    assert (await world.ask("POST", "/v1/tools/mine/invoke", {})).json["code"] == "not_supported"


async def test_secrets_are_never_shown(world: World) -> None:
    """Put, listed by name, replaced, taken away; their values are in no answer, and sealed where they are kept."""
    put = await world.ask("PUT", "/v1/secrets/clinic.key", {"value": "very-hidden"})
    assert set(put.json) == {"name", "createdAt", "updatedAt"}
    again = await world.ask("PUT", "/v1/secrets/clinic.key", {"value": "even-more"})
    assert again.json["createdAt"] == put.json["createdAt"]
    listed = await world.ask("GET", "/v1/secrets")
    assert [secret["name"] for secret in listed.json["data"]] == ["clinic.key"]
    one = await world.ask("GET", "/v1/secrets/clinic.key")
    assert b"hidden" not in put.data + again.data + listed.data + one.data
    async with world.database.tenant(DEFAULT_TENANT) as work:
        kept = await work.fetchval("SELECT value FROM secrets")
    assert b"even-more" not in bytes(kept)
    assert (await world.ask("GET", "/v1/secrets/clinic.key", key="other")).status == 404
    assert (await world.ask("GET", "/v1/secrets", key="analyst")).status == 403
    assert (await world.ask("DELETE", "/v1/secrets/clinic.key")).status == 204
    assert (await world.ask("DELETE", "/v1/secrets/clinic.key")).status == 404


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("a%20b", {"value": "x"}, 422),
        ("a", {"value": ""}, 422),
        ("a", {"value": "two\nlines"}, 422),
        ("a", {"value": 7}, 422),
        ("a", {}, 422),
        ("a", {"value": "x" * 9000}, 422),
    ],
)
async def test_secrets_that_are_refused(world: World, name: str, body: dict[str, Any], status: int) -> None:
    """What cannot stand in a header is no secret."""
    assert (await world.ask("PUT", f"/v1/secrets/{name}", body)).status == status


async def test_without_keys_no_secret_is_kept(database: Database, tmp_path: Path) -> None:
    """An installation that cannot seal says so."""
    async with toolshop(database, FakeRedis(), tmp_path, INVORTO_SECRET_KEYS="") as world:
        refused = await world.ask("PUT", "/v1/secrets/a", {"value": "x"})
    assert (refused.status, refused.json["code"]) == (409, "not_supported")
