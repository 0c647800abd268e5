"""How long starting and stopping takes.

``python -m ops.bench.start [--rounds 5]``. Serving is from the command's start to the first 200 of ``/health/ready``;
stopping is from SIGTERM to the exit of a server that has nothing to do. Medians, but for what happens only once.
"""

from __future__ import annotations

import argparse
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from ops.bench import figures, house, machine

PATIENCE = 120.0
"""Seconds to wait for a server."""


@attrs.frozen
class Round:
    """One start and stop; seconds."""

    ready: float
    cpu: float
    """CPU seconds until ready, children's too: what other processes on the machine do not change much."""
    stopped: float
    code: int


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start_and_stop(command: str, environ: Mapping[str, str], folder: Path) -> Round:
    """Run ``invorto`` *command* until it is ready, then stop it."""
    port = free_port()
    with (folder / f"{command}.log").open("w") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "invorto", command, "--port", str(port)], env=dict(environ), cwd=folder,
            stdout=log, stderr=log,
        )  # fmt: skip
        try:
            while not _ready(port):
                if process.poll() is not None or time.perf_counter() > began + PATIENCE:
                    raise SystemExit(f"`invorto {command}` did not start:\n{Path(log.name).read_text()[-2000:]}")
                time.sleep(0.005)
            ready, cpu = time.perf_counter() - began, machine.cpu(process.pid, ended=True)
            time.sleep(0.5)  # it has nothing to do by then
            asked = time.perf_counter()
            process.send_signal(signal.SIGTERM)
            code = process.wait(PATIENCE)
            return Round(ready, cpu, time.perf_counter() - asked, code)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; the exit code is 1 where a server did not end with 0."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each; the median counts")
    options = parser.parse_args(arguments)
    with house.stores() as stores:
        settings = house.settings(stores)
        watch = machine.Watch(0)
        serves = [start_and_stop("serve", settings, stores.folder) for _ in range(options.rounds)]
        with tempfile.TemporaryDirectory(prefix="invorto-bench-") as folder:
            kept = {name: text for name, text in settings.items() if not name.endswith("_URL")}
            own = {**kept, "DATA_DIR": str(Path(folder) / "data")}
            first, *again = [start_and_stop("dev", own, Path(folder)) for _ in range(options.rounds + 1)]
        others = watch.others
    named = {
        "ready_s": statistics.median(each.ready for each in serves),
        "ready_cpu_s": statistics.median(each.cpu for each in serves),
        "stop_idle_s": statistics.median(each.stopped for each in serves),
        "dev_first_ready_s": first.ready,
        "dev_again_ready_s": statistics.median(each.ready for each in again),
        "dev_stop_s": statistics.median(each.stopped for each in (first, *again)),
        "others_cores": others,
    }
    figures.show(
        f"Starting and stopping, {options.rounds} rounds",
        ("what", "seconds"),
        [
            ("`invorto serve` ready", named["ready_s"]),
            ("CPU until then", named["ready_cpu_s"]),
            ("`invorto serve` stopped, idle", named["stop_idle_s"]),
            ("`invorto dev` ready, first time", named["dev_first_ready_s"]),
            ("`invorto dev` ready, again", named["dev_again_ready_s"]),
            ("`invorto dev` stopped, stores too", named["dev_stop_s"]),
        ],
        ("on: scripted engines, so that no model is loaded but the detector's",
         f"other processes took {others:.1f} cores"),
    )  # fmt: skip
    figures.tell(named)
    return int(any(each.code for each in (*serves, first, *again)))


if __name__ == "__main__":
    sys.exit(main())
