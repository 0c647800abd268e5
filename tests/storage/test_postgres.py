"""Units of work: kept whole or not at all, and nothing leaks, whoever is cancelled and whatever dies."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
import trio

from invorto.errors import Invalid, StartFailed, StoreUnavailable, UsageError
from invorto.storage.aio import aio
from invorto.storage.embedded import open_stores
from invorto.storage.migrate import migrate
from invorto.storage.postgres import Database, open_database

ADD = (
    "INSERT INTO agents (id, tenant_id, name, status, version, document)"
    " VALUES ($1, 't_default', $1, 'active', 1, '{}')"
)


async def count(db: Database) -> int:
    """Count the default tenant's agents, in a unit of work."""
    async with db.tenant("t_default") as work:
        return await work.fetchval("SELECT count(*) FROM agents")


async def sessions(url: str, *, state: str) -> int:
    """Count what the server does for the pool, as somebody else sees it."""
    connection = await aio(asyncpg.connect, url)
    try:
        return await aio(
            connection.fetchval,
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'invorto' AND state = $1",
            state,
        )
    finally:
        await aio(connection.close)


async def test_database_answers(database: Database) -> None:
    """`invorto check` can tell the version, and how long an answer takes."""
    assert int((await database.version()).split(".")[0]) >= 14
    assert 0 < await database.ping() < 1
    assert "of 1 connections" in repr(database)


async def test_unit_is_kept_whole(database: Database) -> None:
    """What is done in a unit of work that ends well is kept."""
    async with database.tenant("t_default") as work:
        await work.execute(ADD, "a_1")
        await work.execute(ADD, "a_2")
        assert await work.fetchval("SELECT count(*) FROM agents") == 2
    assert await count(database) == 2


async def test_unit_that_fails_leaves_nothing(database: Database) -> None:
    """An error anywhere in a unit of work undoes all of it, and reaches the caller as it was raised."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the unit is what is tested
        async with database.tenant("t_default") as work:
            await work.execute(ADD, "a_1")
            raise ZeroDivisionError
    assert await count(database) == 0


async def test_swallowed_error_is_not_taken_for_success(database: Database) -> None:
    """A unit that goes on after an error of PostgreSQL says that nothing was kept, since PostgreSQL does not."""
    with pytest.raises(RuntimeError, match="nothing of it is kept"):  # noqa: PT012
        async with database.tenant("t_default") as work:
            await work.execute(ADD, "a_1")
            with pytest.raises(asyncpg.UndefinedTableError):
                await work.execute("SELECT * FROM nowhere")
    assert await count(database) == 0


async def test_json_keeps_its_shape(database: Database) -> None:
    """What is stored as JSON comes back equal: nesting, nulls, numbers, scripts."""
    value = {"a": [1, 2.5, None, True, {"नमस्ते": "🙂"}], "": {}, "big": 2**53, "text": 'quote " backslash \\'}
    async with database.tenant("t_default") as work:
        assert await work.fetchval("SELECT $1::jsonb", value) == value


@pytest.mark.parametrize("text", ["a\0b", "\ud800", ["\0"], {"\0": 1}])
async def test_text_that_cannot_be_kept_is_refused(database: Database, text: object) -> None:
    """NUL characters and half surrogates are the sender's fault, and harm nothing."""
    with pytest.raises(Invalid, match="cannot be kept"):  # noqa: PT012
        async with database.tenant("t_default") as work:
            if isinstance(text, str):
                await work.fetchval("SELECT $1::text", text)
            else:
                await work.fetchval("SELECT $1::jsonb", text)
    assert await count(database) == 0


async def test_tenant_is_quoted(database: Database) -> None:
    """A tenant's id from outside cannot become SQL."""
    for name in ("'; DROP TABLE agents; --", "\\'; SELECT 1; --", "\0", "x" * 10_000, ""):
        async with database.tenant(name) as work:
            assert await work.fetchval("SELECT count(*) FROM tenants") == 0
    assert await count(database) == 0


