"""Stores and a server for the length of a bench, each on the core where it belongs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import attrs

from ops.bench import machine
from ops.bench.faulty import SAY

ROOT = Path(__file__).parents[2]
SCRIPT: Mapping[str, Any] = {
    "sttMs": 0, "llmMs": 50, "ttsMs": 30, "heard": ["I want a table for two"], "replies": [SAY],
}  # fmt: skip
"""No full stop, no question: then the pause that ends a turn is `silenceMs`, neither shortened nor lengthened."""
STUBS = (SCRIPT["sttMs"] + SCRIPT["llmMs"] + SCRIPT["ttsMs"]) / 1000
SILENCE = 0.22
"""The agents' `silenceMs`, seconds."""
ON = "Silero, timeline, metrics, recording, transcripts, costs, emotion windows; capacity leases; scripted engines"


def pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    """Give a child's standard input and output."""
    if process.stdin is None or process.stdout is None:
        raise SystemExit("the child was started without pipes")
    return process.stdin, process.stdout


@attrs.frozen
class Stores:
    """What was started: URLs, and the folder that goes with it."""

    db_url: str
    redis_url: str
    folder: Path


@contextmanager
def stores() -> Iterator[Stores]:
    """Run PostgreSQL and Redis on this process's cores, migrated, in a folder that is removed."""
    folder = Path(tempfile.mkdtemp(prefix="invorto-bench-"))
    argv = [sys.executable, "-m", "invorto.storage.embedded"]
    try:
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
            to, fro = pipes(process)
            line = fro.readline()
            if not line:
                raise SystemExit("the stores did not start")
            urls = json.loads(line)
            subprocess.run(
                [sys.executable, "-m", "invorto", "migrate", "--database", urls["db_url"]], check=True, cwd=folder,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            try:
                yield Stores(urls["db_url"], urls["redis_url"], folder)
            finally:
                to.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settings(stores: Stores, **more: str) -> dict[str, str]:
    """Give the environment of a server on these stores."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    return {
        **kept, "DB_URL": stores.db_url, "REDIS_URL": stores.redis_url, "DATA_DIR": str(stores.folder),
        "API_PORT": "0", "STT_PROVIDER": "scripted", "LLM_PROVIDER": "scripted", "TTS_PROVIDER": "scripted",
        "SCRIPTED_ENGINE": json.dumps(SCRIPT), "ENDPOINTING_SILENCE_MS": str(round(SILENCE * 1000)),
        "MAX_CONCURRENT_CALLS": "2000", "TELEPHONY_GLOBAL_MAX_CONCURRENCY": "0", "LOG_LEVEL": "warning", **more,
    }  # fmt: skip


@attrs.frozen
class Server:
    """A server that serves."""

    process: subprocess.Popen[str]
    port: int
    key: str

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def ask(self, question: str) -> dict[str, Any]:
        """Have it tell how it is."""
        to, fro = pipes(self.process)
        to.write(question + "\n")
        to.flush()
        line = fro.readline()
        if not line:
            raise SystemExit("the server is gone: see above")
        return json.loads(line)

    def target(self, call_id: str, agent: str = "good") -> str:
        """Give the path of a call's socket."""
        return f"/realtime/voice?callId={call_id}&agentId={agent}&rate=8000&codec=mulaw"


@contextmanager
def server(
    stores: Stores, core: int, *, unplugged: bool = False, log: Path | None = None, **more: str
) -> Iterator[Server]:
    """Serve on *core* until the block is left; what the server logs goes to *log*, or to where our errors go."""
    environ = {**settings(stores, **more), "BENCH_CORE": str(core)}
    if unplugged:
        environ["BENCH_UNPLUGGED"] = "yes"
    argv = [sys.executable, "-m", "ops.bench.served"]
    with (
        nullcontext() if log is None else log.open("w") as errors,
        subprocess.Popen(
            argv, env=environ, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        to, fro = pipes(process)
        try:
            line = fro.readline()
            if not line:
                raise SystemExit("the server did not start: see above")
            yield Server(process, **json.loads(line))
        finally:
            to.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)


@contextmanager
def on_the_load_s_core() -> Iterator[int]:
    """Keep this process, and what it starts, to the last core; gives the server's."""
    before = os.sched_getaffinity(0)
    first, last = machine.cores()
    os.sched_setaffinity(0, {last})
    try:
        yield first
    finally:
        os.sched_setaffinity(0, before)
