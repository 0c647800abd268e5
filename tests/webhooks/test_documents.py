"""docs/webhooks.md: its tables are the code's, and its examples do as written what they say."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from invorto import config
from invorto.outgoing.client import Answer, OutgoingFailed, open_client
from invorto.receiver.trigger import sample
from invorto.webhooks import catalogue, signing
from ops.guards.tree import ROOT
from tests.webhooks.judge import faults

PAGE = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
SECRET = signing.secret_of(b"s" * 32)


def example(name: str) -> str:
    """Give an example as it stands on the page."""
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)\n```\n", PAGE, re.DOTALL)
    assert found, name
    return found[1] + "\n"


def test_the_events_are_the_catalogue() -> None:
    """The page lists every event of the catalogue, and no other, with what makes it."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \| (.+) \|$", PAGE, re.MULTILINE)
    known = [(entry.name, entry.title, entry.kind.transition) for entry in catalogue.catalogue().values()]
    assert rows[: len(known)] == known


def test_the_schedule_is_the_default() -> None:
    """The page's table of attempts is what is done unless somebody sets another."""
    (row,) = re.findall(r"^\| after the first \| – \| (.+) \|$", PAGE, re.MULTILINE)
    units = {"s": 1, "min": 60, "h": 3600}
    told = [int(count) * units[unit] for count, unit in (cell.split() for cell in row.split(" | "))]
    assert [0, *told] == list(config.load({}).webhooks.schedule)


def test_the_body_shown_is_one() -> None:
    """The body on the page, with what it leaves out, is as its schema says."""
    (shown,) = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)
    body = json.loads(shown)
    sampled = catalogue.entry("call.ended").sample["data"]
    assert not faults({**body, "data": {**sampled, **body["data"]}})
    assert {**sampled, **body["data"]} == {**sampled}


@attrs.frozen
class Receiver:
    """An example that runs."""

    url: str
    output: Path

    async def sent(self, body: bytes, headers: dict[str, str]) -> Answer:
        async with open_client(None) as client:
            return await client.request("POST", self.url, content=body, headers=headers)


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextmanager
def running(name: str, folder: Path) -> Generator[Receiver]:
    """Run an example as its framework is run."""
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "WEBHOOK_SECRET": SECRET, "PORT": str(port), "PYTHONUNBUFFERED": "1"}
    command: list[Any]
    if name == "express":
        (folder / "receiver.mjs").write_text(example(name), "utf-8")
        (folder / "node_modules" / "@invorto").mkdir(parents=True)
        (folder / "node_modules" / "@invorto" / "sdk").symlink_to(ROOT / "sdk" / "js")
        (folder / "node_modules" / "express").symlink_to(ROOT / "sdk" / "js" / "node_modules" / "express")
        if not (ROOT / "sdk" / "js" / "dist").exists():
            subprocess.run([ROOT / "ops" / "npm", "--prefix", ROOT / "sdk" / "js", "run", "build"], check=True)
        command, environ["NODE"] = [ROOT / "ops" / "npm", "receiver.mjs"], "1"
    else:
        (folder / "receiver.py").write_text(example(name), "utf-8")
        command = [sys.executable, "-m", "hypercorn", "receiver:app", "--bind", f"127.0.0.1:{port}"]
    output = folder / "output"
    with output.open("wb") as told:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=told, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < until, output.read_text()
            time.sleep(0.05)
        yield Receiver(f"http://127.0.0.1:{port}/webhooks", output)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", ["quart", "fastapi", "express"])
async def test_examples_run_as_written(name: str, tmp_path: Path) -> None:
    """Each takes what is genuine, however large, and prints it; refuses the rest with 400; and goes on."""
    with running(name, tmp_path) as receiver:
        words = json.dumps({"messages": [{"text": "₹ " * 500}] * 1000})
        for type_, over in (("call.ended", None), ("agent.summary", words)):
            event_id, body = sample(type_, over)
            head = {"content-type": "application/json"}
            head |= signing.headers([signing.secret_of(b"n" * 32), SECRET], event_id, int(time.time()), body)
            assert (await receiver.sent(body, head)).status == 204
            assert f"{event_id} {type_} c_" in receiver.output.read_text()
        for bad in ({**head, "webhook-signature": "v1,AAAA"}, {}, {**head, "webhook-timestamp": "1"}):
            assert (await receiver.sent(body, bad)).status == 400
        assert (await receiver.sent(body + b" ", head)).status == 400
        assert (await receiver.sent(body, head)).status == 204
    assert not re.search(r"Traceback|Error:", receiver.output.read_text())


async def test_nothing_is_left_of_an_example(tmp_path: Path) -> None:
    """An example that was run holds its port no longer."""
    with running("quart", tmp_path) as receiver:
        pass
    with pytest.raises(OutgoingFailed):
        await receiver.sent(b"", {})
