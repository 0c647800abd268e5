"""Numbered SQL files, each applied once, in its own transaction, under one lock for all who migrate."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import asyncpg
import attrs

from invorto.errors import StartFailed
from invorto.storage.aio import aio
from invorto.storage.postgres import connect, disconnect, unreachable

_LOCK = 0x49_4E_56_4F_52_54_4F
"""The number of the advisory lock: the name, in ASCII."""
_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")


@attrs.frozen
class Migration:
    """One file: *name* orders, *checksum* tells whether what was applied is what we have."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """Give the migrations that come with this version, in order."""
    folder = resources.files("invorto.storage") / "migrations"
    files = sorted((file for file in folder.iterdir() if _NAME.fullmatch(file.name)), key=lambda file: file.name)
    return tuple(Migration(file.name, file.read_text(encoding="utf-8")) for file in files)


async def migrate(url: str, migrations: Iterable[Migration] | None = None) -> list[str]:
    """
    Bring the database up to date; give the names of what was applied.

    Whoever migrates at the same time waits, then finds nothing to do. A migration that fails changes nothing, and
    those before it stay: `StartFailed` names the file and says what PostgreSQL said. `StoreUnavailable` when it
    cannot be reached.
    """
    ours = shipped() if migrations is None else tuple(migrations)
    async with _connection(url) as connection:
        return await aio(_apply, connection, ours)


async def pending(url: str, migrations: Iterable[Migration] | None = None) -> list[str]:
    """Give the names of what `migrate` would apply, changing nothing; `StartFailed` where history differs."""
    ours = shipped() if migrations is None else tuple(migrations)
    async with _connection(url) as connection:
        done = await aio(_applied, connection)
    return [migration.name for migration in _missing(ours, done)]


@asynccontextmanager
async def _connection(url: str) -> AsyncIterator[Any]:
    connection = await connect(url)
    try:
        with unreachable():
            yield connection
    finally:
        await disconnect(connection)  # noqa: ASYNC102 - it has both


async def _applied(connection: Any) -> dict[str, str]:
    if await connection.fetchval("SELECT to_regclass('public.migrations')") is None:
        return {}
    return dict(await connection.fetch("SELECT name, checksum FROM public.migrations"))


def _missing(ours: tuple[Migration, ...], done: dict[str, str]) -> list[Migration]:
    for migration in ours:
        if done.get(migration.name, migration.checksum) != migration.checksum:
            raise StartFailed(f"migration {migration.name} was applied with other contents: restore the file")
    # What a newer version applied is left alone: versions N and N + 1 run side by side.
    return [migration for migration in ours if migration.name not in done]


async def _apply(connection: Any, ours: tuple[Migration, ...]) -> list[str]:
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)  # given back when the connection closes
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS public.migrations"
        " (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
    )
    missing = _missing(ours, await _applied(connection))
    for migration in missing:
        try:
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO public.migrations (name, checksum) VALUES ($1, $2)", migration.name, migration.checksum
                )
        except asyncpg.PostgresConnectionError:
            raise
        except asyncpg.PostgresError as error:
            raise StartFailed(f"migration {migration.name} failed and changed nothing: {_said(error)}") from error
    return [migration.name for migration in missing]


def _said(error: asyncpg.PostgresError) -> str:
    position = getattr(error, "position", None)
    return f"{error} (at character {position})" if position else str(error)
