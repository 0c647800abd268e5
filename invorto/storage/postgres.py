"""PostgreSQL as units of work: one transaction, one role, one tenant, and nothing leaks however it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import attrs
import msgspec
import structlog
import trio

from invorto.errors import Invalid, StoreUnavailable, UsageError
from invorto.storage.aio import aio

log = structlog.get_logger(__name__)

type Record = Any
"""One row, by name or by place: an `asyncpg.Record`."""


@attrs.frozen
class Deadlines:
    """How long PostgreSQL may take for what no caller bounds; seconds."""

    connect: float = 5.0
    commit: float = 5.0
    """After it nobody knows whether the unit was kept."""
    release: float = 2.0
    """To roll back; after it the connection is dropped, which does the same."""
    close: float = 2.0


DEADLINES = Deadlines()

_AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.ReadOnlySQLTransactionError,  # what was the primary is now a replica
    asyncpg.InternalClientError,  # a connection whose server died in mid-sentence
    asyncpg.DeadlockDetectedError,  # nobody's fault: it works when done again
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)


@contextmanager
def unreachable() -> Iterator[None]:
    """Turn what says that PostgreSQL is away, or lets nobody in, into `StoreUnavailable`."""
    try:
        yield
    except _AWAY as error:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {_said(error)}") from error
    except asyncpg.InterfaceError as error:
        # "connection is closed", "pool is closing", "released back to the pool": else it is a mistake of ours.
        if "clos" not in str(error) and "released" not in str(error):
            raise
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {_said(error)}") from error
    except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError) as error:
        raise Invalid("text holds a character that cannot be kept") from error
    except asyncpg.DataError as error:
        if not isinstance(error.__cause__, UnicodeError):
            raise
        raise Invalid("text holds a character that cannot be kept") from error


def _said(error: BaseException) -> str:
    return str(error) or ("it did not answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


class Work:
    """One unit of work: what is done in it is kept as a whole when its block ends well, or not at all."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: object) -> list[Record]:
        """Give all rows."""
        with unreachable():
            return await aio(self._connection.fetch, sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> Record | None:
        """Give the first row, or None."""
        with unreachable():
            return await aio(self._connection.fetchrow, sql, *args)

    async def one(self, sql: str, *args: object) -> Record:
        """Give the row, for what always gives one."""
        row = await self.fetchrow(sql, *args)
        if row is None:
            raise RuntimeError(f"no row from: {sql}")
        return row

    async def fetchval(self, sql: str, *args: object) -> Any:
        """Give the first value of the first row, or None."""
        with unreachable():
            return await aio(self._connection.fetchval, sql, *args)

    async def execute(self, sql: str, *args: object) -> str:
        """Do it; give the command's tag, such as ``UPDATE 1``."""
        with unreachable():
            return await aio(self._connection.execute, sql, *args)

    async def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Do it once for each of *rows*, in one round trip."""
        with unreachable():
            await aio(self._connection.executemany, sql, rows)


class Database:
    """A pool of connections, given out one unit of work at a time."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def __repr__(self) -> str:
        return f"<Database: {self._pool.get_idle_size()} idle of {self._pool.get_size()} connections>"

    def tenant(self, tenant_id: str) -> AbstractAsyncContextManager[Work]:
        """Begin a unit of work that sees and changes the rows of one tenant only."""
        quoted = tenant_id.replace("\0", "").replace("'", "''")
        return self._unit(f"BEGIN; SET LOCAL ROLE invorto_tenant; SET LOCAL invorto.tenant = '{quoted}'")

    def _system(self) -> AbstractAsyncContextManager[Work]:
        """Begin a unit of work over all tenants; for `storage.system` alone."""
        return self._unit("BEGIN; SET LOCAL ROLE invorto_system")

    async def version(self) -> str:
        """Give the server's version."""
        return str(await self._once("SHOW server_version"))

    async def ping(self) -> float:
        """Ask for an answer; give the seconds that it took."""
        began = trio.current_time()
        await self._once("SELECT 1")
        return trio.current_time() - began

    @asynccontextmanager
    async def _unit(self, opening: str) -> AsyncIterator[Work]:
        # Borrowing, BEGIN and the role are one crossing: what is cancelled in the middle of it is given back there.
        with unreachable():
            connection = await aio(self._begin, opening)
        work = Work(connection)
        try:
            yield work
        except BaseException:
            with trio.CancelScope(shield=True):  # the deadline is inside, where the connection can be dropped
                await aio(self._roll_back, connection)
            raise
        with trio.CancelScope(shield=True), unreachable():
            await aio(self._commit, connection)

    async def _once(self, sql: str) -> Any:
        async def ask() -> Any:
            connection = await self._begin("BEGIN")
            try:
                return await connection.fetchval(sql)
            finally:
                await self._roll_back(connection)  # noqa: ASYNC102 - it has a deadline, and asyncio no shields

        with unreachable():
            return await aio(ask)

    # What follows runs in asyncio.

    async def _begin(self, opening: str) -> Any:
        for stale in range(self._pool.get_max_size(), -1, -1):
            connection = await self._pool.acquire()
            try:
                await connection.execute(opening)
            except (*_AWAY, asyncpg.InterfaceError):
                _drop(connection)
                # A server that was restarted leaves a pool of dead connections: nothing was done yet, so try the next.
                if not stale:
                    raise
            except BaseException:
                _drop(connection)
                raise
            else:
                return connection
        raise AssertionError  # pragma: no cover

    async def _commit(self, connection: Any) -> None:
        try:
            async with asyncio.timeout(DEADLINES.commit):
                tag = await connection.execute("COMMIT")
        except BaseException:
            _drop(connection)
            raise
        await self._release(connection)
        if tag != "COMMIT":
            raise RuntimeError("a unit of work went on after an error of PostgreSQL: nothing of it is kept")

    async def _roll_back(self, connection: Any) -> None:
        try:
            async with asyncio.timeout(DEADLINES.release):
                await connection.execute("ROLLBACK")
        except Exception as error:  # noqa: BLE001 - whatever it was, the unit is undone and its own error tells why
            log.debug("connection_dropped", error=_said(error))
            _drop(connection)
        else:
            await self._release(connection)

    async def _release(self, connection: Any) -> None:
        try:
            await self._pool.release(connection, timeout=DEADLINES.release)
        except Exception as error:  # noqa: BLE001 - the unit is over: the next one gets another connection
            log.debug("connection_dropped", error=_said(error))
            _drop(connection)


def _drop(connection: Any) -> None:
    """Close a borrowed connection at once, which gives its place back to the pool."""
    with suppress(asyncpg.InterfaceError):  # it was lost, and its place is back already
        connection.terminate()


@asynccontextmanager
async def open_database(url: str, pool_size: int) -> AsyncIterator[Database]:
    """
    Open a pool of up to *pool_size* connections for the length of the block; the loop must run.

    Errors: `UsageError` when the URL is none, `StoreUnavailable` when there is no answer.
    """
    pool: Any = asyncpg.create_pool(
        url, min_size=0, max_size=pool_size, timeout=DEADLINES.connect, init=_prepare, reset=_reset,
        # A lifetime is a timer at each release, and trio-asyncio keeps cancelled ones until they are due: 12 KB a call.
        max_inactive_connection_lifetime=0,
        server_settings={"application_name": "invorto", "standard_conforming_strings": "on"},  # units quote by it
    )  # fmt: skip
    database = Database(pool)
    try:
        with _understood():
            await aio(pool._async__init__)  # noqa: SLF001 - `await pool`, for a caller that is not asyncio
            await database.ping()
        yield database
    finally:
        with trio.CancelScope(shield=True):
            await aio(_close, pool)


@contextmanager
def _understood() -> Iterator[None]:
    try:
        with unreachable():
            yield
    except (asyncpg.InterfaceError, ValueError) as error:
        raise UsageError(f"DB_URL is not understood: {error}") from error


async def connect(url: str) -> Any:
    """Open one connection outside any pool, for migrations and the like; `disconnect` closes it."""
    with _understood():
        return await aio(asyncpg.connect, url, timeout=DEADLINES.connect)


async def disconnect(connection: Any) -> None:
    """Close *connection*, whatever state it is in."""

    async def close() -> None:
        try:
            await connection.close(timeout=DEADLINES.close)
        except Exception:  # noqa: BLE001 - closed by force instead
            connection.terminate()

    with trio.CancelScope(shield=True):
        await aio(close)


async def _close(pool: Any) -> None:
    try:
        async with asyncio.timeout(DEADLINES.close):
            await pool.close()
    except Exception as error:  # noqa: BLE001 - closed by force instead
        log.warning("pool_closed_by_force", error=_said(error))
    finally:
        pool.terminate()


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),  # pyright: ignore[reportUnknownLambdaType]
        decoder=lambda data: msgspec.json.decode(memoryview(data)[1:]),  # pyright: ignore[reportUnknownLambdaType]
    )  # fmt: skip


async def _reset(_: Any) -> None:
    """Do nothing between units: all that they set is LOCAL, and a round trip a unit is saved."""
