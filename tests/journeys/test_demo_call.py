"""`invorto demo`, as a newcomer runs it: real stores, real engines, real time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from invorto.audio.wav import read_wav


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run it in a folder of its own."""
    (folder / "tmp").mkdir()
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder / "tmp"), "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-m", "invorto", "demo"],
        cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def nothing_is_left(folder: Path) -> None:
    """Hold that no process stands in the folder any more, and that no temporary data is there."""
    standing: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                standing.append((process / "cmdline").read_text())
    assert standing == []
    assert list((folder / "tmp").iterdir()) == []


def test_one_whole_conversation(tmp_path: Path) -> None:
    """All is understood and answered in under two minutes: exit code 0, and what the call leaves is kept."""
    began = time.monotonic()
    with demo(tmp_path) as process:
        shown, errors = process.communicate(timeout=170)
    assert process.returncode == 0, shown + errors
    assert errors == ""
    assert time.monotonic() - began < 120
    for text in (
        "starting PostgreSQL", "loading the ear (Moonshine)", "agent   Lakeview Clinic, good day.",
        "caller  Had he married a more amiable woman", "✂ the caller breaks in", "[not heard: ", "⚙ the agent asks for",
        "answered in ", "the call is over: agent", "transcript ─", "timeline ─", "cost ─", "₹",
        "recording   data/demo/", "everything was understood and answered",
    ):  # fmt: skip
        assert text in shown, shown
    assert shown.count("✓") == 13
    assert "✗" not in shown

    (recording,) = (tmp_path / "data/demo").glob("*.wav")
    call, transcript, timeline = (
        json.loads(recording.with_suffix(f".{kind}.json").read_text()) for kind in ("call", "transcript", "timeline")
    )
    samples, rate = read_wav(recording)
    assert len(samples) / rate == pytest.approx(call["duration"], abs=1)
    both = np.frombuffer(recording.read_bytes()[44:], "<i2").reshape(-1, 2)
    assert all(np.abs(both[:, side].astype(np.int32)).max() > 3000 for side in (0, 1)), "each has a side of its own"
    assert (call["status"], call["endReason"]) == ("completed", "agent")
    assert [turn["interrupted"] for turn in transcript].count(True) == 1
    assert timeline[-1]["kind"] == "call.ended"
    nothing_is_left(tmp_path)


@pytest.mark.parametrize("sign", ["starting Redis", "agent   Lakeview Clinic"], ids=["starting", "talking"])
def test_ctrl_c_ends_all_of_it(sign: str, tmp_path: Path) -> None:
    """At any time: exit code 130 within seconds, no traceback, no process, no temporary data."""
    with demo(tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(sign in line for line in process.stdout), process.stderr.read()
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (130, "")
    assert time.monotonic() - began < 10
    nothing_is_left(tmp_path)


def test_nowhere_to_keep_it(tmp_path: Path) -> None:
    """That is found out before anything else takes time: a sentence, exit code 2."""
    (tmp_path / "data").write_text("in the way")
    with demo(tmp_path) as process:
        shown, errors = process.communicate(timeout=20)
    assert (process.returncode, shown) == (2, "")
    assert errors == "invorto: nothing can be kept in data/demo (Not a directory): choose another folder with --save\n"
