"""Every route there is, generated from the document: as nobody, as each role, and as another tenant."""

from __future__ import annotations

import hashlib
from typing import Any

import asyncpg

from invorto.storage.aio import aio
from tests.api.things import MAKERS, PLAIN, Known, routes
from tests.api.world import World

RANK = {"analyst": 0, "dev": 1, "admin": 2, "operator": 3}


async def ids_of(world: World) -> dict[str, str]:
    """Make one of everything that paths name."""
    return {**PLAIN, **{name: await make(world) for name, make in MAKERS.items()}}


async def ask(world: World, route: Known, ids: dict[str, str], key: str | None, **headers: str) -> Any:
    """Ask a route as somebody, with the smallest body that it takes."""
    return await world.ask(route.method, route.at(ids), route.body(), key=key, headers=headers)


async def test_every_parameter_is_known(world: World) -> None:
    """Whatever a path names can be made, so that no route escapes what follows: add a line to `MAKERS`."""
    guarded = [route for route in routes(world) if route.role is not None]
    unknown = {(route.path, name) for route in guarded for name in route.parameters if name not in {*MAKERS, *PLAIN}}
    assert unknown == set()


async def test_nobody_gets_in(world: World) -> None:
    """Without a key, or with one of nobody, every route that needs one answers 401."""
    ids = dict.fromkeys({*MAKERS, *PLAIN}, "x")
    for route in routes(world):
        if route.role is not None:
            for headers in ({}, {"X-Api-Key": "inv_live_of_nobody_at_all"}, {"Authorization": "Bearer a.b.c"}):
                refused = await ask(world, route, ids, None, **headers)
                assert (refused.status, refused.json["code"]) == (401, "invalid_api_key"), route.path


async def test_each_role_may_what_it_may(world: World) -> None:
    """Roles below the one that is documented get 403 before anything is read; that one and those above do not."""
    ids = {name: f"{name}-none" for name in {*MAKERS, *PLAIN}}
    for route in routes(world):
        if route.role is not None:
            for role, rank in RANK.items():
                answered = await ask(world, route, ids, role)
                may = rank >= RANK[route.role]
                assert (answered.status != 403) is may, (route.method, route.path, role, answered.data)
                assert answered.status != 401
                assert answered.status < 500


async def test_another_tenant_sees_and_changes_nothing(world: World, postgres_url: str) -> None:
    """To another tenant's admin our things are not there, in lists and by name, and stay as they are."""
    ids = await ids_of(world)
    ours = {name: id for name, id in ids.items() if name in MAKERS and name != "tenantId"}
    before = await kept(postgres_url)
    for route in routes(world):
        if route.role is None or route.role == "operator":
            continue
        answered = await ask(world, route, ids, "other")
        named = [name for name in route.parameters if name in ours]
        assert answered.status < 500
        assert not any(id.encode() in answered.data and id not in route.at(ids) for id in ours.values()), route.path
        if named:
            nothing = await ask(world, route, {**ids, **{name: f"{ours[name][:-1]}0" for name in named}}, "other")
            assert answered.status == nothing.status == 404, (route.method, route.path, answered.data)
            assert answered.json["code"] == nothing.json["code"]
        refused = await world.ask(
            route.method, route.at(ids), route.body(), key="other", headers={"X-Tenant-Id": "t_default"}
        )
        assert refused.status == 403
    assert await kept(postgres_url) == before


async def kept(url: str) -> dict[str, str]:
    """Give a digest of every table's rows of the default tenant, as the owner of them all sees them."""
    connection = await aio(asyncpg.connect, url)
    try:
        tables = await aio(
            connection.fetch,
            "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a"
            " ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
            " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace",
        )
        found: dict[str, str] = {}
        for (table,) in tables:
            sql = (
                f"SELECT coalesce(string_agg(t::text, '|' ORDER BY t::text), '') FROM {table} AS t WHERE tenant_id = $1"
            )
            rows = await aio(connection.fetchval, sql, "t_default")
            found[table] = hashlib.sha256(rows.encode()).hexdigest()
        assert len(found) > 8
        return found
    finally:
        await aio(connection.close)
