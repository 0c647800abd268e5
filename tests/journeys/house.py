"""A whole server in the test's own process, on real stores, and callers with real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from invorto import config
from invorto.audio.resample import resample
from invorto.audio.wav import read_wav
from invorto.errors import Conflict
from invorto.model.agent import Agent
from invorto.resources import Resources, open_resources
from invorto.speech.ports import Samples
from invorto.storage import agents, keys
from invorto.storage.postgres import Database
from invorto.supervisor import Stop, bind, supervise
from tests.wire.peers import open_client as connect

AUDIO = Path(__file__).parents[1] / "data" / "audio"
SCRIPT: Mapping[str, Any] = {
    "sttMs": 50, "llmMs": 50, "ttsMs": 30, "heard": ["I want a table for two."],
    "replies": ["Of course, a table for two people it is, and for which day would you like to have it?"],
}  # fmt: skip
SCRIPTED = {"STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "scripted"}


def speech(rate: int = 8000, name: str = "libri_0880") -> Samples:
    """Give a sentence that somebody spoke."""
    samples, came = read_wav(AUDIO / f"{name}.wav")
    return resample(samples, came, rate)


@attrs.frozen(kw_only=True)
class Reach:
    """How a server is reached, in this process or in another."""

    port: int
    key: str
    agent_id: str
    tenant_id: str = "t_default"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def socket_url(self, call_id: str, rate: int = 8000, codec: str = "linear16") -> str:
        """Give the URL of a call's socket."""
        query = f"callId={call_id}&agentId={self.agent_id}&rate={rate}&codec={codec}"
        return f"ws://127.0.0.1:{self.port}/realtime/voice?{query}"


@attrs.frozen(kw_only=True)
class Server(Reach):
    """A server that serves in the test's own process."""

    resources: Resources
    stop: Stop


def settings(postgres_url: str, redis_url: str, folder: Path, **more: str) -> dict[str, str]:
    """Give the environment of a test's server."""
    return {
        "DB_URL": postgres_url, "REDIS_URL": redis_url, "DATA_DIR": str(folder), "API_PORT": "0", "DB_POOL_SIZE": "4",
        "SCRIPTED_ENGINE": json.dumps(SCRIPT), "LOG_LEVEL": "warning", **SCRIPTED, **more,
    }  # fmt: skip


@asynccontextmanager
async def open_server(
    environ: Mapping[str, str], document: Mapping[str, Any] | None = None, *, webhooks: bool = False
) -> AsyncGenerator[Server]:
    """Serve until the block is left, and then stop in order; needs the loop."""
    loaded, stop = config.load(environ), Stop()
    async with AsyncExitStack() as stack:
        doors = await bind(stack, loaded)
        resources = await stack.enter_async_context(open_resources(loaded))
        _, key = await keys.create(resources.database, "t_default", "admin", "test")
        agent = await _agent(resources.database, document or {"greeting": "Hello, how can I help?"})
        async with trio.open_nursery() as nursery:
            served = trio.Event()

            async def ready(_: Resources, __: list[tuple[str, int]], ___: Stop) -> None:
                served.set()
                await trio.lowlevel.checkpoint()

            parts = frozenset({"api", "realtime"} | ({"webhooks"} if webhooks else set[str]()))
            nursery.start_soon(supervise, resources, doors, parts, stop, ready)
            await served.wait()
            port = doors.all[0].socket.getsockname()[1]
            yield Server(resources=resources, stop=stop, port=port, key=key, agent_id=agent.id)
            stop.ask()
            stop.ask()


async def _agent(database: Database, document: Mapping[str, Any]) -> Agent:
    try:
        return await agents.create(database, "t_default", name="desk", document=document)
    except Conflict:  # the server was here before
        return await agents.get(database, "t_default", "desk")


@attrs.define
class Client:
    """A caller on a real socket: speaks in frames of 20 ms in real time, and keeps what comes."""

    socket: WebSocketConnection
    rate: int
    events: list[dict[str, Any]] = attrs.field(factory=list)
    audio: list[bytes] = attrs.field(factory=list)
    closed: tuple[int, str | None] | None = None
    _news: trio.Event = attrs.field(factory=trio.Event)

    async def read(self) -> None:
        """Keep what comes until the socket is closed."""
        while True:  # noqa: ASYNC913 - it waits for messages
            try:
                message = await self.socket.get_message()
            except ConnectionClosed as closed:
                self.closed = (closed.reason.code, closed.reason.reason) if closed.reason else (1006, None)
                self._stir()
                return
            if isinstance(message, bytes):
                self.audio.append(message)
            else:
                self.events.append(json.loads(message))
            self._stir()

    def _stir(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def until(self, kind: str, count: int = 1, seconds: float = 10) -> dict[str, Any]:
        """Wait for the *count*-th event of a kind."""
        with trio.fail_after(seconds):
            while len(found := [event for event in self.events if event["t"] == kind]) < count:
                assert self.closed is None, f"closed {self.closed} before {kind}: {self.events[-3:]}"
                await self._news.wait()
        return found[count - 1]

    async def until_closed(self, seconds: float = 10) -> tuple[int, str | None]:
        """Wait for the end."""
        with trio.fail_after(seconds):
            while self.closed is None:
                await self._news.wait()
        return self.closed

    async def send(self, **message: Any) -> None:
        """Send a message."""
        await self.socket.send_message(json.dumps(message))

    async def speak(self, samples: Samples) -> None:
        """Speak, then fall silent for half a second."""
        size = self.rate // 50
        silence = np.zeros(self.rate // 2, np.int16)
        samples = np.concatenate([samples, silence])
        due = trio.current_time()
        for at in range(0, len(samples) - size + 1, size):
            await self.socket.send_message(samples[at : at + size].astype("<i2").tobytes())
            due += 0.02
            await trio.sleep_until(due)


@asynccontextmanager
async def open_client(
    server: Reach, call_id: str, *, start: Mapping[str, Any] | None = None, rate: int = 8000, key: str | None = None
) -> AsyncGenerator[Client]:
    """Call, and say ``start``; the socket is closed when the block is left."""
    async with (
        connect(server.socket_url(call_id, rate), subprotocols=["invorto.v1", key or server.key]) as socket,
        trio.open_nursery() as nursery,
    ):
        client = Client(socket, rate)
        nursery.start_soon(client.read)
        if start is not None:
            await client.send(t="start", **start)
        yield client
        nursery.cancel_scope.cancel()


BINARY: Mapping[str, Any] = {"audioOut": "binary"}
