"""Timelines as Server-Sent Events, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from invorto.api import event_stream
from invorto.api.hypercorn import HttpServer
from invorto.model.call import Call, CallStatus
from invorto.storage import calls, ledger_rows
from invorto.storage.tenants import DEFAULT_TENANT
from tests.api.world import World, event
from tests.storage.nouns import a_call, an_agent, finished
from tests.wire.peers import Door, open_door


@pytest.fixture
async def door(world: World) -> AsyncIterator[Door]:
    """Give a door with the API behind it, whose writer of timelines runs."""
    server = HttpServer(world.app, stopping=world.deps.stopping)
    async with trio.open_nursery() as nursery:
        await nursery.start(world.timeline.run)
        async with open_door(server) as opened:
            yield opened
            server.drain()
        nursery.cancel_scope.cancel()


class Reader:
    """A client that reads a stream."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self._text = stream, b""
        self.over = False

    async def until(self, word: bytes) -> bytes:
        """Read until *word* has come; gives what is before it, and forgets both."""
        with trio.fail_after(10):
            while word not in self._text:
                piece = await self._stream.receive_some(65_536)
                assert piece, f"it ended before {word!r}: {self._text!r}"
                self._text += piece
        before, _, self._text = self._text.partition(word)
        return before

    async def next(self) -> dict[str, Any]:
        """Read the next event."""
        await self.until(b"data: ")
        return json.loads(await self.until(b"\n\n"))

    async def ended(self) -> None:
        """See that it ends, with nothing more in it."""
        await self.until(b"0\r\n\r\n")


@asynccontextmanager
async def opened(door: Door, world: World, call_id: str, query: str = "", last: str = "") -> AsyncIterator[Reader]:
    """Open a stream."""
    head = (
        f"GET /v1/calls/{call_id}/timeline{query} HTTP/1.1\r\nHost: here\r\nAccept: text/event-stream\r\n"
        f"Authorization: Bearer {world.keys['analyst']}\r\n" + (f"Last-Event-ID: {last}\r\n" if last else "") + "\r\n"
    )
    async with await door.knock() as stream:
        await stream.send_all(head.encode())
        reader = Reader(stream)
        told = await reader.until(b"\r\n\r\n")
        assert b"HTTP/1.1 200" in told, told
        assert b"text/event-stream" in told
        yield reader


async def living(world: World) -> Call:
    """Make a call that goes on."""
    call = await a_call(world.database, await an_agent(world.database))
    return await calls.move(world.database, DEFAULT_TENANT, call.id, CallStatus.ACTIVE, epoch=1)


async def test_what_is_there_and_what_comes(world: World, door: Door) -> None:
    """A reader gets what has happened, then what happens as it does, once and in order, and the end with the call."""
    call = await living(world)
    await world.happen(call.id, event(1, text="one"), event(2, text="two"))
    async with opened(door, world, call.id) as reader:
        assert [(await reader.next())["payload"] for _ in range(2)] == [{"text": "one"}, {"text": "two"}]
        world.timeline.append(call.id, event(3, text="línea\n3"))
        assert (await reader.next())["payload"] == {"text": "línea\n3"}
        async with opened(door, world, call.id, last=event(2).id) as late:
            assert (await late.next())["id"] == event(3).id
        async with opened(door, world, call.id, "?kind=call.ended") as picky:
            world.timeline.append(call.id, event(4))
            world.timeline.append(call.id, event(5, "call.ended"))
            assert (await picky.next())["kind"] == "call.ended"
            await picky.ended()
        assert [(await reader.next())["id"] for _ in range(2)] == [event(4).id, event(5).id]
        await reader.ended()


async def test_one_who_is_gone_or_does_not_read(world: World, door: Door) -> None:
    """Readers that go, or never read, hold up neither the call nor the others, and leave nothing behind."""
    call = await living(world)
    async with opened(door, world, call.id), opened(door, world, call.id) as reader:
        async with opened(door, world, call.id):
            pass
        for number in range(2000):
            world.timeline.append(call.id, event(number, text="x" * 500))
        for number in range(2000):
            assert (await reader.next())["id"] == event(number).id


async def test_heartbeats_and_a_call_that_ends_without_a_word(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In silence there is a comment now and then; a call that was ended by somebody else ends its stream."""
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.1)
    call = await living(world)
    async with opened(door, world, call.id) as reader:
        await reader.until(b": still here\n\n")
        await reader.until(b": still here\n\n")
        await ledger_rows.write(world.database, finished(call))
        await reader.until(b"0\r\n\r\n")


async def test_a_drain_ends_it(world: World, door: Door) -> None:
    """When the process is to stop, streams come to their end, so that nobody waits for them."""
    call = await living(world)
    async with opened(door, world, call.id) as reader:
        await reader.until(b"retry: 2000\n\n")
        world.deps.stopping.set()
        await reader.ended()


async def test_a_call_that_is_over(world: World, door: Door) -> None:
    """The whole is streamed from what is kept; whoever has had it all is told not to come again."""
    call = await a_call(world.database, await an_agent(world.database))
    await ledger_rows.write(world.database, finished(call))
    async with opened(door, world, call.id) as reader:
        found = [(await reader.next()) for _ in range(3)]
        assert [one["kind"] for one in found] == ["call.started", "stt.final", "call.ended"]
        await reader.ended()
    async with opened(door, world, call.id, last=found[1]["id"]) as reader:
        assert (await reader.next())["kind"] == "call.ended"
    headers = {"Accept": "text/event-stream", "Last-Event-ID": found[2]["id"]}
    path = f"/v1/calls/{call.id}/timeline"
    assert (await world.ask("GET", path, headers=headers)).status == 204
    assert (await world.ask("GET", path, headers={**headers, "Last-Event-ID": "x"})).status == 422
    assert (await world.ask("GET", path, headers=headers, key="other")).status == 404
    assert (await world.ask("GET", path)).json["callId"] == call.id
