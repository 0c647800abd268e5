"""What a finished call leaves, held against what was lived through, and kept in files."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import numpy as np
import pytest
from rich.console import Console

from invorto.audio.wav import encode_wav
from invorto.caller.calling import Caller
from invorto.caller.ear import Ear
from invorto.demo.leavings import Leavings, judge, keep, show
from invorto.demo.script import Finding
from invorto.demo.verdict import verdict

KINDS = ("call.started", "stt.final", "bargein.detected", "tool.succeeded", "turn.metrics", "call.ended")
COST = {"provider": "local", "quantity": "1.5", "unit": "minutes"}
LEFT = Leavings(
    call={
        "id": "demo-1", "duration": 2.0, "costs": [{"kind": "stt", "inr": "0.0250", **COST}],
        "metrics": [{"voiceToVoiceMs": 400.0}, {"voiceToVoiceMs": 600.0}, {"voiceToVoiceMs": None}],
    },
    transcript=[
        {"role": "user", "text": "Where are you?", "began": 0.5, "interrupted": False},
        {"role": "assistant", "text": "At the north", "began": 1.0, "interrupted": True},
    ],
    timeline=[
        {"id": f"{1000 + 100 * at}-0", "kind": kind, "payload": {"text": "so\x1b[2J"}} for at, kind in enumerate(KINDS)
    ],
    recording=encode_wav(np.ones((32000, 2), np.int16), 16000),
)  # fmt: skip


def listener() -> Caller:
    ear = Ear(0.0)
    ear.play(np.ones(32000, np.int16), 0.0)
    return cast("Caller", SimpleNamespace(ear=ear))


def test_what_was_kept_is_what_was_lived_through() -> None:
    """The interrupted turn as far as it was heard, every kind of event, and a recording of both sides."""
    findings = judge(LEFT, listener(), "At the north")
    assert [finding.met for finding in findings] == [True, True, True]


@pytest.mark.parametrize(
    ("place", "change", "cut"),
    [
        (0, {}, "At the north end of"), (0, {}, None), (0, {"transcript": []}, "At the north"),
        (1, {"timeline": LEFT.timeline[:-1]}, "At the north"), (1, {"timeline": []}, "At the north"),
        (2, {"recording": b""}, "At the north"),
        (2, {"recording": encode_wav(np.ones(32000, np.int16), 16000)}, "At the north"),
        (2, {"recording": encode_wav(np.ones((8000, 2), np.int16), 16000)}, "At the north"),
    ],
    ids=["longer", "never cut", "no transcript", "no end", "no timeline", "no recording", "mono", "short"],
)  # fmt: skip
def test_what_is_missing_is_found(place: int, change: dict[str, Any], cut: str | None) -> None:
    """Each thing that was not kept as it should be fails its own expectation, and no other."""
    findings = judge(attrs.evolve(LEFT, **change), listener(), cut)
    assert [at for at, finding in enumerate(findings) if not finding.met] == [place]


def test_all_is_kept_in_files(tmp_path: Path) -> None:
    """A recording to listen to, and three files to read."""
    recording = keep(LEFT, tmp_path, "demo-1")
    assert recording.read_bytes() == LEFT.recording
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "demo-1.call.json", "demo-1.timeline.json", "demo-1.transcript.json", "demo-1.wav",
    ]  # fmt: skip
    assert json.loads((tmp_path / "demo-1.transcript.json").read_text()) == LEFT.transcript


def test_all_is_shown() -> None:
    """Transcript, timeline on the call's clock, costs; what was said is no command to the terminal."""
    out = io.StringIO()
    show(LEFT, Console(file=out, width=80))
    shown = out.getvalue()
    assert "   1.0  agent   At the north ✂" in shown
    assert "   0.5  call.ended            so [2J" in shown
    assert "₹0.0250" in shown
    assert "\x1b" not in shown
    assert LEFT.cost == Decimal("0.03")


def test_the_verdict_is_an_exit_code(tmp_path: Path) -> None:
    """0 only if every expectation was met; else 1, and which were not."""
    out = io.StringIO()
    console = Console(file=out, width=80)
    well, ill = Finding("it talks", met=True), Finding("it listens", met=False, detail="[nothing]")
    assert verdict([well], LEFT, tmp_path / "demo-1.wav", console) == 0
    assert "everything was understood and answered" in out.getvalue()
    assert "answers began 500 ms after the caller's last word (median of 2, 400 to 600)" in out.getvalue()
    assert verdict([well, ill], LEFT, tmp_path / "demo-1.wav", console) == 1
    assert "✗ it listens  [nothing]" in out.getvalue()
    assert "not as expected: it listens\n" in out.getvalue()
