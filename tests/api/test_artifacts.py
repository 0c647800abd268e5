"""What a call left as files, and what calls came to."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZipFile

import attrs
import pytest

from invorto.api.app import make_app
from invorto.api.links import LIFE
from invorto.storage import ledger_rows
from invorto.storage.fakes import FakeRedis
from invorto.storage.postgres import Database
from tests.api.world import World, open_world
from tests.storage.nouns import a_call, an_agent, finished

SOUND = b"RIFF" + bytes(range(256)) * 400


@pytest.fixture
async def signing(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """Give an API that signs links."""
    key = base64.b64encode(b"k" * 32).decode()
    async with open_world(database, FakeRedis(), tmp_path, INVORTO_SECRET_KEYS=key) as made:
        yield made


async def recorded(world: World, **fields: object) -> str:
    """Make a call that left everything; give its id."""
    call = await a_call(world.database, await an_agent(world.database))
    (world.deps.recordings / "x.wav").write_bytes(SOUND)
    assert await ledger_rows.write(world.database, finished(call, recording="x.wav", **fields))
    return call.id


async def test_files_behind_links(signing: World) -> None:
    """Each link leads to its file without a key, the recording in ranges too; the bundle holds them all."""
    call_id = await recorded(signing)
    told = (await signing.ask("GET", f"/v1/calls/{call_id}/artifacts", key="analyst")).json
    found = {one["name"]: one["url"].removeprefix("https://voice.example.com") for one in told["artifacts"]}
    assert list(found) == ["recording.wav", "transcript.json", "transcript.jsonl", "metrics.ndjson", "bundle.zip"]
    files = {name: await signing.ask("GET", url, key=None) for name, url in found.items()}
    assert [one.status for one in files.values()] == [200] * 5
    assert files["recording.wav"].data == SOUND
    part = await signing.ask("GET", found["recording.wav"], key=None, headers={"Range": "bytes=4-9"})
    assert (part.status, part.data, part.headers["Content-Range"]) == (206, SOUND[4:10], f"bytes 4-9/{len(SOUND)}")
    over = await signing.ask("GET", found["recording.wav"], key=None, headers={"Range": "bytes=999999999-"})
    assert over.status == 416
    head = await signing.ask("HEAD", found["recording.wav"], key=None)
    assert (head.status, head.data) == (200, b"")
    assert files["transcript.json"].json["transcript"][0]["text"] == "Hello, how can I help?"
    assert [json.loads(line)["role"] for line in files["transcript.jsonl"].data.splitlines()] == [
        "assistant", "user", "assistant",
    ]  # fmt: skip
    assert [json.loads(line)["kind"] for line in files["metrics.ndjson"].data.splitlines()] == [
        "call.started", "stt.final", "call.ended",
    ]  # fmt: skip
    with ZipFile(io.BytesIO(files["bundle.zip"].data)) as archive:
        assert archive.testzip() is None
        packed = {name: archive.read(name) for name in archive.namelist()}
    assert packed == {name: one.data for name, one in files.items() if name != "bundle.zip"}


async def test_links_that_are_not_good(signing: World) -> None:
    """A link opens its one file of its one call, until it runs out, and nothing else."""
    call_id = await recorded(signing)
    told = (await signing.ask("GET", f"/v1/calls/{call_id}/artifacts")).json
    good = urlsplit(told["artifacts"][1]["url"])
    for path, query in (
        (good.path, ""), (good.path, good.query + "x"), (good.path.replace("json", "jsonl"), good.query),
        (good.path.replace(call_id, "c_other"), good.query), (good.path, good.query.replace("expires=1", "expires=2")),
    ):  # fmt: skip
        refused = await signing.ask("GET", f"{path}?{query}", key=None)
        assert refused.status == 403, (path, query)
    later = signing.deps.wall() + LIFE
    aged = attrs.evolve(
        signing, app=make_app(attrs.evolve(signing.deps, wall=lambda: later, metrics=type(signing.deps.metrics)()))
    )
    assert (await aged.ask("GET", f"{good.path}?{good.query}", key=None)).status == 403
    assert (await signing.ask("GET", f"/v1/calls/{call_id}/artifacts", key="other")).status == 404


async def test_no_files_of_a_call_that_goes_on(world: World) -> None:
    """While a call goes on there is nothing to fetch."""
    call = await a_call(world.database, await an_agent(world.database))
    assert (await world.ask("GET", f"/v1/calls/{call.id}/artifacts")).json["artifacts"] == []


async def test_usage_and_spend(world: World) -> None:
    """What ended in the period is counted and summed, by provider and by stretch, as JSON and as CSV; no one else's."""
    now = datetime.fromtimestamp(world.deps.wall(), UTC)
    for ago in (1, 50, 60 * 30):
        call = await a_call(
            world.database, await an_agent(world.database, name=f"d{ago}"), created_at=now - timedelta(days=5)
        )
        assert await ledger_rows.write(world.database, finished(call, ended_at=now - timedelta(minutes=ago)))
    path = "/v1/tenants/t_default/usage"
    day = (await world.ask("GET", f"{path}?period=24h", key="analyst")).json
    assert (day["calls"], day["byStatus"], day["minutes"], day["spendInr"]) == (2, {"completed": 2}, 2.05, "1.10")
    assert [(one["kind"], one["provider"], one["inr"]) for one in day["costs"]] == [
        ("stt", "local", "0.8700"), ("llm", "local", "0.2202"),
    ]  # fmt: skip
    assert (len(day["series"]), sum(one["calls"] for one in day["series"])) == (24, 2)
    assert (await world.ask("GET", f"{path}?period=7d")).json["calls"] == 3
    assert (await world.ask("GET", f"{path}?period=1h")).json["series"][-1]["calls"] == 1
    sheet = await world.ask("GET", f"{path}?period=24h", headers={"Accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(sheet.data.decode())))
    assert (len(rows), sum(int(row["calls"]) for row in rows)) == (24, 2)
    assert set(rows[0]) == {"from", "to", "calls", "minutes", "spendInr"}
    assert (await world.ask("GET", path, key="other")).status == 404
    assert (await world.ask("GET", path, key="operator")).status == 200
    assert (await world.ask("GET", "/v1/tenants/t_none/usage", key="operator")).status == 404
    assert (await world.ask("GET", f"{path}?period=2h")).status == 422
    metrics = (await world.ask("GET", "/v1/metrics", key="analyst")).json
    assert (metrics["calls"], metrics["completedShare"], metrics["voiceToVoiceMs"]) == (2, 1.0, 412.0)
    assert (await world.ask("GET", "/v1/metrics", key="other")).json["calls"] == 0
