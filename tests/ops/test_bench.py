"""The benches run, at a scale that measures nothing, and notice what they are there to notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invorto.caller.ear import RATE
from ops.bench import figures
from ops.bench.frames import BINARY, TEXT, Incoming, frame
from ops.bench.turns import last_sound

ROOT = Path(__file__).parents[2]


def bench(name: str, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Run a bench; gives its exit code, its last line, and all it printed."""
    done = subprocess.run(
        [sys.executable, "-m", f"ops.bench.{name}", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_calls_are_answered_and_interrupted() -> None:
    """Two callers on real sockets are answered, talk over an answer, and every figure has its name."""
    code, told, printed = bench("calls", "-n", "2", "--seconds", "9")
    assert code == 0, printed
    assert told["timed_out"] == 0, printed
    assert {
        "calls_held_one_core", "cpu_ms_per_call_second_at_2", "added_p99_ms_at_2", "bargein_p99_ms", "kb_per_call",
        "tasks_per_call",
    } <= set(told)  # fmt: skip
    assert "bargein_p99_ms" in told
    assert told["tasks_per_call"] <= 8


def test_without_the_detector_it_fails() -> None:
    """Turns come from the detector's verdicts and from nothing else: unplugged, no call is held."""
    code, told, printed = bench("calls", "-n", "1", "--seconds", "4", "--unplugged")
    assert code == 1, printed
    assert told["calls_held_one_core"] == 0
    assert told["added_p99_ms_at_1"] is None


def test_churn_finds_nothing_left() -> None:
    """Calls that end badly, with engines that fail, leave no task, no descriptor, and one record each."""
    code, told, printed = bench("churn", "--calls", "16", "--waves", "1", "--seed", "7")
    assert code == 0, printed
    assert not any(told["leaked"].values())
    assert told["opened"] > 5


def test_starting_is_timed() -> None:
    """Both commands get ready, stop when told to, and their times are named."""
    code, told, printed = bench("start", "--rounds", "1")
    assert code == 0, printed
    assert 0 < told["ready_s"] < 60
    assert 0 < told["stop_idle_s"] < 30
    assert {"dev_first_ready_s", "dev_again_ready_s", "ready_cpu_s"} <= set(told)


def last_sounds(seconds: float) -> int:
    """Give where a tone of some seconds, with silence on both sides, is last to be heard."""
    quiet = np.zeros(RATE, np.int16)
    return last_sound(np.concatenate((quiet, np.full(round(seconds * RATE), 3000, np.int16), quiet)))


def test_the_end_of_a_sentence_is_found() -> None:
    """What is waited for begins with the last sound, not with the end of a file."""
    assert last_sounds(0.5) == round(1.5 * RATE)
    assert last_sound(np.zeros(RATE, np.int16)) == 0


@pytest.mark.prove
def test_turns_are_answered_interrupted_and_not_disturbed() -> None:
    """One conversation with the engines of this machine: every figure has its name, and nothing was lost or false."""
    code, told, printed = bench("turns", "--calls", "1")
    assert code == 0, printed
    assert told["lost"] == told["false_bargeins"] == 0, printed
    assert {"eou_to_audio_p95_ms", "bargein_p95_ms", "words_off_most"} <= set(told)


def test_webhooks_all_arrive() -> None:
    """Facts are delivered although their deliverer is killed: none is lost, figures are named."""
    code, told, printed = bench("webhooks", "--parts", "kills", "--kills", "1", "--seed", "7")
    assert code == 0, printed
    assert (told["lost"], told["waiting"], told["kills"]) == (0, 0, 1), printed
    assert told["killed_facts"] > 5
    assert "duplicates" in told


@pytest.mark.prove
def test_webhooks_are_measured() -> None:
    """At a rate, steadily, and beside a receiver that hangs: all arrive, and every figure has its name."""
    parts = ("--parts", "throughput,latency,isolation")
    code, told, printed = bench(
        "webhooks", *parts, "--seconds", "2", "--rate", "50", "--endpoints", "3", "--rounds", "1"
    )
    assert code == 0, printed
    assert told["late"] == 0, printed
    assert told["deliveries_per_s"] > 0
    assert {"first_attempt_p50_ms", "first_attempt_p99_ms", "isolation_ratio", "cpu_ms_per_delivery"} <= set(told)


@pytest.mark.parametrize(
    ("size", "told"), [(0, "00"), (125, "7d"), (126, "7e007e"), (65_535, "7effff"), (65_536, "7f0000000000010000")]
)
def test_frames_of_servers_are_cut_right(size: int, told: str) -> None:
    """However the bytes fall, a load sees the frames that were sent."""
    lengths = bytes.fromhex(told)
    payload = bytes(size)
    wire = b"HTTP/1.1 101 Fine\r\n\r\n" + bytes((0x80 | BINARY,)) + lengths + payload + bytes((0x80 | TEXT, 1)) + b"x"
    step = max(1, len(wire) // 50)
    incoming = Incoming()
    came = [each for at in range(0, len(wire), step) for each in incoming.feed(wire[at : at + step])]
    assert came == [(BINARY, payload), (TEXT, b"x")]
    assert incoming.status == 101
    assert len(frame(BINARY, payload)) == len(payload) + 5 + len(lengths)


def test_percentiles() -> None:
    """A percentile is a value that was measured; of nothing there is none."""
    assert figures.percentile([3, 1, 2], 0.5) == 2
    assert figures.percentile(list(range(100)), 0.99) == 98
    assert figures.percentile([], 0.5) != figures.percentile([], 0.5)


def test_latency_is_measured_in_virtual_time() -> None:
    """Every case has all its answers; thinking early and a breaker make them sooner, memory makes greetings instant."""
    code, told, printed = bench("latency", "--turns", "12")
    assert code == 0, printed
    assert told["speculative_p50_ms"] < told["plain_p50_ms"] - 20
    assert told["dead_p50_ms"] < told["dead_without_breaker_p50_ms"] - 500
    assert told["greeting_cached_p95_ms"] < 1 < told["greeting_p50_ms"]


def test_capacity_is_measured() -> None:
    """Slots are timed, processes are killed, no limit is passed, and every figure has its name."""
    code, told, printed = bench("capacity", "--seconds", "2", "--rounds", "1", "--processes", "2", "--rate", "50")
    assert code == 0, printed
    assert told["overshoots"] == told["faults"] == 0, printed
    assert 0 < told["acquire_p99_ms"] < 2000
    assert told["reclaim_s"] <= told["lease_s"] + 1
