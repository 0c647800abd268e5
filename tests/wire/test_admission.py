"""Real clients at the real door: the subprotocol they need, the reason why not, and a line that works."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
import trio
from trio_websocket import ConnectionClosed

from invorto import config
from invorto.errors import PeerError
from invorto.model.event_ids import EventClock
from invorto.realtime.auth import Trust, choose_subprotocol
from invorto.realtime.door import Upgrade
from invorto.realtime.head import Request
from invorto.realtime.knock import Porter, knock, refuse
from invorto.realtime.line import HungUp
from invorto.realtime.origin import Origins
from invorto.realtime.protocol import Start, Text
from invorto.realtime.web import WebLine
from tests.realtime.doors import NOW, FakeAgents, FakeCalls, agent, keys
from tests.wire.peers import open_client, open_door

PORTER = Porter(
    trust=Trust(default_tenant="t_1"),
    origins=Origins(),
    keys=keys(),
    calls=FakeCalls({}),
    agents=FakeAgents([agent(), agent("a_idle", "Idle", status="inactive")]),
    wall=lambda: NOW,
)


async def parrot(request: Request, upgrade: Upgrade) -> None:
    """Let somebody in, or not; play back what is said."""
    async with upgrade.accept(choose_subprotocol(request)) as socket:
        try:
            admission = await knock(request, PORTER)
        except PeerError as refusal:
            await refuse(socket, refusal, NOW)
            return
        clock = EventClock(NOW, trio.current_time())
        line = WebLine.of(socket, admission, lambda: clock.next(trio.current_time()), config.load({}).limits)
        while not isinstance(inbound := await line.receive(lambda audio, _: line.play(audio, turn=1)), HungUp):
            match inbound:
                case Text(text):
                    line.mark(text, turn=1, text=text)
                case Start():
                    pass
                case _:
                    await line.close()


@pytest.mark.parametrize("offered", [["invorto.v1", "inv_live_dev"], ["inv_live_dev"]], ids=["ours", "original's"])
async def test_a_client_talks_over_a_web_line(offered):
    """A client's handshake succeeds with its subprotocol; audio, messages and marks go both ways; `end` closes 1000."""
    frame = np.arange(-160, 160, dtype="<i2").tobytes()
    async with open_door(voice=parrot) as door:
        url = f"ws://127.0.0.1:{door.port}/realtime/voice?callId=c_1&agentId=Desk"
        async with open_client(url, subprotocols=offered) as client:
            assert client.subprotocol == offered[0]

            async def hear() -> Any:
                with trio.fail_after(5):
                    message = await client.get_message()
                return json.loads(message) if isinstance(message, str) else message

            await client.send_message(frame)
            chunk = await hear()
            assert (chunk["t"], chunk["seq"], base64.b64decode(chunk["pcm16"])) == ("tts.chunk", 0, frame)
            await client.send_message("{}")
            assert (await hear())["code"] == "bad_message"
            await client.send_message('{"t":"start","audioOut":"binary","capabilities":["marks"]}')
            await client.send_message('{"t":"text","text":"m1"}')
            assert (await hear())["name"] == "m1"
            await client.send_message(frame)
            assert await hear() == frame
            await client.send_message('{"t":"ping"}')
            assert (await hear())["t"] == "pong"
            await client.send_message('{"t":"end"}')
            with trio.fail_after(5), pytest.raises(ConnectionClosed) as closed:
                await client.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1000


@pytest.mark.parametrize(
    ("query", "offered", "told", "code", "reason"),
    [
        ("agentId=a_1", ["inv_live_dev"], [], 4002, "missing_call_id"),
        ("callId=c_1&agentId=a_1", ["inv_live_nobody"], [], 4003, "unauthorized"),
        ("callId=c_1&agentId=a_1", ["invorto.v1"], [], 4003, "unauthorized"),
        ("callId=c_1&agentId=a_1", [], [], 4003, "unauthorized"),
        ("callId=c_1&codec=mulaw&rate=16000", ["inv_live_dev"], [], 1003, "unsupported_audio"),
        ("callId=c_1&agentId=nobody", ["inv_live_dev"], ["agent_not_found"], 4004, "agent_not_found"),
        ("callId=c_1&agentId=Idle", ["inv_live_dev"], ["agent_not_active"], 4004, "agent_not_found"),
    ],
    ids=range(7),
)
async def test_a_client_that_is_refused_can_read_why(query, offered, told, code, reason):
    """The handshake succeeds for everybody; then come the errors, if there are any, and the code."""
    async with open_door(voice=parrot) as door:
        url = f"ws://127.0.0.1:{door.port}/realtime/voice?{query}"
        async with open_client(url, subprotocols=offered) as client:
            for expected in told:
                assert json.loads(await client.get_message())["code"] == expected
            with trio.fail_after(5), pytest.raises(ConnectionClosed) as closed:
                await client.get_message()
            assert closed.value.reason is not None
            assert (closed.value.reason.code, closed.value.reason.reason) == (code, reason)
