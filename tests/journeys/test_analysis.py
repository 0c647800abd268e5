"""A call whose analysis a model makes when it is over, on real stores; and again after a restart."""

from __future__ import annotations

import json
from pathlib import Path

import trio

from tests.journeys.house import BINARY, open_client, open_server, settings, speech
from tests.journeys.test_conversation import rest
from tests.webhooks.judge import bodies, faults

ANSWER = json.dumps({
    "summary": "Somebody spoke.", "nextSteps": [], "disposition": "resolved", "outcome": "completed",
})  # fmt: skip


async def test_a_model_looks_at_calls_that_are_over(
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """The record is there at once with what rules make of it, then with what the model does; the fact comes once."""
    script = {"heard": ["I want a table."], "replies": ["Sure."], "analysis": [ANSWER]}
    with trio.fail_after(60):
        environ = settings(postgres_url, redis_url, tmp_path, SCRIPTED_ENGINE=json.dumps(script))
        async with open_server(environ) as server:
            async with open_client(server, "call-analysed", start=BINARY) as client:
                await client.until("tts.done")
                await client.speak(speech())
                await client.until("turn.metrics")
                await client.send(t="end")
                await client.until_closed()
            call = await rest(server, "/v1/calls/call-analysed")
            while (call["analysis"] or {}).get("by") != "llm":
                await trio.sleep(0.05)
                call = await rest(server, "/v1/calls/call-analysed")
            assert call["summary"]["text"] == "Somebody spoke."
            assert call["analysis"]["disposition"] == "resolved"
            told = await bodies(server.resources.database, "t_default", "call-analysed")
            async with server.resources.database.tenant("t_default") as work:
                left = await work.fetchval("SELECT count(*) FROM analyses")
    assert [fault for fact in told for fault in faults(fact)] == []
    assert [fact["type"] for fact in told].count("agent.summary") == 1
    assert told[-1]["data"]["analysis"] == call["analysis"]
    assert left == 0
