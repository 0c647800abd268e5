"""The API against its own document, by a tool that nobody here wrote: every answer is as documented."""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from invorto.api.hypercorn import HttpServer
from invorto.storage.postgres import Database
from invorto.storage.redis import open_redis
from tests.api.things import MAKERS
from tests.api.world import World, open_world
from tests.wire.peers import Door, open_door

PROVE = bool(os.environ.get("PROVE"))
EXAMPLES = 40 if PROVE else 2
"""Cases an operation in each phase that makes some up."""
LEAST = 2000 if PROVE else 100
"""Cases in all."""
PHASES = "examples,coverage,fuzzing,stateful" if PROVE else "fuzzing,stateful"
SETTINGS = """
[generation]
allow-x00 = false  # it is refused, which no JSON Schema can say

[checks.positive_data_acceptance]
# 404 and 409 are about what is there; 422 is for rules over several fields, which no JSON Schema can say.
expected-statuses = ["2xx", 304, 401, 403, 404, 409, 416, 422]
"""


@pytest.fixture
async def reachable(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[World, Door]]:
    """Give an API on a real port, with one of everything in it."""
    environ = {"INVORTO_SECRET_KEYS": base64.b64encode(b"s" * 32).decode()}
    async with (
        open_redis(redis_url) as redis,
        open_world(database, redis, tmp_path, **environ) as world,
        open_door(HttpServer(world.app)) as door,
    ):
        for make in MAKERS.values():
            await make(world)
        yield world, door


async def test_every_answer_is_as_documented(reachable: tuple[World, Door], tmp_path: Path) -> None:
    """All checks of schemathesis, stateful links among them, as the operator, who may do all: no fault, no 500."""
    world, door = reachable
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    # Health refuses with another status for reasons of its own; the page is no API.
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run",
        f"http://127.0.0.1:{door.port}/v1/openapi.json", "--header", f"Authorization: Bearer {world.keys['operator']}",
        "--checks", "all", "--max-examples", str(EXAMPLES), "--phases", PHASES,
        "--exclude-path-regex", "^/docs", "--warnings", "off", "--no-color",
    ]  # fmt: skip
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = await trio.run_process(
        command,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        cwd=tmp_path,
        env={**clean, "PYTHONWARNINGS": ""},
    )
    said = ran.stdout.decode()
    assert ran.returncode == 0, said[-12_000:] + ran.stderr.decode()[-2000:]
    cases = re.search(r"(\d+) generated", said)
    assert cases is not None, said[-3000:]
    assert int(cases[1]) >= LEAST, said[-3000:]
