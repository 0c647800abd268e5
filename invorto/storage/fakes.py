"""Redis in memory, for tests in virtual time: the commands that timelines use, and ways to lose it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import trio

from invorto.errors import Invalid, StoreUnavailable
from invorto.model.event_ids import EventKey, event_id, event_key
from invorto.storage.redis import Argument, Command, Commands, Refused, Reply

_TOO_SMALL = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
_LOW, _HIGH = (0, 0), (2**64 - 1, 2**64 - 1)


@attrs.define
class _Stream:
    entries: list[tuple[EventKey, list[bytes]]] = attrs.field(factory=list)
    expires: float = math.inf


class FakeRedis(Commands):
    """
    A Redis of this process, which answers as a real one would.

    Set `away` and it cannot be reached; `deaf` and it runs commands, but their answers get lost; `silent` and it does
    not answer until that is over. `refusing` is an error that it gives to every command, such as ``OOM …``.
    """

    def __init__(self) -> None:
        self.away = self.deaf = False
        self.refusing: str | None = None
        self.pipelines: list[list[Command]] = []
        """What was sent, a list for each round trip."""
        self._streams: dict[str, _Stream] = {}
        self._changed = trio.Event()
        self._speaks = trio.Event()
        self._speaks.set()
        self._commands: dict[str, Callable[..., Reply]] = {
            "PING": lambda: b"PONG",
            "INFO": lambda _: b"# Server\r\nredis_version:8.0.0\r\nrun_id:fake\r\n",
            "XADD": self._xadd,
            "XRANGE": lambda key, low, high, _, count: self._range(key, low, high)[:count],
            "XREVRANGE": lambda key, high, low, _, count: self._range(key, low, high)[::-1][:count],
            "XLEN": lambda key: len(self._stream(key).entries),
            "EXPIRE": self._expire,
            "TTL": self._ttl,
            "DEL": lambda key: int(self._streams.pop(key, None) is not None),
        }

    async def pipeline(self, commands: Sequence[Command]) -> list[Reply]:
        """Run *commands* at once."""
        await self._reach()
        self.pipelines.append(list(commands))
        replies = [self._run(command) for command in commands]
        if self.deaf:
            raise StoreUnavailable("the fake Redis answers to nobody")
        return replies

    async def wait(self, command: Command, block: float) -> Reply:
        """Run ``XREAD COUNT n BLOCK ms STREAMS key id``, as soon as there is something."""
        await self._reach()
        key, after = str(command[6]), str(command[7])
        with trio.move_on_after(block):
            await trio.lowlevel.checkpoint()
            while not self._range(key, f"({after}", "+"):
                await self._changed.wait()
                await self._reach()
        found = self._range(key, f"({after}", "+")[: int(command[2])]
        return [[key.encode(), found]] if found else None

    @property
    def silent(self) -> bool:
        """Whether it leaves everybody waiting, as a stopped process does."""
        return not self._speaks.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        if silent:
            self._speaks = trio.Event()
        else:
            self._speaks.set()

    def forget(self) -> None:
        """Lose all data, as a Redis that starts again without persistence."""
        self._streams.clear()

    async def _reach(self) -> None:
        await self._speaks.wait()
        if self.away:
            raise StoreUnavailable("the fake Redis is away")

    def _run(self, command: Command) -> Reply:
        if self.refusing:
            return Refused(self.refusing)
        name, *arguments = command
        run = self._commands.get(str(name))
        try:
            return run(*arguments) if run else Refused(f"ERR unknown command '{name}'")
        except Refused as refused:
            return refused

    def _stream(self, key: str) -> _Stream:
        stream = self._streams.get(key)
        return stream if stream and stream.expires > trio.current_time() else _Stream()

    def _xadd(self, key: str, entry_id: str, *fields: Argument) -> bytes:
        stream = self._stream(key)
        entry = _key(entry_id)
        if entry <= (stream.entries[-1][0] if stream.entries else (0, 0)):
            raise Refused(_TOO_SMALL)
        stream.entries.append((entry, [_bytes(field) for field in fields]))
        self._streams[key] = stream
        self._changed.set()
        self._changed = trio.Event()
        return entry_id.encode()

    def _range(self, key: str, low: str, high: str) -> list[tuple[bytes, list[bytes]]]:
        bottom = _LOW if low == "-" else _key(low.removeprefix("("))
        top = _HIGH if high == "+" else _key(high.removeprefix("("))
        return [
            (event_id(entry).encode(), list(fields))
            for entry, fields in self._stream(key).entries
            if bottom <= entry <= top
            and not (low.startswith("(") and entry == bottom)
            and not (high.startswith("(") and entry == top)
        ]

    def _expire(self, key: str, seconds: int) -> int:
        if key not in self._streams:
            return 0
        self._streams[key].expires = trio.current_time() + seconds
        return 1

    def _ttl(self, key: str) -> int:
        stream = self._stream(key)
        if not stream.entries:
            return -2
        return -1 if stream.expires == math.inf else math.ceil(stream.expires - trio.current_time())


def _key(text: str) -> EventKey:
    try:
        return event_key(text)
    except Invalid:
        raise Refused("ERR Invalid stream ID specified as stream command argument") from None


def _bytes(value: Argument) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
