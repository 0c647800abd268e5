"""What every test is given: a guard against leaks, and real stores of its own."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import attrs
import pytest
import trio

from invorto.observability.logs import set_up_logs
from invorto.storage.aio import open_loop
from invorto.storage.embedded import StoreUrls
from invorto.storage.migrate import migrate
from invorto.storage.postgres import Database, open_database

set_up_logs("info", "json")  # tracebacks as a server writes them: structlog's own take seconds each

# -- nothing is left behind -----------------------------------------------------------------------


@attrs.frozen
class Handles:
    """What a process holds that ought to be given back."""

    descriptors: frozenset[tuple[int, str]]
    threads: frozenset[threading.Thread]
    children: frozenset[int]

    @classmethod
    def now(cls) -> Handles:
        """Count what is held now."""
        threads = {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}
        return cls(frozenset(_descriptors()), frozenset(threads), frozenset(_children(os.getpid())))

    def beyond(self, before: Handles) -> str:
        """Say what is held that was not held *before*; empty: nothing."""
        new = {
            "descriptors": sorted(self.descriptors - before.descriptors),
            "threads": sorted(thread.name for thread in self.threads - before.threads),
            "children": sorted(f"{pid} {_command(pid)}" for pid in self.children - before.children),
        }
        return ", ".join(f"{kind}: {things}" for kind, things in new.items() if things)


def _descriptors() -> Iterator[tuple[int, str]]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            yield int(descriptor.name), str(descriptor.readlink())


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in map(int, (thread / "children").read_text().split()):
                    yield child
                    yield from _children(child)


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()[:80]
    return "(gone)"


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves descriptors, threads or child processes behind; Trio's cached threads may stay."""
    for name in ("stores", "template"):  # what belongs to the session starts before the count
        if name in request.fixturenames:
            request.getfixturevalue(name)
    gc.collect()
    gc.freeze()  # what outlived earlier tests belongs to the session: looking at it again costs more than most tests
    before = Handles.now()
    yield
    gc.collect()  # what was dropped unclosed warns here, in the test that dropped it
    patience = time.monotonic() + 1.0
    while (left := Handles.now().beyond(before)) and time.monotonic() < patience:
        time.sleep(0.01)  # the kernel takes a moment to bury a process and to close its pipes
    if left:
        pytest.fail(f"left behind: {left}", pytrace=False)


def _system_tasks() -> set[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return {task for nursery in root.child_nurseries for task in nursery.child_tasks}


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a Trio test whose body leaves a task alive outside its own nurseries: a system task."""
    if isinstance(item, pytest.Function) and item.get_closest_marker("trio") and not hasattr(item.obj, "hypothesis"):
        item.obj = _without_strays(item.obj)
    return (yield)


def _without_strays(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @wraps(test)
    async def guarded(*args: Any, **kwargs: Any) -> None:
        before = _system_tasks()
        await test(*args, **kwargs)
        strays = sorted(task.name for task in _system_tasks() - before)
        assert not strays, f"tasks left behind: {strays}"

    return guarded


# -- real stores ----------------------------------------------------------------------------------

_NUMBER = itertools.count(1)


@pytest.fixture(scope="session")
def stores() -> Iterator[StoreUrls]:
    """Run a PostgreSQL and a Redis for the session, in a temporary folder, in a process that ends with this one."""
    argv = [sys.executable, "-m", "invorto.storage.embedded"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        line = process.stdout.readline()
        assert line, "the stores did not start: see above"
        yield StoreUrls(**json.loads(line))
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.fixture(scope="session")
def template(stores: StoreUrls) -> str:
    """Make the database that others are copied from, migrated; give its name."""
    asyncio.run(_sql(stores.db_url, "CREATE DATABASE invorto_template"))
    trio.run(_migrated, _named(stores.db_url, "invorto_template"))
    return "invorto_template"


@pytest.fixture
def postgres_url(stores: StoreUrls, template: str) -> Iterator[str]:
    """Give the URL of a database of this test's own, migrated and empty (20 ms)."""
    yield from _fresh(stores, f"TEMPLATE {template}")


@pytest.fixture
def bare_postgres_url(stores: StoreUrls) -> Iterator[str]:
    """Give the URL of a database of this test's own, without a table."""
    yield from _fresh(stores, "")


@pytest.fixture
def redis_url(stores: StoreUrls) -> str:
    """Give the URL of the session's Redis, emptied."""
    with socket.socket(socket.AF_UNIX) as redis:
        redis.connect(unquote(urlsplit(stores.redis_url).path))
        redis.sendall(b"FLUSHALL\r\n")
        assert redis.recv(16) == b"+OK\r\n"
    return stores.redis_url


@pytest.fixture
async def loop() -> AsyncIterator[None]:
    """Run the asyncio loop: first among the fixtures of a test that uses a store."""
    async with open_loop():
        yield


@pytest.fixture
async def database(loop: None, postgres_url: str) -> AsyncIterator[Database]:
    """Give a migrated, empty database with a pool of four, and the loop it needs."""
    async with open_database(postgres_url, 4) as opened:
        yield opened


def _fresh(stores: StoreUrls, options: str) -> Iterator[str]:
    name = f"test_{next(_NUMBER)}"
    asyncio.run(_sql(stores.db_url, f"CREATE DATABASE {name} {options}"))
    yield _named(stores.db_url, name)
    asyncio.run(_sql(stores.db_url, f"DROP DATABASE {name} WITH (FORCE)"))


def _named(url: str, database: str) -> str:
    return url.replace("///postgres?", f"///{database}?")


async def _sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _migrated(url: str) -> None:
    async with open_loop():
        await migrate(url)
