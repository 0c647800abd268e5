"""A real PostgreSQL and a real Redis as children of ours, in a folder of ours: `invorto dev` and the tests use them."""

from __future__ import annotations

import argparse
import fcntl
import functools
import json
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import attrs
import trio

from invorto.errors import InvortoError, StartFailed, UsageError
from invorto.storage.binaries import Programs, find_programs
from invorto.storage.children import Program, open_child, run_to_end, unprivileged

_SOCKET_ROOM = 107
"""Bytes that fit in the address of a Unix socket."""
_LOG_ROOM = 4 * 1024 * 1024
"""Bytes of a log after which the next start begins a new one, keeping the last."""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-")
"""What may stand in a socket's path without meaning something to a client's parser of URLs."""


@attrs.frozen
class StoreUrls:
    """How clients of this process and its children reach the stores."""

    db_url: str
    redis_url: str


@asynccontextmanager
async def open_stores(
    folder: Path,
    *,
    progress: Callable[[str], None] = lambda _: None,
    use_system: bool = False,
    durable: bool = True,
) -> AsyncIterator[StoreUrls]:
    """
    Run both stores for the length of the block, with their data in *folder*; PostgreSQL stops last.

    *progress* hears what is being done, a line each. With *use_system* the servers on PATH are preferred. What is not
    *durable* survives a crash of the stores, not one of the machine, and is quicker. Errors: `UsageError` (folder in
    use or unusable, nothing installed) and `StartFailed` (a store does not start, or dies while the block runs, which
    cancels the block).
    """
    if sys.platform != "linux":
        raise UsageError("the embedded stores need Linux: run PostgreSQL and Redis and set DB_URL and REDIS_URL")
    folder = folder.absolute()  # noqa: ASYNC240 - files are looked at before anything is served
    who = unprivileged()
    async with _owned(folder) as lock:
        try:
            programs = find_programs(who, use_system=use_system)
            # A folder of its own, since who runs the stores must enter it and may not be who owns the rest.
            place = _private(folder / "stores", who)
            sockets = _private(place / "s", who)
            _private(place / "redis", who)
            for log in (folder / "postgres.log", folder / "redis.log"):
                _turn(log)
            _check_version(place / "pg", programs)
        except OSError as error:
            raise _unusable(folder, error) from error
        with _reach(sockets) as reach:
            if not (place / "pg" / "PG_VERSION").exists():
                progress(f"making a database in {folder}")
                await _initdb(programs, folder, who, lock, durable=durable)
            for stale in (place / "pg" / "postmaster.pid", *sockets.iterdir()):
                # After a crash PostgreSQL believes any process that has the old number. We hold the lock: none is.
                stale.unlink(missing_ok=True)
            progress("starting PostgreSQL")
            async with open_child(
                _postgres(programs, folder, durable=durable), who, functools.partial(_postgres_ready, place), [lock]
            ):
                progress("starting Redis")
                async with open_child(
                    _redis(programs, folder, durable=durable), who, functools.partial(_redis_ready, reach), [lock]
                ):
                    yield StoreUrls(
                        f"postgresql:///postgres?host={quote(str(reach))}&port=5432&user=invorto",
                        f"unix://{quote(str(reach / 'redis'))}?db=0",
                    )
                    progress("stopping Redis")
                progress("stopping PostgreSQL")


@asynccontextmanager
async def _owned(folder: Path) -> AsyncIterator[int]:
    """Hold the folder's lock, and give its descriptor: children inherit it, so that orphans hold it too."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o711)  # noqa: ASYNC240
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unusable(folder, error) from error
    try:
        for attempt in range(101):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                owner = os.pread(lock, 64, 0).decode("ascii", "replace")
                pid = owner.partition(" ")[0]
                if attempt == 100 or (pid.isdigit() and owner == _name(int(pid))):
                    raise _in_use(folder, pid) from error
                await trio.sleep(0.1)  # the owner is gone, its children are about to be
        os.truncate(lock, 0)
        os.pwrite(lock, _name(os.getpid()).encode(), 0)
        yield lock
        os.truncate(lock, 0)
    finally:
        os.close(lock)


def check_unowned(folder: Path) -> None:
    """Raise `UsageError` if a living process runs stores in *folder*: to know it before anything else is done."""
    with suppress(OSError):
        owner = (folder / "lock").read_text("ascii", "replace")
        pid = owner.partition(" ")[0]
        if pid.isdigit() and owner == _name(int(pid)):
            raise _in_use(folder, pid)


def _in_use(folder: Path, pid: str) -> UsageError:
    return UsageError(f"{folder} is in use by process {pid or 'unknown'}: stop it, or choose another folder")


def _name(pid: int) -> str:
    """Give a process's number and start time, which together come only once; empty where none runs."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else f"{pid} {rest[18]}"  # one that ended owns nothing, though nobody has asked after it


