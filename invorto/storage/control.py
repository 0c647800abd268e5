"""
Commands from any node to the one that owns a call, over Redis: a bounded stream for each node, a list for each answer.

A command has an id, the epoch of the owner that is meant, and a deadline on Redis's own clock, so that it matters to
nobody whose clock is how wrong. It goes to ``control:{node}``; the answer comes as the one element of ``reply:{id}``,
which lives for ten seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import attrs
import msgspec
import structlog
import trio

from invorto.convert import ANSWERS, structure, unstructure
from invorto.errors import Invalid, LimitReached, StoreUnavailable
from invorto.storage.json_text import json_text
from invorto.storage.redis import Commands, Entry, Refused

log = structlog.get_logger(__name__)

PATIENCE = 2.0
"""Seconds from sending a command to its deadline; after it nobody waits, and it never runs."""
REPLY_LIFE = 10
"""Seconds that an answer is kept."""
MOST = 1000
"""Commands that a node may have unread; older ones are dropped, and would be too late anyhow."""
AT_ONCE = 32
"""Commands that a node waits for at once: each holds a connection to Redis."""
RUNNING = 64
"""Commands that an owner is at, at once; more wait for one of these to end, and for their deadline."""
_REMEMBERED = 4 * MOST
_STREAM_LIFE = 60
"""Seconds after its last command that the stream of a node, which may be dead, is kept."""
_BLOCK = 5.0
_PAUSE = 0.25


@attrs.frozen(kw_only=True)
class Command:
    """Something that the owner of a call is to do."""

    id: str
    call_id: str
    epoch: int
    deadline: int
    """Microseconds of Redis's time."""
    act: str
    args: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Reply:
    """What came of a command: what was *done*, or the code of a refusal and what it says."""

    done: Mapping[str, Any] | None = None
    code: str = ""
    message: str = ""
    details: tuple[tuple[str, str], ...] = ()


type Answer = Callable[[Command], Awaitable[Reply]]
"""Does what a command asks for; never raises."""


def stream_of(node_id: str) -> str:
    """Give the key of a node's commands."""
    return f"control:{node_id}"


def reply_of(command_id: str) -> str:
    """Give the key of a command's answer."""
    return f"reply:{command_id}"


def read_command(fields: Mapping[bytes, bytes]) -> Command | None:
    """Read an entry of the stream; None for what is no command of ours."""
    return _read(fields.get(b"command", b""), Command)


def read_reply(text: bytes) -> Reply | None:
    """Read an answer; None for what is none."""
    return _read(text, Reply)


def _read[T](text: bytes, kind: type[T]) -> T | None:
    try:
        return structure(msgspec.json.decode(text), kind, ANSWERS)
    except (msgspec.DecodeError, Invalid):
        return None


class ControlPost:
    """Sends commands and waits for what came of them."""

    def __init__(self, redis: Commands) -> None:
        self._redis = redis
        self._senders = trio.CapacityLimiter(AT_ONCE)

    async def ask(self, node_id: str, command: Command) -> Reply | None:
        """
        Send *command*, with the deadline set, and give what came of it; None when nothing came in time.

        Then nobody knows whether it ran. `StoreUnavailable` while Redis is away, `LimitReached` for too many at once.
        """
        try:
            self._senders.acquire_on_behalf_of_nowait(command.id)
        except trio.WouldBlock:
            raise LimitReached("control", AT_ONCE, AT_ONCE) from None
        try:
            with trio.move_on_after(PATIENCE):
                return await self._ask(node_id, command)
            return None
        finally:
            self._senders.release_on_behalf_of(command.id)

    async def _ask(self, node_id: str, command: Command) -> Reply | None:
        command = attrs.evolve(command, deadline=await redis_time(self._redis) + round(PATIENCE * 1_000_000))
        stream, text = stream_of(node_id), json_text(unstructure(command))
        sent = await self._redis.pipeline(
            [("XADD", stream, "MAXLEN", "~", MOST, "*", "command", text), ("EXPIRE", stream, _STREAM_LIFE)]
        )
        if isinstance(sent[0], Refused):
            raise StoreUnavailable(str(sent[0]))
        answered = await self._redis.wait(("BLPOP", reply_of(command.id), PATIENCE), PATIENCE)
        return read_reply(answered[1]) if isinstance(answered, list) else None


@attrs.define
class Once:
    """Which commands have been begun here: each is done once, however often it comes, and never after its deadline."""

    _begun: OrderedDict[str, None] = attrs.field(factory=OrderedDict[str, None])

    def admits(self, command: Command, now: int) -> bool:
        """Tell whether a command is to run at *now*, Redis's time; it counts as begun then."""
        if command.id in self._begun or now >= command.deadline:
            return False
        self._begun[command.id] = None
        if len(self._begun) > _REMEMBERED:
            self._begun.popitem(last=False)
        return True


class ControlDesk:
    """Takes the commands of one node from its stream, and answers them. `run` must run."""

    def __init__(self, redis: Commands, node_id: str, answer: Answer) -> None:
        self._redis, self._stream, self._answer = redis, stream_of(node_id), answer
        self._once = Once()
        self._running = trio.CapacityLimiter(RUNNING)
        self._lost = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Read commands as they come and have each answered in a task of its own; while Redis is away, wait."""
        after = "0-0"
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                try:
                    entries = await self._redis.xread(self._stream, after, count=100, block=_BLOCK)
                except (StoreUnavailable, Refused) as error:
                    self._away(error)
                    await trio.sleep(_PAUSE)
                    continue
                if self._lost:
                    self._lost = False
                    log.info("control_back")
                for entry in entries:
                    after = entry[0]
                    nursery.start_soon(self._take, entry)
        raise AssertionError  # pragma: no cover

    async def _take(self, entry: Entry) -> None:
        command = read_command(entry[1])
        if command is None:
            log.warning("control_unreadable", entry=entry[0])
            return
        try:
            async with self._running:
                now = await redis_time(self._redis)
                if not self._once.admits(command, now):
                    log.info("control_late_or_twice", command=command.id, act=command.act, call_id=command.call_id)
                    return
                with trio.move_on_after((command.deadline - now) / 1_000_000):
                    reply = await self._answer(command)
                    await self._reply(command, reply)
        except (StoreUnavailable, Refused) as error:
            self._away(error)

    async def _reply(self, command: Command, reply: Reply) -> None:
        key = reply_of(command.id)
        await self._redis.pipeline([("RPUSH", key, json_text(unstructure(reply))), ("EXPIRE", key, REPLY_LIFE)])

    def _away(self, error: Exception) -> None:
        if not self._lost:
            log.warning("control_lost", error=str(error))
        self._lost = True


async def redis_time(redis: Commands) -> int:
    """Give Redis's time in microseconds."""
    seconds, micros = await redis.call("TIME")
    return int(seconds) * 1_000_000 + int(micros)
