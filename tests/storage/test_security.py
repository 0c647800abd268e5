"""Row-level security: a tenant sees its own rows, and a query that forgets the tenant sees nothing."""

from __future__ import annotations

from contextlib import nullcontext

import asyncpg
import pytest

from invorto.model.agent import ToolDefinition
from invorto.storage import agents, audit, erasure, keys, ledger_rows, tenants, tools, webhook_queue
from invorto.storage.aio import aio
from invorto.storage.audit import Deed
from invorto.storage.postgres import Database, Record
from invorto.storage.webhook_outcomes import settle
from tests.storage.nouns import a_call, an_agent, finished
from tests.webhooks.nouns import an_endpoint, claim, outcome

OURS = ("migrations",)
"""Tables that no tenant has rows in, and that neither role may touch."""


async def tables(db: Database) -> list[Record]:
    """Give every table with what PostgreSQL says of its security."""
    async with db._system() as work:
        return await work.fetch(
            "SELECT relname AS name, relrowsecurity AS on, relforcerowsecurity AS forced,"
            " (SELECT array_agg(a.attname::text) FROM pg_attribute AS a"
            "  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,"
            " ARRAY(SELECT p.polname::text FROM pg_policy AS p WHERE p.polrelid = c.oid ORDER BY 1) AS policies"
            " FROM pg_class AS c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') ORDER BY 1"
        )


async def _nothing_elsewhere(*_: object) -> None:
    """Erase nothing outside PostgreSQL."""


async def two_tenants(db: Database) -> list[str]:
    """Fill every table with rows of two tenants; give their ids."""
    both = [tenants.DEFAULT_TENANT, (await tenants.create(db, "Other")).id]
    for tenant_id in both:
        call = await a_call(db, await an_agent(db, tenant_id))
        await ledger_rows.write(db, finished(call, order={"kept": True}))
        await keys.create(db, tenant_id, "dev", "x")
        await an_endpoint(db, tenant_id)
        await tools.create(db, tenant_id, ToolDefinition(name="book"))
        await tools.put_secret(db, tenant_id, f"sec_{tenant_id}", "key", b"sealed")
        await erasure.erase(db, tenant_id, "+919876543210", "k_1", _nothing_elsewhere)
        await audit.note(db, Deed(tenant_id=tenant_id, actor="k_1", role="admin", action="x", target="y"))
        async with db.tenant(tenant_id) as work:
            await work.execute(
                "INSERT INTO idempotency (tenant_id, digest, request, claim) VALUES ($1, $2, $2, gen_random_uuid())",
                tenant_id,
                bytes(32),
            )
    await webhook_queue.route(db)
    for claimed in (await claim(db)).claims:
        await settle(db, [outcome(claimed)])
    return both


async def test_every_table_is_secured(database: Database) -> None:
    """No table escapes: security is on and forced, with a policy for tenants, on each that is or will be added."""
    found = await tables(database)
    assert len(found) > 10
    for table in found:
        if table["name"] in OURS:
            continue
        assert table["on"], table["name"]
        assert table["forced"], table["name"]
        assert "tenant" in table["policies"], table["name"]
        assert table["name"] == "tenants" or "tenant_id" in table["columns"], table["name"]


async def test_tenant_sees_its_own_rows_only(database: Database) -> None:
    """In every table each of two tenants sees its rows, not the other's, and a third sees none."""
    both = await two_tenants(database)
    for table in await tables(database):
        if table["name"] in OURS:
            continue
        column = "id" if table["name"] == "tenants" else "tenant_id"
        for tenant_id in (*both, "t_nobody", "", "'", "%"):
            async with database.tenant(tenant_id) as work:
                seen = {row[0] for row in await work.fetch(f"SELECT {column} FROM {table['name']}")}
            assert seen == ({tenant_id} & set(both)), table["name"]


async def test_without_a_tenant_nothing_is_seen(database: Database) -> None:
    """A query that forgot its tenant sees no row of any table, on a fresh connection and on one that was used."""
    await two_tenants(database)
    for _ in range(3):
        for table in await tables(database):
            if table["name"] in OURS:
                continue
            async with database._unit("BEGIN; SET LOCAL ROLE invorto_tenant") as work:
                assert await work.fetchval(f"SELECT count(*) FROM {table['name']}") == 0, table["name"]


