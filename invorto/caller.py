"""A caller who speaks sound files to a voice socket in real time, and hears what comes back as a listener would."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import numpy as np
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, open_websocket_url

from invorto.errors import UsageError
from invorto.speech.ports import Samples

RATE = 16000
FRAME = 0.02
"""Seconds of a frame: what a browser sends."""
_SILENCE = np.zeros(int(RATE * FRAME), np.int16)

type Event = Mapping[str, Any]


@attrs.define(eq=False)
class Ear:
    """What a listener hears: audio plays when it comes, after what came before, and stops when told to."""

    began: float
    track: list[tuple[int, Samples]] = attrs.field(factory=list)
    """Where on the call's clock each piece plays, samples."""
    cursor: float = -math.inf
    """When everything that has come will have been played, Trio time."""

    def play(self, samples: Samples, now: float) -> None:
        """Queue audio."""
        at = max(now, self.cursor)
        self.track.append((round((at - self.began) * RATE), samples))
        self.cursor = at + len(samples) / RATE

    def stop(self, now: float) -> None:
        """Drop what has not been played."""
        until = round((now - self.began) * RATE)
        self.track = [(at, samples[: max(until - at, 0)]) for at, samples in self.track if at < until]
        self.cursor = now

    def heard(self) -> Samples:
        """Give all that was heard, on the call's clock."""
        length = max((at + len(samples) for at, samples in self.track), default=0)
        track = np.zeros(length, np.int16)
        for at, samples in self.track:
            track[at : at + len(samples)] = samples
        return track


@attrs.define(eq=False)
class Caller:
    """One side of a conversation. Everything that comes is in `events`, with its time in seconds of the call."""

    socket: WebSocketConnection
    tell: Callable[[float, Event], None]
    began: float = attrs.field(factory=trio.current_time)
    events: list[tuple[float, Event]] = attrs.field(factory=list)
    ear: Ear = attrs.field(init=False)
    answer_tool: Callable[[Event], Any] = lambda _: {"ok": True}
    over: trio.Event = attrs.field(factory=trio.Event)
    _words: Samples = attrs.field(factory=lambda: np.zeros(0, np.int16))
    _said: trio.Event = attrs.field(factory=trio.Event)
    _news: trio.Event = attrs.field(factory=trio.Event)
    _marks: list[tuple[float, str]] = attrs.field(factory=list)
    _marked: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.ear = Ear(self.began)

    @property
    def now(self) -> float:
        """Seconds of the call."""
        return trio.current_time() - self.began

    async def say(self, samples: Samples) -> None:
        """Speak, in real time; returns when the last frame is out, or the call is over."""
        self._words, self._said = samples, trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until, self.over, nursery.cancel_scope)
            await self._said.wait()
            nursery.cancel_scope.cancel()

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

    async def quiet(self, seconds: float = 0.3) -> None:
        """Wait until nothing has been playing for some time, or the call is over."""
        while not self.over.is_set() and (left := self.ear.cursor + seconds - trio.current_time()) > 0:  # noqa: ASYNC110 - it drains by the clock, nobody tells
            await trio.sleep(left)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send a message; into the void when the call is over."""
        try:
            await self.socket.send_message(json.dumps(message))
        except ConnectionClosed:
            self._finish()

    # -- its tasks --------------------------------------------------------------------------------

    async def speak(self) -> None:
        """Send a frame each 20 ms on an absolute clock: words where there are some, else silence."""
        due = trio.current_time()
        size = len(_SILENCE)
        while not self.over.is_set():
            frame, self._words = self._words[:size], self._words[size:]
            frame = np.concatenate([frame, _SILENCE[len(frame) :]])
            try:
                await self.socket.send_message(frame.astype("<i2").tobytes())
            except ConnectionClosed:
                self._finish()
                return
            if not len(self._words):
                self._said.set()
            due += FRAME
            await trio.sleep_until(due)

    async def listen(self) -> None:
        """Take in what comes until the call is over."""
        while True:
            try:
                message = await self.socket.get_message()
            except ConnectionClosed:
                self._finish()
                return
            now = trio.current_time()
            if isinstance(message, bytes):
                self.ear.play(np.frombuffer(message, "<i2"), now)
                continue
            event: Event = json.loads(message)
            self.events.append((now - self.began, event))
            await self._take(event, now)
            self.tell(now - self.began, event)
            news, self._news = self._news, trio.Event()
            news.set()

    async def _take(self, event: Event, now: float) -> None:
        match event["t"]:
            case "control.bargein":
                self.ear.stop(now)
                self._marks.clear()
            case "tts.mark":
                heapq.heappush(self._marks, (max(self.ear.cursor, now), event["name"]))
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
                await self.send({"t": "mark", "name": heapq.heappop(self._marks)[1]})

    def _finish(self) -> None:
        self.over.set()
        self._news.set()


async def _until(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


@asynccontextmanager
async def open_caller(
    url: str,
    key: str,
    agent: str,
    call_id: str,
    *,
    tell: Callable[[float, Event], None] = lambda _at, _event: None,
    answer_tool: Callable[[Event], Any] | None = None,
) -> AsyncGenerator[Caller]:
    """Call an *agent* of the server at base *url*; the call is over when the block is left."""
    query = urlencode({"callId": call_id, "agentId": agent, "rate": RATE}, quote_via=quote)
    address = f"{url.rstrip('/').replace('http', 'ws', 1)}/realtime/voice?{query}"
    try:
        opening = open_websocket_url(address, subprotocols=["invorto.v1", key])
        async with opening as socket, trio.open_nursery() as nursery:
            caller = Caller(socket, tell)
            if answer_tool is not None:
                caller.answer_tool = answer_tool
            await caller.send({"t": "start", "callId": call_id, "audioOut": "binary", "capabilities": ["marks"]})
            nursery.start_soon(caller.listen)
            nursery.start_soon(caller.speak)
            nursery.start_soon(caller.echo)
            yield caller
            await caller.send({"t": "end"})
            with trio.move_on_after(2):
                await caller.over.wait()
            nursery.cancel_scope.cancel()
    except (OSError, HandshakeError, ConnectionRejected) as error:
        raise UsageError(f"{url} does not answer ({error}): is the server running?") from error
