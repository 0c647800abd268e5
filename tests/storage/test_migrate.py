"""Migrations are applied once, whole or not at all, over what is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import asyncpg
import pytest
import trio

from invorto.errors import StartFailed
from invorto.storage import agents, calls, ledger_rows, tenants
from invorto.storage.aio import aio
from invorto.storage.migrate import Migration, migrate, pending, shipped
from invorto.storage.postgres import Database, open_database
from tests.storage.nouns import a_call, an_agent, finished

FIRST = Migration("0001_first.sql", "CREATE TABLE one (n int); INSERT INTO one VALUES (1)")
SECOND = Migration("0002_second.sql", "CREATE TABLE two (n int);\nINSERT INTO two VALUES (2)")
BROKEN = Migration("0003_broken.sql", "CREATE TABLE three (n int);\nDROP TABLE two;\nINSERT INTO three VALUES ('x')")


@asynccontextmanager
async def plain(url: str) -> AsyncIterator[Any]:
    """Open a connection as the user of the URL."""
    connection = await aio(asyncpg.connect, url)
    try:
        yield connection
    finally:
        await aio(connection.close)


async def names(url: str) -> set[str]:
    """Give the tables there are."""
    async with plain(url) as connection:
        rows = await aio(connection.fetch, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row[0] for row in rows}


async def test_each_is_applied_once(loop: None, bare_postgres_url: str) -> None:
    """A new database gets all migrations in order; then there is nothing to do; a newer version adds its own."""
    assert await pending(bare_postgres_url, [FIRST]) == [FIRST.name]
    assert await names(bare_postgres_url) == set()
    assert await migrate(bare_postgres_url, [FIRST]) == [FIRST.name]
    assert await migrate(bare_postgres_url, [FIRST]) == []
    assert await pending(bare_postgres_url, [FIRST, SECOND]) == [SECOND.name]
    assert await migrate(bare_postgres_url, [FIRST, SECOND]) == [SECOND.name]
    assert await pending(bare_postgres_url, [FIRST, SECOND]) == []
    assert await migrate(bare_postgres_url, [FIRST]) == [], "an older version beside it finds nothing to do"
    async with plain(bare_postgres_url) as connection:
        assert await aio(connection.fetchval, "SELECT sum(n) FROM one") == 1


async def test_broken_one_changes_nothing(loop: None, bare_postgres_url: str) -> None:
    """A migration that fails says which file, what and where; it leaves no trace, and those before it stay."""
    after = Migration("0004_after.sql", "CREATE TABLE four ()")
    with pytest.raises(StartFailed, match=r"0003_broken\.sql failed and changed nothing: invalid input .*\(at char"):
        await migrate(bare_postgres_url, [FIRST, SECOND, BROKEN, after])
    assert await names(bare_postgres_url) == {"migrations", "one", "two"}
    assert await pending(bare_postgres_url, [FIRST, SECOND, BROKEN]) == [BROKEN.name]
    mended = Migration(BROKEN.name, "CREATE TABLE three (n int)")
    assert await migrate(bare_postgres_url, [FIRST, SECOND, mended]) == [BROKEN.name]


async def test_changed_history_is_refused(loop: None, bare_postgres_url: str) -> None:
    """A file that was edited after it was applied is named, and nothing more is applied."""
    await migrate(bare_postgres_url, [FIRST])
    edited = Migration(FIRST.name, FIRST.sql + ";")
    for way in (migrate, pending):
        with pytest.raises(StartFailed, match=r"0001_first\.sql was applied with other contents"):
            await way(bare_postgres_url, [edited, SECOND])
    assert "two" not in await names(bare_postgres_url)


async def test_many_at_once_apply_once(loop: None, bare_postgres_url: str) -> None:
    """Nodes that start together migrate together: one does the work, the others wait and find it done."""
    applied: list[str] = []

    async def start() -> None:
        applied.extend(await migrate(bare_postgres_url))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(start)
    assert applied == [migration.name for migration in shipped()]


async def test_cancelled_leaves_no_lock(loop: None, bare_postgres_url: str) -> None:
    """A migration that is interrupted at any moment can be begun again at once, and ends whole."""
    for delay in (0.005, 0.01, 0.02, 0.03, 0.05):
        with trio.move_on_after(delay):
            await migrate(bare_postgres_url)
        with trio.fail_after(5):
            await pending(bare_postgres_url)
    with trio.fail_after(5):
        await migrate(bare_postgres_url)
    assert await pending(bare_postgres_url) == []


async def test_shipped_ones_replay_over_data(loop: None, bare_postgres_url: str) -> None:
    """Each migration is applied to a database that is in use: what was written before it is read after it."""
    ours = shipped()
    last_with_calls = next(place for place, one in enumerate(ours) if "outbox" in one.name) + 1
    await migrate(bare_postgres_url, ours[:last_with_calls])
    async with open_database(bare_postgres_url, 2) as database:
        agent = await an_agent(database)
        record = finished(await a_call(database, agent))
        assert await ledger_rows.write(database, record)
        live = await a_call(database, agent)
        for place in range(last_with_calls, len(ours) + 1):
            await migrate(bare_postgres_url, ours[:place])
            await check_data(database, live.id, record.call_id)


async def check_data(database: Database, live: str, over: str) -> None:
    """Read what was written, and write more."""
    kept = await calls.detail(database, tenants.DEFAULT_TENANT, over)
    assert kept["call"].status.terminal
    assert len(await calls.transcript(database, tenants.DEFAULT_TENANT, over)) == 3
    assert not (await calls.get(database, tenants.DEFAULT_TENANT, live)).status.terminal
    agent = await agents.get(database, tenants.DEFAULT_TENANT, "Desk")
    assert await ledger_rows.write(database, finished(await a_call(database, agent)))


async def test_ordinary_user_can_migrate_and_work(loop: None, stores, bare_postgres_url: str) -> None:
    """The user of DB_URL needs no superuser: to own the database and to make roles is enough."""
    database = bare_postgres_url.split("///")[1].split("?", maxsplit=1)[0]
    async with plain(stores.db_url) as admin:
        await aio(admin.execute, "DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN CREATEROLE")
        members = await aio(admin.fetch, "SELECT rolname FROM pg_roles WHERE rolname LIKE 'invorto\\_%'")
        for (name,) in members:  # made by another migration of this server: whoever makes a role may grant it
            await aio(admin.execute, f"GRANT {name} TO plain WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        await aio(admin.execute, f"ALTER DATABASE {database} OWNER TO plain")
    url = bare_postgres_url.replace("user=invorto", "user=plain")
    try:
        assert await migrate(url) == [migration.name for migration in shipped()]
        async with open_database(url, 2) as opened:
            call = await a_call(opened, await an_agent(opened))
            assert await ledger_rows.write(opened, finished(call))
            assert await calls.whose(opened, call.id) == tenants.DEFAULT_TENANT
            async with opened._unit("BEGIN") as work:
                assert await work.fetchval("SELECT count(*) FROM calls") == 0
    finally:
        async with plain(stores.db_url) as admin:
            await aio(admin.execute, f"ALTER DATABASE {database} OWNER TO invorto")
        async with plain(bare_postgres_url) as admin:
            await aio(admin.execute, "REASSIGN OWNED BY plain TO invorto; DROP OWNED BY plain; DROP ROLE plain")


def test_shipped_files_are_in_order() -> None:
    """Every SQL file of the package is a migration, numbered, and none commits by itself."""
    folder = resources.files("invorto.storage") / "migrations"
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    ours = shipped()
    assert [migration.name for migration in ours] == files
    numbers = [int(name[:4]) for name in files]
    assert numbers == sorted(set(numbers)), "two have the same number"
    for migration in ours:
        words = migration.sql.upper().replace("BEGIN\n", " ").split(";")
        assert not any(word.strip() in {"COMMIT", "ROLLBACK", "BEGIN"} for word in words), migration.name