async def test_rows_of_another_tenant_cannot_be_written(database: Database) -> None:
    """A tenant can neither add, nor move, nor change, nor remove a row of another."""
    one, other = await two_tenants(database)
    theirs = (await agents.listing(database, other))[0][0]
    async with database.tenant(one) as work:
        assert await work.execute("UPDATE agents SET name = 'taken' WHERE id = $1", theirs.id) == "UPDATE 0"
    for statement in (
        f"INSERT INTO keys (id, tenant_id, role, name, digest) VALUES ('k', '{other}', 'dev', 'x', sha256('x'))",
        f"UPDATE agents SET tenant_id = '{other}'",
        f"INSERT INTO outbox (event_id, tenant_id, type, data) VALUES ('e', '{other}', 'x', '{{}}')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with database.tenant(one) as work:
                await work.execute(statement)
    for statement in ("DELETE FROM agents", "TRUNCATE calls", "UPDATE tenants SET name = 'x'", "DROP TABLE calls",
                      "ALTER TABLE agents DISABLE ROW LEVEL SECURITY", "SELECT * FROM migrations",
                      "DELETE FROM transcripts", "UPDATE costs SET inr = 0", "DELETE FROM outbox",
                      "DELETE FROM delivery_attempts"):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.tenant(one) as work:
                await work.execute(statement)
    assert await agents.get(database, other, theirs.id) == theirs


async def test_roles_cannot_bypass(database: Database) -> None:
    """Neither role logs in, owns anything, is a superuser, or is let past the policies by a setting."""
    one, _ = await two_tenants(database)
    async with database._system() as work:
        roles = await work.fetch(
            "SELECT rolname, rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb AS much,"
            " EXISTS (SELECT FROM pg_class WHERE relowner = r.oid) AS owner,"
            " pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE relname = 'calls'), 'MEMBER') AS member"
            " FROM pg_roles AS r WHERE rolname IN ('invorto_tenant', 'invorto_system')"
        )
    assert len(roles) == 2
    assert not any(role["much"] or role["owner"] or role["member"] for role in roles)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):  # noqa: PT012
        async with database.tenant(one) as work:
            await work.execute("SET LOCAL row_security = off")
            await work.fetch("SELECT * FROM calls")


async def test_tenant_and_role_end_with_the_unit(database: Database) -> None:
    """The next unit of work on the same connection inherits neither tenant nor role, however the last one ended."""
    await two_tenants(database)
    async with database._unit("BEGIN") as work:
        pid, user = await work.fetchrow("SELECT pg_backend_pid(), session_user::text")  # pyright: ignore[reportGeneralTypeIssues]
    for fails in (False, True):
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            async with database.tenant(tenants.DEFAULT_TENANT) as work:
                assert await work.fetchval("SELECT current_user::text") == "invorto_tenant"
                if fails:
                    raise ZeroDivisionError
        async with database._unit("BEGIN") as work:
            row = await work.fetchrow(
                "SELECT pg_backend_pid(), current_user::text, coalesce(current_setting('invorto.tenant', true), '')"
            )
            assert tuple(row or ()) == (pid, user, "")


async def test_owner_is_bound_too(loop: None, postgres_url: str, database: Database) -> None:
    """An ordinary owner of the tables, who forgot to take a role, sees nothing either: security is forced."""
    await two_tenants(database)
    admin = await aio(asyncpg.connect, postgres_url)
    try:
        await aio(
            admin.execute,
            "DROP ROLE IF EXISTS plain_owner; CREATE ROLE plain_owner NOLOGIN;"
            "ALTER TABLE calls OWNER TO plain_owner; SET ROLE plain_owner",
        )
        assert await aio(admin.fetchval, "SELECT count(*) FROM calls") == 0
        await aio(admin.execute, "RESET ROLE; ALTER TABLE calls OWNER TO invorto; DROP ROLE plain_owner")
    finally:
        await aio(admin.close)
