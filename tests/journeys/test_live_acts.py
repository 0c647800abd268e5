"""Live calls that are acted on from another process than the one that holds them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import pytest
import trio

from invorto.storage.postgres import Database
from tests.journeys.house import BINARY, Reach, open_client, settings
from tests.journeys.processes import QUIET, Running, reach, rest, running

SOON = 0.25
"""Seconds that an act on another node's call may take; the best of a few, since the machine has others to serve."""


@attrs.frozen
class Pair:
    """Two servers on the same stores: calls are held by the one, and acted on over the other."""

    owner: Running
    other: Running
    here: Reach
    there: Reach


@pytest.fixture
async def pair(database: Database, postgres_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Pair]:
    """Run both."""
    environ = settings(postgres_url, redis_url, tmp_path, LOG_LEVEL="info", REALTIME_WS_SECRET="s" * 32)
    async with AsyncExitStack() as stack:
        runs = [
            await stack.enter_async_context(running("serve", folder=tmp_path / name, environ=environ))
            for name in ("a", "b")
        ]
        document = {**QUIET, "transferTargets": ["+91*"]}
        here = await reach(await runs[0].port(), database, document)
        there = attrs.evolve(here, port=await runs[1].port())
        yield Pair(runs[0], runs[1], here, there)


async def test_from_another_process(pair: Pair) -> None:
    """Everything that can be done to a call is done over the node that does not hold it, and soon."""
    async with open_client(pair.here, "c-far", start=BINARY) as client:
        await client.until("connected")
        base = "/v1/realtime/c-far"
        took: list[float] = []
        for number in range(5):
            began = trio.current_time()
            said = await rest(pair.there, f"{base}/say", {"text": f"Number {number}."})
            took.append(trio.current_time() - began)
            assert said.status == 200, said
            assert said.body["status"] == ("queued" if number else "speaking")
        assert min(took) <= SOON, took
        assert (await client.until("tts.done", 5))["heard"] == "Number 4."
        for path, body, status in (
            ("whisper", {"text": "Be brief."}, "whispered"),
            ("hold", {}, "held"),
            ("hold", {"on": False}, "active"),
            ("recording", {"action": "start"}, "recording"),
            ("recording", {"action": "pause"}, "paused"),
        ):
            done = await rest(pair.there, f"{base}/{path}", body)
            assert (done.status, done.body["status"]) == (200, status), (path, done)
        for path, body, code in (
            ("dtmf", {"digits": "1"}, (409, "not_supported")),
            ("transfer", {"to": "+919876543210"}, (409, "not_supported")),
            ("transfer", {"to": "+4912345"}, (403, "forbidden")),
            ("say", {"text": ""}, (422, "validation_failed")),
        ):
            refused = await rest(pair.there, f"{base}/{path}", body)
            assert (refused.status, refused.body["code"]) == code, (path, refused)
        stats = (await rest(pair.there, f"{base}/stats")).body
        assert (stats["live"], stats["now"]["connections"], stats["now"]["turns"]) == (True, 1, 5)
        [connection] = (await rest(pair.there, "/v1/realtime/connections")).body["data"]
        assert (connection["callId"], connection["connections"]) == ("c-far", 1)
        ended = await rest(pair.there, f"{base}/end", {})
        assert (ended.status, ended.body["status"]) == (200, "ended")
        assert (await client.until("end"))["reason"] == "api"
        assert (await rest(pair.there, "/v1/calls/c-far")).body["status"] == "completed"
        again = await rest(pair.there, f"{base}/end", {})
        assert (again.status, again.body["code"]) == (409, "call_not_live")


async def test_the_owner_is_killed(pair: Pair) -> None:
    """When the owner dies nothing hangs: whoever asked is told that it does not answer, within its two seconds."""
    async with open_client(pair.here, "c-lost", start=BINARY) as client:
        await client.until("connected")
        assert (await rest(pair.there, "/v1/realtime/c-lost/whisper", {"text": "x"})).status == 200
        pair.owner.tell(signal.SIGSTOP)  # it has the command, and dies before it can act
        with trio.fail_after(6):
            async with trio.open_nursery() as nursery:

                async def kill() -> None:
                    await trio.sleep(0.5)
                    pair.owner.tell(signal.SIGKILL)

                nursery.start_soon(kill)
                began = trio.current_time()
                lost = await rest(pair.there, "/v1/realtime/c-lost/end", {})
                assert (lost.status, lost.body["code"]) == (503, "owner_unreachable"), lost
                assert 1.9 <= trio.current_time() - began <= 4
        await pair.owner.ended()
