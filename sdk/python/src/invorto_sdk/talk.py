"""One call over a voice socket: audio out, events in, tools answered; nothing of it outlives the block."""

from __future__ import annotations

import inspect
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal, Self, TypeAlias

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from invorto_sdk.errors import CallRefused, SocketClosed
from invorto_sdk.events import Connected, Ended, ErrorEvent, Event, ToolCall, parse
from invorto_sdk.playback import Playback
from invorto_sdk.sockets import Socket, open_socket

Tool: TypeAlias = "Callable[..., Any] | Callable[..., Awaitable[Any]]"
"""Gets the call's arguments by name; gives what JSON can hold, or raises, which the agent is told."""

FRAME = 0.02
"""Seconds of audio that `Call.speaker` gives at a time."""
WAITING = 1024
"""Events that may wait to be read; then the server is not read either, and gives a call up that stays so."""
ANSWER = 20.0
"""Seconds that the server may take to let a call in."""


class Call:
    """A call that is on; iterate it for its events. `Client.talk` gives one."""

    def __init__(
        self, socket: Socket, group: TaskGroup, tools: Mapping[str, Tool], *, id: str, rate: int, marks: bool
    ) -> None:
        self.id, self.rate = id, rate
        self.playback = Playback()
        """What the agent said and `speaker` has not given yet."""
        self.end_reason: str | None = None
        """Why the call ended, in the server's word; None while it is on, or when it was cut."""
        self.closed: tuple[int, str] | None = None
        """The close code and reason; None while the socket is open."""
        self._socket, self._group, self._tools, self._marks = socket, group, tools, marks
        self._send: MemoryObjectSendStream[Event]
        self.events: MemoryObjectReceiveStream[Event]
        self._send, self.events = anyio.create_memory_object_stream[Event](WAITING)
        self._news = anyio.Event()

    def __aiter__(self) -> Self:
        """Give events as they come, until the call is over."""
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event."""
        try:
            return await self.events.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None

    async def send_audio(self, pcm: bytes) -> None:
        """Send 10 to 200 ms of the caller's audio: 16-bit little-endian PCM, mono, at `rate`."""
        await self._say(pcm)

    async def send_text(self, text: str) -> None:
        """Say something in writing: the agent falls silent and answers."""
        await self.send({"t": "text", "text": text})

    async def interrupt(self, text: str) -> None:
        """Break in with *text*: nothing more of what the agent was saying is played."""
        self.playback = Playback(self.playback.most)
        await self.send_text(text)

    async def send_digits(self, digits: str, method: Literal["rfc2833", "info"] = "rfc2833") -> None:
        """Send keys to the far end."""
        await self.send({"t": "dtmf.send", "digits": digits, "method": method})

    async def transfer(self, to: str, mode: Literal["blind", "attended"] = "blind") -> None:
        """Hand the caller over."""
        await self.send({"t": "transfer", "to": to, "mode": mode})

    async def pause(self) -> None:
        """Have the agent neither listen nor speak."""
        await self.send({"t": "pause"})

    async def resume(self) -> None:
        """Go on after `pause`."""
        await self.send({"t": "resume"})

    async def configure(self, config: Mapping[str, Any]) -> None:
        """Change fields of the agent's configuration from the next turn on."""
        await self.send({"t": "config", "config": dict(config)})

    async def answer_tool(self, call: ToolCall, result: Any = None, *, error: str | None = None) -> None:
        """Answer a tool call for which no function was given."""
        await self.send(
            {"t": "tool.result", "id": call.id, **({"result": result} if error is None else {"error": error})}
        )

    async def end(self) -> None:
        """Hang up; the remaining events still come."""
        await self.send({"t": "end"})

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send any message of the protocol; into the void when the call is over."""
        await self._say(json.dumps(message))

    async def speaker(self) -> AsyncIterator[bytes]:
        """Give the agent's audio at the pace at which it is heard, 20 ms at a time; silent at once on a barge-in."""
        size, due = round(self.rate * FRAME) * 2, anyio.current_time()
        while self.closed is None or self.playback.size:
            frame, marks = self.playback.take(size)
            for name in marks:
                if self._marks:
                    await self.send({"t": "mark", "name": name})
            if frame:
                yield frame
                due = max(due + FRAME, anyio.current_time() - FRAME)
                await anyio.sleep(max(0.0, due - anyio.current_time()))
                continue
            self._news = news = anyio.Event()
            if self.closed is None:
                await news.wait()
            due = anyio.current_time()

    async def _say(self, message: str | bytes) -> None:
        try:
            await self._socket.send(message)
        except SocketClosed:
            await anyio.lowlevel.checkpoint()

    # -- its tasks --------------------------------------------------------------------------------

    async def read(self, on: anyio.Event) -> None:
        """Take in what comes, for as long as the socket is open."""
        refusal = ErrorEvent("error")
        try:
            while True:
                event = parse(await self._socket.receive())
                match event:
                    case Connected():
                        on.set()
                    case ErrorEvent():
                        refusal = event
                    case Ended(reason=reason):
                        self.end_reason = reason
                    case ToolCall(name=name) if name in self._tools:
                        self._group.start_soon(self._use, event)
                    case _:
                        pass
                self.playback.hear(event)
                self._news.set()
                await self._send.send(event)
        except SocketClosed as closed:
            self.closed = closed.code, closed.reason
            if not on.is_set():
                self.refused = CallRefused(closed.code, closed.reason, refusal.message, refusal.retry_after)
        except anyio.BrokenResourceError:  # nobody iterates any more
            pass
        finally:
            self._send.close()
            self._news.set()
            on.set()

    refused: CallRefused | None = None
    """Why the call was not let in."""

    async def _use(self, call: ToolCall) -> None:
        try:
            result = self._tools[call.name](**call.args)
            if inspect.isawaitable(result):
                result = await result
            await self.answer_tool(call, result)
        except Exception as error:  # noqa: BLE001 - whatever it is, the agent is told, and the call goes on
            await self.answer_tool(call, error=f"{type(error).__name__}: {error}")