class CancelAt(trio.abc.Instrument):
    """Cancels a scope at the nth step that any task takes."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.left, self.scope = step, scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if not self.left:
            self.scope.cancel()


@pytest.mark.parametrize("connected", [True, False])
async def test_cancelled_at_each_step_leaks_nothing(loop: None, postgres_url: str, connected: bool) -> None:
    """
    A unit of work that is cancelled at any step is kept whole or not at all.

    Its connection is back in the pool or gone, and the server holds no transaction of it.
    """
    async with open_database(postgres_url, 2) as database:
        step = 0
        for step in itertools.count(1):
            instrument = CancelAt(step, trio.CancelScope())
            if not connected:
                await aio(database._pool.expire_connections)
            before = await count(database) if connected else 0
            finished = False
            with instrument.scope:
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with database.tenant("t_default") as work:
                        await work.execute(ADD, f"a_{step}")
                        await work.execute("UPDATE agents SET status = 'draft' WHERE id = $1", f"a_{step}")
                    finished = True
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            if connected:
                assert await count(database) - before in ({1} if finished else {0, 1})
            assert database._pool.get_size() - database._pool.get_idle_size() == 0
            if instrument.left > 0:
                break
        assert step > 10, "the steps were not seen"
        async with database.tenant("t_default"), database.tenant("t_default") as work:
            assert await work.fetchval("SELECT count(*) FROM agents WHERE status <> 'draft'") == 0
        assert await sessions(postgres_url, state="idle in transaction") == 0


async def test_cancelled_query_stops_on_the_server(loop: None, postgres_url: str) -> None:
    """A caller who gives up takes their query along: a pool of one is free again at once."""
    async with open_database(postgres_url, 1) as database:
        for _ in range(3):
            began = trio.current_time()
            with trio.move_on_after(0.05) as scope:
                async with database.tenant("t_default") as work:
                    await work.execute("SELECT pg_sleep(30)")
            assert scope.cancelled_caught
            assert await count(database) == 0
            assert trio.current_time() - began < 1.5
        assert await sessions(postgres_url, state="active") == 0


async def test_waiting_for_a_connection_can_be_given_up(loop: None, postgres_url: str) -> None:
    """When the pool is empty a caller waits as long as they like, and those who gave up lose nothing."""
    async with open_database(postgres_url, 1) as database:
        async with database.tenant("t_default"):
            for _ in range(5):
                with trio.move_on_after(0.01) as scope:
                    await count(database)
                assert scope.cancelled_caught
        assert await count(database) == 0


async def test_server_that_hangs_holds_nobody(loop: None, tmp_path: Path) -> None:
    """A server that stops answering costs a caller their own deadline and a little more; closing does not hang."""
    async with open_stores(tmp_path / "data") as urls:
        await migrate(urls.db_url)
        pid = int((tmp_path / "data/stores/pg/postmaster.pid").read_text().split()[0])
        victims, began = [pid], 0.0
        try:
            async with open_database(urls.db_url, 2) as database:
                scope = trio.CancelScope()
                with scope:
                    async with database.tenant("t_default") as work:
                        victims.append(await work.fetchval("SELECT pg_backend_pid()"))
                        for victim in victims:
                            os.kill(victim, signal.SIGSTOP)
                        began = trio.current_time()
                        scope.deadline = began + 0.2
                        await work.execute("SELECT 1")
                assert scope.cancelled_caught
                assert trio.current_time() - began < 0.2 + 2.5
                with trio.move_on_after(0.2) as scope:
                    await count(database)
                assert scope.cancelled_caught
            closed = trio.current_time() - began
            assert closed < 8
        finally:
            for victim in victims:
                os.kill(victim, signal.SIGCONT)


async def test_killed_and_back(loop: None, tmp_path: Path) -> None:
    """
    When PostgreSQL dies hard every unit fails at once with `StoreUnavailable`.

    The first unit after it is back works, though the pool is full of dead connections.
    """
    folder, database = tmp_path / "data", None
    async with AsyncExitStack() as stack:
        with pytest.raises(StartFailed, match=r"PostgreSQL ended .*postgres\.log"):  # noqa: PT012
            async with open_stores(folder) as urls:
                await migrate(urls.db_url)
                database = await stack.enter_async_context(open_database(urls.db_url, 3))
                async with database.tenant("t_default") as work, database.tenant("t_default") as other:
                    await work.execute(ADD, "a_1")
                    await other.execute(ADD, "a_2")
                with pytest.raises(StoreUnavailable):  # noqa: PT012
                    async with database.tenant("t_default") as work:
                        await work.execute(ADD, "a_3")
                        os.kill(int((folder / "stores/pg/postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                        with trio.fail_after(5):
                            while True:
                                await work.execute("SELECT 1")
                await trio.sleep_forever()
        assert database is not None
        for _ in range(3):
            began = trio.current_time()
            with pytest.raises(StoreUnavailable):
                await count(database)
            assert trio.current_time() - began < 0.5
        async with open_stores(folder):
            assert await count(database) == 2


async def test_pool_of_dead_connections_is_no_failure(loop: None, postgres_url: str) -> None:
    """After the server closed every connection behind our back the very next unit of work succeeds."""
    async with open_database(postgres_url, 3) as database:
        async with database.tenant("a") as one, database.tenant("b") as two, database.tenant("c") as three:
            backends = [await work.fetchval("SELECT pg_backend_pid()") for work in (one, two, three)]
        for backend in backends:
            os.kill(backend, signal.SIGTERM)
        time.sleep(0.2)  # noqa: ASYNC251 - the loop must not get to hear of it
        assert await count(database) == 0
        assert database._pool.get_size() == 1


async def test_backend_that_crashes_is_survived(loop: None, tmp_path: Path) -> None:
    """A crash of one backend restarts PostgreSQL under us: some units fail, and it goes on by itself."""
    async with open_stores(tmp_path / "data") as urls:
        await migrate(urls.db_url)
        async with open_database(urls.db_url, 3) as database:
            async with database.tenant("t_default"), database.tenant("t_default") as work:
                backend = await work.fetchval("SELECT pg_backend_pid()")
            os.kill(backend, signal.SIGKILL)
            with trio.fail_after(15):
                while True:
                    try:
                        assert await count(database) == 0
                        break
                    except StoreUnavailable:
                        await trio.sleep(0.02)


async def test_connection_held_too_long_does_not_hang_the_end(loop: None, postgres_url: str) -> None:
    """Closing waits two seconds for what is still borrowed, then closes it by force."""
    began = trio.current_time()
    async with open_database(postgres_url, 2) as database:
        await aio(database._pool.acquire)
    assert trio.current_time() - began < 4


@pytest.mark.parametrize(
    "url", ["postgresql://x:notaport/y", "postgresql://h/d?sslmode=perhaps", "not a url"], ids=["port", "ssl", "none"]
)
async def test_url_that_is_none_is_the_users_to_mend(loop: None, url: str) -> None:
    """A DB_URL that cannot be understood is named, in one sentence."""
    with pytest.raises(UsageError, match="DB_URL"):
        async with open_database(url, 1):
            pass
    with pytest.raises(UsageError, match="DB_URL"):
        await migrate(url)


async def test_nobody_there_is_said_quickly(loop: None, stores, tmp_path: Path) -> None:
    """No server, no database or a closed door: `StoreUnavailable`, at once, with what was said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    urls = {
        f"postgresql://nobody@127.0.0.1:{port}/x": "refused|Connect call failed|cannot be reached",
        f"postgresql:///postgres?host={tmp_path}&user=x": "cannot be reached",
        stores.db_url.replace("///postgres", "///no_such_database"): "no_such_database",
        stores.db_url.replace("user=invorto", "user=no_such_user"): "no_such_user",
    }
    for url, said in urls.items():
        began = trio.current_time()
        with pytest.raises(StoreUnavailable, match=said):
            async with open_database(url, 1):
                pass
        with pytest.raises(StoreUnavailable, match=said):
            await migrate(url)
        assert trio.current_time() - began < 2
