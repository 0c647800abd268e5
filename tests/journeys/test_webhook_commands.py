"""`invorto webhooks listen` and `trigger` with a real server: registered, told of a call, and gone again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import trio

from invorto import config
from invorto.receiver.listen import Wish, listen
from invorto.receiver.trigger import Shot, trigger
from tests.journeys.house import BINARY, open_client, open_server, settings
from tests.journeys.test_conversation import rest
from tests.webhooks.house import HOME


async def test_a_call_is_listened_to(
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It registers itself, shows a call's events and a sample, all verified, and takes itself back."""
    shown = ""

    async def until(*texts: str) -> None:
        nonlocal shown
        with trio.fail_after(15):
            while not all(text in shown for text in texts):
                await trio.sleep(0.05)
                shown += capsys.readouterr().out

    async with open_server(settings(postgres_url, redis_url, tmp_path, **HOME), webhooks=True) as server:
        wish = Wish(
            host="127.0.0.1", port=0, secret=None, public=None, events=[], answer=200, as_json=False, url=server.url,
            key=server.key,
        )  # fmt: skip
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, config.load({}), wish)  # noqa: ASYNC113 - what it shows is waited for
            await until("registered with")
            (endpoint,) = (await rest(server, "/v1/webhooks"))["data"]
            assert endpoint["description"] == "invorto webhooks listen"
            async with open_client(server, "call-1", start=BINARY) as client:
                await client.until("tts.done")
                await client.send(t="end")
                await client.until_closed()
            await until("✓ call.started", "✓ call.ended", "✓ agent.summary", "call-1")
            shot = Shot(
                type="agent.tool_call", to=None, secret=None, over=None, endpoint=None, url=server.url, key=server.key
            )
            assert await trigger(config.load({}), shot) == 0
            await until("✓ agent.tool_call", "book_table(day=", "the server sends it to")
            signal.raise_signal(signal.SIGINT)
        assert (await rest(server, "/v1/webhooks"))["data"] == []
    assert "✗" not in shown
    assert "it came before" not in shown
    assert json.dumps(endpoint).count("whsec_") == 0
