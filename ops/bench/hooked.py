"""What a bench of webhooks needs: a receiver that notes what comes and when, facts, and a deliverer to kill."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

import attrs
import trio

from invorto.model.ids import new_id
from invorto.model.record import OutboxEvent
from invorto.storage import system, webhooks
from invorto.storage.postgres import Database
from invorto.storage.system import Note
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.subkeys import SecretKeys
from invorto.vault import Vault
from invorto.webhooks.seals import Seals
from invorto.webhooks.signing import secret_of
from ops.bench import house

KEY = base64.b64encode(b"benchmark" * 4).decode()[:43] + "="
SECRET = secret_of(b"s" * 32)
SETTINGS = {
    "WEBHOOK_ALLOW_HTTP": "1", "WEBHOOK_ALLOWED_SUBNETS": "127.0.0.0/8", "WEBHOOK_ALLOWED_PORTS": "any",
    "INVORTO_SECRET_KEYS": KEY,
}  # fmt: skip
DATA = {
    "schemaVersion": 1,
    "text": "I want a table for two people, tomorrow at seven.",
    "ts": 6.4,
    "turn": 1,
    "confidence": 0.9,
}
_TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


@attrs.define
class Receiver:
    """Takes posts and notes when each id came, by path; those to *hanging* it leaves without an answer."""

    port: int = 0
    came: dict[str, dict[str, float]] = attrs.field(factory=dict[str, dict[str, float]])
    """By path: event ids, and when each came first."""
    posts: int = 0
    hanging: str | None = None
    _release: trio.Event = attrs.field(factory=trio.Event)

    def url(self, path: str) -> str:
        """Give the address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def let_go(self) -> None:
        """Answer those that hang, and hang no more."""
        self.hanging = None
        self._release.set()
        self._release = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Take posts on one connection; as little as can be done for each, since it shares its core."""
        pending = b""
        async with stream:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while True:
                    while (end := pending.find(b"\r\n\r\n")) < 0:
                        data = await stream.receive_some()
                        if not data:
                            return
                        pending += data
                    head, pending = pending[:end].lower(), pending[end + 4 :]
                    size = int(_field(head, b"content-length"))
                    while len(pending) < size:
                        pending += await stream.receive_some()
                    pending = pending[size:]
                    path, name = head.split(b" ", 2)[1].decode(), _field(head, b"webhook-id").decode()
                    self.posts += 1
                    self.came.setdefault(path, {}).setdefault(name, time.perf_counter())
                    if path == self.hanging:
                        await self._release.wait()
                    await stream.send_all(_TAKEN)


def _field(head: bytes, name: bytes) -> bytes:
    at = head.index(b"\r\n" + name + b":") + len(name) + 3
    end = head.find(b"\r\n", at)
    return head[at : end if end >= 0 else None].strip()


@asynccontextmanager
async def open_receiver() -> AsyncGenerator[Receiver]:
    """Listen for the length of the block."""
    made = Receiver()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, made.serve, 0, host="127.0.0.1", backlog=1024))
        made.port = listeners[0].socket.getsockname()[1]
        yield made
        nursery.cancel_scope.cancel()


@attrs.define
class Writer:
    """Writes facts as the ledger does, and remembers when each was begun to be written."""

    database: Database
    written: dict[str, float] = attrs.field(factory=dict[str, float])

    async def write(self, count: int) -> None:
        """Write *count* facts in one transaction."""
        events = [OutboxEvent(type="stt.final", data=DATA, event_id=new_id("evt")) for _ in range(count)]
        began = time.perf_counter()
        await system.note(self.database, [Note(new_id("c"), DEFAULT_TENANT, event) for event in events])
        self.written.update((event.event_id, began) for event in events)

    async def keep_pace(self, rate: float, seconds: float) -> None:
        """Write *rate* facts a second, each in a transaction of its own, on an absolute clock."""
        began, limiter = trio.current_time(), trio.CapacityLimiter(3)

        async def one() -> None:
            async with limiter:
                await self.write(1)

        async with trio.open_nursery() as nursery:
            for number in range(round(rate * seconds)):
                await trio.sleep_until(began + number / rate)
                nursery.start_soon(one)


@asynccontextmanager
async def endpoints(database: Database, urls: Sequence[str]) -> AsyncGenerator[None]:
    """Have endpoints that want everything, for the length of the block."""
    seals = Seals(Vault(SecretKeys.parse([KEY])))
    made: list[str] = []
    for url in urls:
        made.append(new_id("wh"))
        new = webhooks.New(id=made[-1], url=url, events=("*",), secret=seals.secret(made[-1], SECRET))
        await webhooks.create(database, DEFAULT_TENANT, new)
    yield
    for name in made:
        await webhooks.remove(database, DEFAULT_TENANT, name)


@contextmanager
def deliverer(stores: house.Stores, core: int, **more: str) -> Generator[subprocess.Popen[bytes]]:
    """Run `invorto serve --only webhooks` on *core* until the block is left; it may be killed before."""
    here = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # which a child inherits
    try:
        with (stores.folder / "deliverer.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "invorto", "serve", "--only", "webhooks", "--port", "0"],
                env=house.settings(stores, **SETTINGS, **more), cwd=stores.folder, stdout=log, stderr=log,
            )  # fmt: skip
    finally:
        os.sched_setaffinity(0, here)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
