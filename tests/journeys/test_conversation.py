"""One whole conversation over a real socket, on real stores: what the caller gets, and what is kept."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from invorto.audio.wav import read_wav
from invorto.storage import calls
from tests.journeys.house import BINARY, Client, Server, open_client, open_server, settings, speech
from tests.webhooks.judge import bodies, faults


async def rest(server: Server, path: str) -> Any:
    """Read a route."""
    request = urllib.request.Request(server.url + path, headers={"x-api-key": server.key})

    def get() -> bytes:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()

    return json.loads(await trio.to_thread.run_sync(get))


async def talk(client: Client) -> None:
    """Ask, be answered, interrupt, be answered again, and hang up."""
    await client.until("tts.done")
    await client.speak(speech())
    await client.until("turn.metrics")
    await trio.sleep(1.0)
    await client.speak(speech(name="libri_0920")[:16000])
    await client.until("turn.metrics", 2)
    await trio.sleep(0.5)
    await client.send(t="end")
    assert await client.until_closed() == (1000, None) or client.closed == (1000, "")


async def test_a_conversation_and_all_it_leaves(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """The caller is heard, answered, and may interrupt; transcript, timeline, recording, costs and facts are kept."""
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as server:
        async with open_client(server, "call-1", start=BINARY) as client:
            await talk(client)
        kinds = [event["t"] for event in client.events]
        assert kinds[0] == "connected"
        assert kinds[-1] == "end"
        assert "control.bargein" in kinds
        ids = [tuple(map(int, event["id"].split("-"))) for event in client.events]
        assert ids == sorted(set(ids))
        assert sum(map(len, client.audio)) > 8000

        while (call := await rest(server, "/v1/calls/call-1"))["status"] != "completed":
            await trio.sleep(0.05)
        assert call["endReason"] == "hangup"
        assert {cost["kind"] for cost in call["costs"]} == {"transport", "stt", "tts", "llm"}
        assert call["summary"]["outcome"] == "completed"
        timeline = (await rest(server, "/v1/calls/call-1/timeline?count=1000"))["timeline"]
        sent = {event["id"] for event in client.events}
        kept = [event["kind"] for event in timeline]
        assert {"call.started", "stt.final", "bargein.detected", "turn.metrics", "tts.done", "call.ended"} <= set(kept)
        assert {event["id"] for event in timeline if event["kind"] == "stt.final"} <= sent

        words = await calls.transcript(server.resources.database, server.tenant_id, "call-1")
        assert [turn.role for turn in words][:3] == ["assistant", "user", "assistant"]
        assert words[2].interrupted
        detail = await calls.detail(server.resources.database, server.tenant_id, "call-1")
        assert detail["recording"] is not None
        recorded = server.resources.recorder.folder / detail["recording"]
        mono, rate = read_wav(recorded)
        assert rate == 8000
        assert len(mono) / rate == pytest.approx(detail["call"].duration, abs=0.3)
        assert np.abs(mono).max() > 1000
        told = await bodies(server.resources.database, server.tenant_id, "call-1")
        assert [fault for fact in told for fault in faults(fact)] == []
        assert [fact["data"]["seq"] for fact in told] == list(range(1, len(told) + 1))
        types = [fact["type"] for fact in told]
        assert types[:2] == ["call.started", "call.answered"]
        assert types[-4:] == ["call.ended", "call.recording.ready", "billing.usage.updated", "agent.summary"]
        assert set(types[2:-4]) == {"stt.final"}
        summary = told[-1]["data"]
        assert [message["text"] for message in summary["messages"]] == [turn.text for turn in words]
        assert summary["kpis"]["interruptions"] == 1
        assert summary["kpis"]["latency"]["voiceToVoiceMs"]["p50"] > 0
        assert summary["media"]["engines"] == {"stt": "scripted", "llm": "scripted", "tts": "scripted"}
        assert summary["emotion"]["speakingSeconds"] > 0
        assert summary["agent"]["greeting"] == "Hello, how can I help?"
        assert summary["costInr"] == call["costInr"]