def _unusable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot keep data in {folder} ({error.strerror or error}): choose another folder with DATA_DIR")


def _private(folder: Path, who: pwd.struct_passwd) -> Path:
    folder.mkdir(exist_ok=True, mode=0o700)
    if folder.stat().st_uid != who.pw_uid:
        os.chown(folder, who.pw_uid, who.pw_gid)
    return folder


def _turn(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_ROOM:
        log.replace(log.with_suffix(".old.log"))


@contextmanager
def _reach(sockets: Path) -> Iterator[Path]:
    """Give a name of the sockets' folder that fits in an address and in a URL; the servers use a relative one."""
    if len(os.fsencode(sockets / ".s.PGSQL.5432")) <= _SOCKET_ROOM and set(str(sockets)) <= _PLAIN:
        yield sockets
        return
    handle = os.open(sockets, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{handle}")
    finally:
        os.close(handle)


def _check_version(data: Path, programs: Programs) -> None:
    with suppress(FileNotFoundError):
        made_by = (data / "PG_VERSION").read_text().strip()
        if made_by != str(programs.major):
            raise UsageError(
                f"{data} was made by PostgreSQL {made_by} and {programs.postgres} is version {programs.major}:"
                " use the other server (--use-system switches), or choose another folder with DATA_DIR"
            )


async def _initdb(programs: Programs, folder: Path, who: pwd.struct_passwd, lock: int, *, durable: bool) -> None:
    """Make the cluster beside its place and move it in, so that a kill half-way leaves nothing to trip over."""
    data = folder / "stores" / "pg"
    new = data.with_name("pg.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        _private(new, who)
    except OSError as error:
        raise _unusable(folder, error) from error
    # Who runs it may not be allowed to enter the folders above: it knows its folder as where it stands.
    argv = [programs.initdb, "-D", "/proc/self/cwd", "-U", "invorto", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    if not durable:
        argv.append("--no-sync")
    if programs.major >= 17:
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    await run_to_end(Program("initdb", argv, new, folder / "postgres.log"), who, [lock])
    try:
        new.rename(data)
    except OSError as error:
        raise StartFailed(f"{data} holds something that is not a database ({error.strerror}): move it away") from error


def _postgres(programs: Programs, folder: Path, *, durable: bool) -> Program:
    options = {"listen_addresses": "", "max_connections": "100", "log_checkpoints": "off"}
    if not durable:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    argv = [programs.postgres, "-D", "/proc/self/cwd", "-k", "../s", "-p", "5432"]
    for name, value in options.items():
        argv += ["-c", f"{name}={value}"]
    # SIGTERM would wait for every session to leave.
    return Program("PostgreSQL", argv, folder / "stores" / "pg", folder / "postgres.log", signal.SIGINT)


def _redis(programs: Programs, folder: Path, *, durable: bool) -> Program:
    argv = [programs.redis, "--dir", ".", "--port", "0", "--unixsocket", "../s/redis", "--unixsocketperm", "700"]
    argv += ["--appendonly", "yes", "--save", ""]
    argv += ["--appendfsync", "everysec" if durable else "no"]
    return Program("Redis", argv, folder / "stores" / "redis", folder / "redis.log")


async def _postgres_ready(place: Path, pid: int) -> bool:
    with suppress(FileNotFoundError, IndexError, ValueError):
        lines = (place / "pg" / "postmaster.pid").read_text().splitlines()
        return int(lines[0]) == pid and lines[7].strip() == "ready"
    return False


async def _redis_ready(reach: Path, _pid: int) -> bool:
    try:
        async with await trio.open_unix_socket(str(reach / "redis")) as stream:
            await stream.send_all(b"PING\r\n")
            return bytes(await stream.receive_some(16)).startswith(b"+PONG")
    except (OSError, trio.BrokenResourceError):
        return False


async def _serve(folder: Path, *, use_system: bool, durable: bool) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:

            async def hear() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(hear)
            async with open_stores(folder, use_system=use_system, durable=durable) as urls:
                print(json.dumps(attrs.asdict(urls)), flush=True)  # noqa: T201 - who started us reads it
                try:
                    await trio.lowlevel.wait_readable(0)
                except PermissionError:  # /dev/null or a file never ends, nor does anything else come of it
                    await trio.sleep_forever()
            nursery.cancel_scope.cancel()


def main() -> None:
    """Run the stores until standard input ends; the URLs are the first line written, as JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m invorto.storage.embedded")
    parser.add_argument("folder", type=Path, nargs="?", help="where the data is; a new one, removed at the end")
    parser.add_argument("--use-system", action="store_true", help="prefer the servers on PATH")
    options = parser.parse_args()
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="invorto-"))
    try:
        trio.run(functools.partial(_serve, folder, use_system=options.use_system, durable=bool(options.folder)))
    except* InvortoError as group:
        sys.exit(str(group.exceptions[0]))
    finally:
        if not options.folder:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
