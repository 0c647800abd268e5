"""The SDK's calls against the real server, on Trio and on asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from invorto_sdk.client import Client, open_client
from invorto_sdk.errors import CallRefused, Unreachable
from invorto_sdk.events import Audio, BargeIn, Connected, Ended, ErrorEvent, Event, Spoken, ToolCall, Transcript
from invorto_sdk.talk import Call
from tests.journeys.house import Server, open_server, settings, speech
from tests.sdk.backends import BACKENDS, on

RATE = 8000
SIZE = RATE // 50 * 2
SCRIPT = (
    '{"sttMs": 50, "llmMs": 50, "ttsMs": 30, "heard": ["I want a table.", "No, wait."], "replies": ['
    '{"say": "One moment.", "tool": {"name": "book", "args": {"day": "Monday"}}}, '
    '"A table it is, and I could tell you much more of what we have today, if you only let me speak to the end."]}'
)


@pytest.fixture
async def server(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """Run a server whose agent greets."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as opened:
        yield opened


async def speak(call: Call, seconds: float | None = None) -> None:
    """Say a sentence in real time, then be silent until the call is over, or for some seconds."""
    sound = speech(RATE).tobytes()
    due, left = anyio.current_time(), None if seconds is None else round(seconds / 0.02)
    while call.closed is None and left != 0:
        frame, sound = sound[:SIZE], sound[SIZE:]
        await call.send_audio(frame.ljust(SIZE, b"\0"))
        due += 0.02
        left = None if left is None else left - 1
        await anyio.sleep(max(0.0, due - anyio.current_time()))


def client(server: Server) -> Any:
    """Open a client of *server*."""
    return open_client(server.key, server.url, environ={})


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_conversation(server: Server, backend: str) -> None:
    """The agent greets and is heard at the pace of speech, the caller is transcribed, answered, and hangs up."""

    async def work() -> None:
        events, heard = list[Event](), bytearray()
        opened: Client
        async with client(server) as opened, opened.talk(server.agent_id, rate=RATE, marks=True) as call:

            async def listen() -> None:
                async for frame in call.speaker():
                    assert len(frame) <= SIZE
                    heard.extend(frame)

            async with anyio.create_task_group() as group:
                group.start_soon(listen)
                async for event in call:
                    events.append(event)
                    if isinstance(event, Spoken):
                        if event.turn == 1:
                            await call.end()
                        else:
                            group.start_soon(speak, call)
        assert call.end_reason == "hangup"
        assert call.closed == (1000, "")
        kinds = [type(event) for event in events]
        assert kinds[0] is Connected
        assert kinds[-1] is Ended
        assert any(isinstance(event, Transcript) and event.final for event in events)
        sent = sum(len(event.pcm) for event in events if isinstance(event, Audio))
        assert len(heard) == sent > RATE
        spoken = [event for event in events if isinstance(event, Spoken)]
        assert spoken[0].heard == "Hello, how can I help?"

    with anyio.fail_after(30):
        await on(backend, work)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_who_breaks_in_hears_no_more(server: Server, backend: str) -> None:
    """What was not played when the caller broke in is dropped at once; a typed word breaks in too."""

    async def work() -> None:
        async with client(server) as opened, opened.talk(server.agent_id, rate=RATE) as call:
            async for event in call:
                match event:
                    case Audio(turn=None) if call.playback.size > SIZE:
                        await call.interrupt("No, wait.")
                    case BargeIn():
                        assert call.playback.size == 0
                        break
                    case _:
                        pass

    with anyio.fail_after(20):
        await on(backend, work)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_nothing_outlives_the_block(server: Server, backend: str) -> None:
    """Leaving the block, orderly or by an error of one's own, ends the call; the error comes out as it is."""

    async def work() -> None:
        async with client(server) as opened:
            async with opened.talk(server.agent_id, call_id="left", rate=RATE) as call:
                pass
            assert call.end_reason == "hangup"
            with pytest.raises(KeyError, match="mine"):
                async with opened.talk(server.agent_id, call_id="broken", rate=RATE) as call:
                    raise KeyError("mine")
            assert [event async for event in call] == []
            await call.send_text("into the void")
            with anyio.move_on_after(0.05) as scope:
                async with opened.talk(server.agent_id, call_id="cancelled", rate=RATE):
                    await anyio.sleep_forever()
            assert scope.cancelled_caught

    with anyio.fail_after(20):
        await on(backend, work)
    while server.resources.live.held:  # noqa: ASYNC110 - the server takes a moment to write them down
        await anyio.sleep(0.01)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_refusals_are_told(server: Server, backend: str) -> None:
    """A bad key, an unknown agent and a server that is not there each say so."""

    async def work() -> None:
        async with open_client("inv_live_wrong_key", server.url, environ={}) as stranger:
            with pytest.raises(CallRefused) as refused:
                async with stranger.talk(server.agent_id):
                    pass
            assert (refused.value.code, refused.value.reason) == (4003, "unauthorized")
        async with client(server) as opened:
            with pytest.raises(CallRefused) as unknown:
                async with opened.talk("nobody"):
                    pass
            assert unknown.value.code == 4004
        async with open_client("k", "http://127.0.0.1:1", environ={}) as nowhere:
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
                async with nowhere.talk(server.agent_id):
                    pass
        async with open_client("k", server.url, environ={"REALTIME_WS_URL": f"{server.url}/health"}) as astray:
            with pytest.raises(CallRefused, match="not a voice socket"):
                async with astray.talk(server.agent_id):
                    pass

    with anyio.fail_after(20):
        await on(backend, work)


# -- tools ----------------------------------------------------------------------------------------


@pytest.fixture
async def booking(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Server]:
    """Run a server whose agent has a client's tool."""
    document = {
        "greeting": None,
        "tools": [{"name": "book", "description": "Book a day.", "inputSchema": {"type": "object"}}],
    }
    environ = settings(postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE=SCRIPT)
    async with open_server(environ, document) as opened:
        yield opened


async def book(day: str) -> dict[str, str]:
    """Book."""
    await anyio.lowlevel.checkpoint()
    return {"booked": day}


def refuse(day: str) -> None:
    """Book nothing."""
    raise ValueError(f"{day} is full")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tool", [book, refuse])
async def test_tools_are_plain_functions(booking: Server, backend: str, tool: Any) -> None:
    """The agent's tool call is answered by a function with its arguments, or with the error that it raised."""

    async def work() -> list[Event]:
        events = list[Event]()
        async with client(booking) as opened, opened.talk(booking.agent_id, call_id="t", tools={"book": tool}) as call:
            await call.send_text("I want a table.")
            async for event in call:
                events.append(event)
                if isinstance(event, (Spoken, ErrorEvent)):
                    break
        return events

    with anyio.fail_after(20):
        events = await on(backend, work)
    (wanted,) = [event for event in events if isinstance(event, ToolCall)]
    assert (wanted.name, dict(wanted.args)) == ("book", {"day": "Monday"})
    assert not [event for event in events if isinstance(event, ErrorEvent)]
    assert [event.turn for event in events if isinstance(event, Spoken)]
