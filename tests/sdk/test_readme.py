"""The examples of the Python SDK's README run as they are written."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
import trio

from tests.journeys.house import open_server, settings

README = (Path(__file__).parents[2] / "sdk" / "python" / "README.md").read_text("utf-8")
EXAMPLES = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "anyio.run" in code]


@pytest.mark.parametrize(("number", "said"), [(0, "desk 1"), (1, "agent: Of course")])
async def test_an_example_runs(  # noqa: PLR0917 - fixtures
    loop: None, postgres_url: str, redis_url: str, tmp_path: Path, number: int, said: str
) -> None:
    """Pasted into a file and given a key and a URL, it does what it says."""
    (tmp_path / "example.py").write_text(EXAMPLES[number])
    async with open_server(settings(postgres_url, redis_url, tmp_path)) as server:
        environ = {**os.environ, "INVORTO_API_KEY": server.key, "API_BASE_URL": server.url}
        with trio.fail_after(40):
            ran = await trio.run_process(
                [sys.executable, "example.py"], cwd=tmp_path, env=environ, capture_stdout=True, capture_stderr=True,
                check=False,
            )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    assert said in ran.stdout.decode()