@asynccontextmanager
async def open_call(
    url: str,
    key: str,
    *,
    call_id: str | None,
    agent: str | None,
    rate: int,
    locale: str | None,
    variables: Mapping[str, str] | None,
    tools: Mapping[str, Tool],
    marks: bool,
) -> AsyncGenerator[Call]:
    """Open a call at *url*; `CallRefused` and `Unreachable` say why there is none. The block's errors come out bare."""
    headers = {"Authorization": f"Bearer {key}"}
    failure: BaseException | None = None
    name = call_id or new_call_id()
    async with open_socket(url, ["invorto.v1", key], headers) as socket, anyio.create_task_group() as group:
        call = Call(socket, group, tools, id=name, rate=rate, marks=marks)
        try:
            on = anyio.Event()
            group.start_soon(call.read, on)
            start: dict[str, Any] = {"t": "start", "callId": name, "audioOut": "binary"}
            start |= {"agentId": agent} if agent else {}
            start |= {"locale": locale} if locale else {}
            start |= {"variables": dict(variables)} if variables else {}
            start |= {"capabilities": ["marks"]} if marks else {}
            await call.send(start)
            with anyio.fail_after(ANSWER):
                await on.wait()
            if call.refused is not None:
                raise call.refused
            yield call
            await call.end()
            with anyio.move_on_after(2):
                while call.closed is None:
                    await call.events.receive()
        except (Exception, GeneratorExit) as error:  # noqa: BLE001 - raised again outside the group, which would wrap it
            failure = error if not isinstance(error, anyio.EndOfStream) else None
        finally:
            call.events.close()
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


def new_call_id() -> str:
    """Make a call's id."""
    return f"c_{uuid.uuid4().hex}"
