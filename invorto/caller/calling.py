"""One side of a conversation: speaks frames in real time, echoes marks, answers tools, and keeps what comes."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import attrs
import numpy as np
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from invorto.caller.ear import RATE, Ear, onset
from invorto.caller.reach import Event, Server, refusal
from invorto.errors import StartFailed, UsageError
from invorto.speech.ports import Samples

FRAME = 0.02
"""Seconds of a frame: what a browser sends."""
PATIENCE = 5.0
"""Seconds that the server may take to be reached, to answer, and to let the caller in."""
PARTING = 2.0
"""Seconds that the server may take over the goodbye."""
_SILENCE = np.zeros(int(RATE * FRAME), np.int16)
_PASSING = frozenset({"emotion.window", "pong"})
"""What is of no interest a moment later, and so is not kept."""


@attrs.define(eq=False)
class Caller:
    """
    Everything that comes is in `events`, with its time in seconds of the call.

    What is kept is bounded by the longest call that the server allows.
    """

    socket: WebSocketConnection
    tell: Callable[[float, Event], None]
    answer_tool: Callable[[Event], Any]
    began: float = attrs.field(factory=trio.current_time)
    events: list[tuple[float, Event]] = attrs.field(factory=list[tuple[float, Event]])
    ear: Ear = attrs.field(init=False)
    over: trio.Event = attrs.field(factory=trio.Event)
    closed: tuple[int, str] = (1006, "")
    """The code and reason that the socket was closed with."""
    spoke_at: float = math.inf
    """When the first sound of what is being said, or was said last, went out; seconds of the call."""
    _words: Samples = attrs.field(factory=lambda: np.zeros(0, np.int16))
    _until_sound: int = 0
    _said: trio.Event = attrs.field(factory=trio.Event)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _marks: list[tuple[float, int, str]] = attrs.field(factory=list[tuple[float, int, str]])
    _marked: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.ear = Ear(self.began)

    @property
    def now(self) -> float:
        """Seconds of the call."""
        return trio.current_time() - self.began

    @property
    def place(self) -> int:
        """How many events have come: what `wait_for` is to begin after."""
        return len(self.events)

    @property
    def end_reason(self) -> str | None:
        """Why the call ended, in the server's word; None while it has not said so."""
        return next((event["reason"] for _, event in reversed(self.events) if event["t"] == "end"), None)

    def begin(self, samples: Samples) -> None:
        """Begin to speak; `said` waits until it is out. What was still to be said of something else is not said."""
        self._words, self._said = samples, trio.Event()
        self._until_sound, self.spoke_at = onset(samples), math.inf
        if self.over.is_set():
            self._said.set()

    async def said(self) -> None:
        """Wait until the last frame is out, or the call is over."""
        await self._said.wait()

    async def say(self, samples: Samples) -> None:
        """Speak, in real time."""
        self.begin(samples)
        await self.said()

    async def wait_for(self, wanted: Callable[[Event], bool], *, since: int = 0) -> Event | None:
        """Wait for an event from the *since*-th on; None when the call is over without it."""
        place = since
        while True:
            while place < len(self.events):
                if wanted(self.events[place][1]):
                    return self.events[place][1]
                place += 1
            if self.over.is_set():
                return None
            await self._news.wait()

    async def hear_out(self, *, since: int = 0) -> str | None:
        """Wait until the agent has said what it has to say; gives what was heard, None when the call is over before."""
        done = await self.wait_for(lambda event: event["t"] == "tts.done" and not event["interrupted"], since=since)
        await self.quiet()
        return None if done is None else done["heard"]

    async def quiet(self, seconds: float = 0.2) -> None:
        """Wait until nothing has been playing for some time, or the call is over."""
        while not self.over.is_set() and (left := self.ear.cursor + seconds - trio.current_time()) > 0:  # noqa: ASYNC110 - it drains by the clock, nobody tells
            await trio.sleep(left)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; into the void when the call is over."""
        try:
            await self.socket.send_message(json.dumps(message))
        except ConnectionClosed as closed:
            self._finish(closed)

    # -- its tasks --------------------------------------------------------------------------------

    async def speak(self) -> None:
        """Send a frame each 20 ms on an absolute clock: words where there are some, else silence."""
        due = trio.current_time()
        size = len(_SILENCE)
        while not self.over.is_set():
            frame, self._words = self._words[:size], self._words[size:]
            spoken = len(frame)
            frame = np.concatenate([frame, _SILENCE[spoken:]])
            try:
                await self.socket.send_message(frame.astype("<i2").tobytes())
            except ConnectionClosed as closed:
                self._finish(closed)
                return
            if 0 <= self._until_sound < spoken:
                self.spoke_at = self.now
            self._until_sound -= spoken
            if not len(self._words):
                self._said.set()
            due += FRAME
            await trio.sleep_until(due)

    async def listen(self) -> None:
        """Take in what comes until the call is over."""
        while True:
            try:
                message = await self.socket.get_message()
            except ConnectionClosed as closed:
                self._finish(closed)
                return
            now = trio.current_time()
            if isinstance(message, bytes):
                self.ear.play(np.frombuffer(message, "<i2"), now)
                continue
            event: Event = json.loads(message)
            if event["t"] in _PASSING:
                continue
            self.events.append((now - self.began, event))
            self.tell(now - self.began, event)
            await self._take(event, now)
            news, self._news = self._news, trio.Event()
            news.set()

    async def _take(self, event: Event, now: float) -> None:
        match event["t"]:
            case "control.bargein":
                self.ear.stop(now)
                self._marks.clear()
            case "tts.mark":
                heapq.heappush(self._marks, (max(self.ear.cursor, now), len(self.events), event["name"]))
                self._marked.set()
            case "tool.call":
                await self.send({"t": "tool.result", "id": event["id"], "result": self.answer_tool(event)})
            case _:
                pass

    async def echo(self) -> None:
        """Tell the server when each mark has been played."""
        while True:
            self._marked = trio.Event()
            with trio.move_on_at(self._marks[0][0] if self._marks else math.inf):
                await self._marked.wait()
            while self._marks and self._marks[0][0] <= trio.current_time():
                await self.send({"t": "mark", "name": heapq.heappop(self._marks)[2]})

    def _finish(self, closed: ConnectionClosed) -> None:
        if closed.reason is not None and not self.over.is_set():
            self.closed = (closed.reason.code, closed.reason.reason or "")
        self.over.set()
        self._said.set()
        self._news.set()


@asynccontextmanager
async def open_caller(
    server: Server,
    agent: str,
    call_id: str,
    *,
    tell: Callable[[float, Event], None] = lambda _at, _event: None,
    answer_tool: Callable[[Event], Any] = lambda _: {"ok": True},
) -> AsyncGenerator[Caller]:
    """
    Call an *agent*; the call is over when the block is left.

    *tell* hears each event as it comes, *answer_tool* gives the result of each `tool.call`. `UsageError` and
    `StartFailed` say why nobody answers, or why the caller was not let in.
    """
    stream = await _connect(server)
    try:
        async with trio.open_nursery() as nursery:
            caller = Caller(await _shake_hands(nursery, stream, server, call_id, agent), tell, answer_tool)
            nursery.start_soon(caller.listen)
            with trio.move_on_after(PATIENCE):
                await caller.send({"t": "start", "callId": call_id, "audioOut": "binary", "capabilities": ["marks"]})
                if await caller.wait_for(lambda event: event["t"] == "connected") is None:
                    raise refusal(*caller.closed, [event for _, event in caller.events], server, agent)
            if not caller.events:
                raise StartFailed(f"{server.url} lets nobody in: is it an Invorto server?")
            nursery.start_soon(caller.speak)
            nursery.start_soon(caller.echo)
            yield caller
            await caller.send({"t": "end"})
            with trio.move_on_after(PARTING):
                await caller.over.wait()
                await caller.socket.aclose()
            nursery.cancel_scope.cancel()
    except* ConnectionRejected as group:
        (rejected,) = group.exceptions
        code = getattr(rejected, "status_code", "no")
        raise UsageError(f"{server.url} answered {code}: it serves no voice sockets") from None
    finally:
        await trio.aclose_forcefully(stream)


async def _connect(server: Server) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    host, port, secure = server.place
    why: object = f"nothing within {PATIENCE:g} s"
    with trio.move_on_after(PATIENCE):  # noqa: ASYNC912 - connecting is a checkpoint, whether it fails or not
        try:
            if not secure:
                return await trio.open_tcp_stream(host, port)
            stream = await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True)
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream
        except trio.BrokenResourceError as error:
            why = error.__cause__ or error
        except OSError as error:
            why = error.strerror or error
    raise UsageError(f"{server.url} does not answer ({why}): is the server running?")


async def _shake_hands(
    nursery: trio.Nursery, stream: trio.abc.Stream, server: Server, call_id: str, agent: str
) -> WebSocketConnection:
    host, port, _ = server.place
    with trio.move_on_after(PATIENCE):
        return await wrap_client_stream(
            nursery,
            cast("trio.SocketStream", stream),
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            server.socket(call_id, agent),
            subprotocols=["invorto.v1", server.key],
        )
    raise UsageError(f"{server.url} does not answer as a web server does: is it an Invorto server?")
