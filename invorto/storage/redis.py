"""Redis behind a thin typed seam: commands in, replies out, one crossing to asyncio and one round trip a pipeline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import attrs
import structlog
import trio
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import DataError, RedisError, ResponseError

from invorto.errors import InvortoError, StartFailed, StoreUnavailable, UsageError
from invorto.storage.aio import aio

log = structlog.get_logger(__name__)

type Argument = str | bytes | int | float
type Command = tuple[Argument, ...]
type Reply = Any
"""What Redis sends, in RESP2: bytes, int, None, a list of these, or a `Refused` among the replies of a pipeline."""
type Entry = tuple[str, Mapping[bytes, bytes]]
"""One entry of a stream: its id and its fields."""

OLDEST = (6, 2)
"""The oldest Redis with exclusive ranges of streams (``XRANGE`` from ``(id``)."""

_LANES = 32
"""Pipelines under way at once; more wait their turn. One busy core of Redis is full long before."""
_CONNECTIONS = 160
"""The lanes, and one for each who waits in a blocking read: 64 followers of timelines and a few more."""
_LATER = frozenset({"OOM", "READONLY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY"})


class Refused(InvortoError):
    """Redis answered a command with an error: *code* is its first word, *later* whether it may work another time."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]
        self.later = self.code in _LATER


@attrs.frozen(kw_only=True)
class Deadlines:
    """How long Redis may take, seconds."""

    connect: float = 5.0
    reply: float = 5.0
    """From sending a pipeline to its last reply, on top of what a blocking read asks for. A stalled Redis counts as
    lost after it; the callers' own scopes may be tighter."""
    close: float = 2.0


class Commands(ABC):
    """What can be asked of Redis; ours over the network, and `invorto.storage.fakes.FakeRedis` in memory."""

    @abstractmethod
    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """
        Send *commands* together and give their replies in order; a refused one is a `Refused` in its place.

        Not a transaction: Redis may have run a first part of them when this raises `StoreUnavailable`, or is cancelled.
        """

    @abstractmethod
    async def wait(self, command: Command, block: float) -> Reply:
        """Send one command that blocks in Redis for up to *block* seconds, on a connection of its own."""

    async def call(self, *command: Argument) -> Reply:
        """Send one command and give its reply; raises `Refused`, or `StoreUnavailable` where it may work later."""
        [reply] = await self.pipeline([command])
        return _accept(reply)

    async def xrange(self, key: str, low: str = "-", high: str = "+", *, count: int) -> list[Entry]:
        """Read up to *count* entries upwards; a bound that begins with ``(`` is exclusive."""
        return _entries(await self.call("XRANGE", key, low, high, "COUNT", count))

    async def xrevrange(self, key: str, high: str = "+", low: str = "-", *, count: int) -> list[Entry]:
        """Read up to *count* entries downwards."""
        return _entries(await self.call("XREVRANGE", key, high, low, "COUNT", count))

    async def xread(self, key: str, after: str, *, count: int, block: float) -> list[Entry]:
        """Read up to *count* entries that come after *after*, waiting up to *block* seconds for the first of them."""
        command = ("XREAD", "COUNT", count, "BLOCK", max(1, round(block * 1000)), "STREAMS", key, after)
        streams = _accept(await self.wait(command, block))
        return _entries(streams[0][1]) if streams else []

    async def ping(self) -> float:
        """Give the seconds that a round trip takes."""
        began = trio.current_time()
        await self.call("PING")
        return trio.current_time() - began

    async def info(self, section: str = "server") -> dict[str, str]:
        """Give what Redis says of itself."""
        text: bytes = await self.call("INFO", section)
        lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
        return {name: value for name, colon, value in lines if colon}

    async def version(self) -> str:
        """Give the server's version, such as ``8.2.3``."""
        return (await self.info()).get("redis_version", "0")


class Redis(Commands):
    """
    A Redis server over the network.

    Lost connections raise `StoreUnavailable`, the next command finds out whether Redis is back: nothing is retried
    here, since only the caller knows what may be sent twice. Cancelled anywhere, a connection that still owes replies
    is closed, so that no one reads another's reply.
    """

    def __init__(self, pool: ConnectionPool, where: str, deadlines: Deadlines) -> None:
        self._pool = pool
        self._deadlines = deadlines
        self._lanes = trio.CapacityLimiter(_LANES)
        self.where = where
        """The server's address, without secrets."""

    def __repr__(self) -> str:
        return f"<Redis {self.where}>"

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Send *commands* together and give their replies in order."""
        if not commands:
            await trio.lowlevel.checkpoint()
            return []
        async with self._lanes:
            return await self._send(commands, self._deadlines.reply)

    async def wait(self, command: Command, block: float) -> Reply:
        """Send one command that blocks in Redis for up to *block* seconds."""
        [reply] = await self._send([command], block + self._deadlines.reply)
        return reply

    async def _send(self, commands: Sequence[Command], seconds: float) -> list[Reply]:
        try:
            with trio.fail_after(seconds):
                return await aio(self._exchange, commands)
        except trio.TooSlowError:
            raise StoreUnavailable(f"Redis at {self.where} has not answered for {seconds:g} s") from None
        except DataError as error:
            raise TypeError(str(error)) from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis at {self.where} cannot be reached: {error}") from error

    # What follows runs in asyncio, where a cancel is met once.

    async def _exchange(self, commands: Sequence[Command]) -> list[Reply]:
        """One connection, all commands, all replies; redis-py closes a connection that still owes some."""
        connection = await self._pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            replies: list[Reply] = []
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(Refused(" ".join(filter(None, (error.status_code, str(error))))))
            return replies
        finally:
            await self._pool.release(connection)  # noqa: ASYNC102

    async def _close(self) -> None:
        try:
            await self._pool.aclose()
        except (RedisError, OSError) as error:
            log.warning("redis_close_failed", where=self.where, error=str(error))


@asynccontextmanager
async def open_redis(url: str, deadlines: Deadlines | None = None) -> AsyncGenerator[Redis]:
    """
    Connect to the Redis at *url* (``redis://``, ``rediss://`` or ``unix://``) and close all connections at the end.

    Raises `UsageError` for a wrong URL, `StoreUnavailable` when Redis cannot be reached, `StartFailed` when it is
    too old. It needs `invorto.storage.aio.open_loop` around it.
    """
    deadlines = deadlines or Deadlines()
    redis = Redis(_pool(url, deadlines), address(url), deadlines)
    try:
        version = await redis.version()
        if _numbers(version) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise StartFailed(f"Redis at {redis.where} is version {version}; Invorto needs {oldest} or newer")
        yield redis
    finally:
        with trio.move_on_after(deadlines.close, shield=True):
            await aio(redis._close)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def address(url: str) -> str:
    """Give where *url* points, without the user, the password and the options in it."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2] or "localhost"


def _pool(url: str, deadlines: Deadlines) -> ConnectionPool:
    try:
        given = cast("dict[str, Any]", parse_url(url))
        # RESP2 since `_entries` reads its shapes; no retries and no socket timeout, since the seam has its own rules.
        ours = {"protocol": 2, "decode_responses": False, "retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        times = {"socket_timeout": None, "socket_connect_timeout": deadlines.connect, "max_connections": _CONNECTIONS}
        pool = ConnectionPool(**cast("Any", {**given, **ours, **times, "driver_info": None}))
        pool.make_connection()  # opens nothing, and finds options that do not exist
    except (ValueError, TypeError) as error:
        raise UsageError(f"REDIS_URL is wrong: {error}") from error
    return pool


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts[:2] if part.isdecimal())


def _accept(reply: Reply) -> Reply:
    if isinstance(reply, Refused):
        raise StoreUnavailable(f"Redis refuses for now: {reply}") if reply.later else reply
    return reply


def _entries(reply: list[tuple[bytes, list[bytes] | None]]) -> list[Entry]:
    """Pair fields with values; an entry deleted meanwhile has none."""
    return [(key.decode(), dict(zip(it := iter(fields or ()), it, strict=False))) for key, fields in reply]
