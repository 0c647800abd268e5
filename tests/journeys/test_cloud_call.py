"""A whole call whose engines and tool are elsewhere: real sockets, real stores, stand-ins of the vendors."""

from __future__ import annotations

import base64
from pathlib import Path

import trio

from invorto.model.agent import ToolDefinition
from invorto.storage import calls, tenants, tools
from tests.journeys.house import BINARY, open_client, open_server, settings, speech
from tests.tools.test_runner import Clinic
from tests.vendors.deepgram import open_deepgram
from tests.vendors.elevenlabs import open_elevenlabs
from tests.vendors.faults import KEY
from tests.vendors.openai import WORDS, open_openai
from tests.vendors.web import open_web

KEYS = base64.b64encode(bytes(range(32))).decode()


async def test_a_call_in_the_cloud(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Heard by one vendor, thought by another, spoken by the second choice; a tool is called, and each is paid."""
    clinic = Clinic()
    async with (
        open_deepgram(mute=True) as deepgram,
        open_openai(tools=[("book", '{"day": "Monday"}')]) as openai,
        open_elevenlabs() as elevenlabs,
        open_web(clinic.serve) as clinic_url,
    ):
        environ = settings(
            postgres_url, redis_url, tmp_path,
            STT_PROVIDER="deepgram", LLM_PROVIDER="openai", TTS_PROVIDER="deepgram, elevenlabs",
            DEEPGRAM_API_KEY=KEY, DEEPGRAM_BASE_URL=deepgram.url, OPENAI_API_KEY=KEY, OPENAI_BASE_URL=openai.url,
            ELEVENLABS_API_KEY=KEY, ELEVENLABS_BASE_URL=elevenlabs.url, INVORTO_SECRET_KEYS=KEYS,
            WEBHOOK_ALLOW_HTTP="1", WEBHOOK_ALLOWED_SUBNETS="127.0.0.0/8", WEBHOOK_ALLOWED_PORTS="any",
        )  # fmt: skip
        async with open_server(environ, {"greeting": "Hello.", "tools": ["book"]}) as server:
            database, equipping = server.resources.database, server.resources.house.equipping
            assert equipping is not None
            await tenants.change(database, "t_default", settings={"toolHosts": ["127.0.0.1"]})
            book = ToolDefinition(name="book", url=f"{clinic_url}/book", headers={"X-Key": "${secrets.clinic}"})
            await tools.create(database, "t_default", book)
            await tools.put_secret(database, "t_default", *_named("clinic", equipping.seal("hidden")))
            async with open_client(server, "cloud-1", start=BINARY) as client:
                await client.until("tts.done")
                await client.speak(speech())
                await client.until("tts.done", 2)
                await client.send(t="end")
                await client.until_closed()
            with trio.fail_after(10):
                while not (await calls.get(database, "t_default", "cloud-1")).status.terminal:
                    await trio.sleep(0.05)
            detail = (await calls.detail(database, "t_default", "cloud-1"))["costs"]
            timeline = server.resources.timeline
            kinds = [event.kind for event in await timeline.read("cloud-1", count=200)]
    assert {(cost.kind, cost.provider) for cost in detail} >= {
        ("stt", "deepgram"),
        ("llm", "openai"),
        ("tts", "elevenlabs"),
    }
    assert ("tts", "deepgram") not in {(cost.kind, cost.provider) for cost in detail}
    assert [exchange.headers["x-key"] for exchange in clinic.seen] == ["hidden"]
    assert {"tool.requested", "tool.succeeded"} <= set(kinds)
    heard = [event["text"] for event in client.events if event["t"] == "stt.final"]
    assert heard
    assert "Hello there." in heard[0]
    said = [event["heard"] for event in client.events if event["t"] == "tts.done"]
    assert said[0] == "Hello."
    assert WORDS in " ".join(said[1].split())
    assert not [event for event in client.events if event["t"] == "error"]
    assert elevenlabs.asked
    assert not deepgram.speaking


def _named(name: str, sealed: tuple[str, bytes]) -> tuple[str, str, bytes]:
    return sealed[0], name, sealed[1]
