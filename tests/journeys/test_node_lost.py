"""A node is killed in the middle of a call: another one ends the call, with all that is known of it."""

from __future__ import annotations

from pathlib import Path

import trio

from invorto.model.call import CallStatus, EndReason
from invorto.storage import calls
from tests.journeys.house import BINARY, Reach, open_client, open_server, settings
from tests.journeys.processes import running
from tests.webhooks.judge import bodies, faults

TTL = 3
GREETING = "Hello there, how can I help you to-day?"


async def test_killed_in_mid_call(loop: None, postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """Its slot is free within the lease plus a second; the call ends as `node_lost`, its words and costs are there."""
    caps = {"TELEPHONY_SEMAPHORE_TTL_SEC": str(TTL), "TELEPHONY_GLOBAL_MAX_CONCURRENCY": "1", "LOG_LEVEL": "info"}
    environ = settings(postgres_url, redis_url, tmp_path / "data", **caps)
    async with open_server(environ, {"greeting": GREETING}) as survivor:
        resources = survivor.resources
        resources.reconciler.patience, resources.reconciler.every = 1.0, 1.0
        async with running("serve", folder=tmp_path / "lost", environ=environ) as doomed:
            server = Reach(port=await doomed.port(), key=survivor.key, agent_id=survivor.agent_id)
            async with open_client(server, "c-lost", start=BINARY) as client:
                await client.until("tts.done")
                await client.send(t="text", text="a table for two")
                await client.until("tts.done", 2)
                owner = await resources.leases.owner_of("c-lost")
                assert owner is not None
                assert owner.node_id != resources.node_id
                async with open_client(survivor, "c-next") as refused:
                    assert await refused.until_closed() == (4029, "concurrency_limit")
                await trio.sleep(0.3)  # its last events are written within a tenth of a second
                doomed.process.kill()
                killed_at = trio.current_time()
                await client.until_closed()
            with trio.fail_after(TTL + 1):
                while await resources.leases.owner_of("c-lost") is not None:
                    await trio.sleep(0.05)
            assert trio.current_time() - killed_at <= TTL + 1
            async with open_client(survivor, "c-next", start=BINARY) as client:
                await client.until("tts.done")
            with trio.fail_after(15):
                while (call := await calls.get(resources.database, "t_default", "c-lost")).status is CallStatus.ACTIVE:
                    await trio.sleep(0.1)
        assert (call.status, call.end_reason, call.node_id) == (
            CallStatus.FAILED, EndReason.NODE_LOST, resources.node_id,
        )  # fmt: skip
        said = await calls.transcript(resources.database, "t_default", "c-lost")
        assert [(one.role, one.text) for one in said][:1] == [("assistant", GREETING)]
        detail = await calls.detail(resources.database, "t_default", "c-lost")
        assert {"transport", "stt"} <= {cost.kind for cost in detail["costs"]}
        assert detail["recording"] == "t_default/c-lost.wav"
        assert detail["usage"]["recordedSeconds"] > 1
        told = await bodies(resources.database, "t_default", "c-lost")
        assert [fault for fact in told for fault in faults(fact)] == []
        types = [fact["type"] for fact in told]
        assert types[-4:] == ["call.ended", "call.recording.ready", "billing.usage.updated", "agent.summary"]
        assert types.count("call.ended") == 1
