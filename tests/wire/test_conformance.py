"""The voice socket's framing against Autobahn's cases, as kosoku runs them."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.wire.peers import PATIENT, echo, open_door

BESIDES = {
    # Bad UTF-8 is noticed when its frame is whole, not at its first byte: frames are short.
    "6.4.3": ("NON-STRICT", "OK"),
    "6.4.4": ("NON-STRICT", "OK"),
    # What the standard leaves open.
    "7.1.6": ("INFORMATIONAL", "INFORMATIONAL"),
    "7.13.1": ("INFORMATIONAL", "INFORMATIONAL"),
    "7.13.2": ("INFORMATIONAL", "INFORMATIONAL"),
}
KOSOKU = Path(sys.executable).with_name("kosoku")
CASES = {
    "framing": (["1.*", "2.*", "3.*", "4.*", "5.*", "10.*"], 65),
    "text": (["6.*"], 145),
    "closing": (["7.*"], 37),
    "size": (["9.*"], 54),
}


async def run_kosoku(folder: Path, include: list[str]) -> dict[str, tuple[str, str]]:
    """Run the cases; give each one's verdict on its messages and on its close."""
    async with open_door(voice=partial(echo, patience=PATIENT)) as door:
        argv = [str(KOSOKU), "-m", "fuzzingclient", "-p", "4", "-o", str(folder)]
        argv += [word for case in include for word in ("-i", case)]
        argv.append(f"ws://127.0.0.1:{door.port}/realtime/voice?callId=c_1")
        with trio.fail_after(60):
            await trio.run_process(argv, capture_stdout=True, capture_stderr=True, check=False)
    index = json.loads((folder / "index.json").read_text())
    (verdicts,) = index.values()
    return {case: (verdict["behavior"], verdict["behaviorClose"]) for case, verdict in verdicts.items()}


@pytest.mark.parametrize("group", CASES)
async def test_autobahn(group: str, tmp_path: Path):
    """Every case of the group is passed, its close too."""
    include, count = CASES[group]
    verdicts = await run_kosoku(tmp_path, include)
    assert len(verdicts) == count
    assert {case: verdict for case, verdict in verdicts.items() if verdict != BESIDES.get(case, ("OK", "OK"))} == {}


async def test_compression_is_declined(tmp_path: Path):
    """A client that offers compression is answered without it."""
    verdicts = await run_kosoku(tmp_path, ["12.1.1", "13.1.1"])
    assert {verdict for verdict, _ in verdicts.values()} == {"UNIMPLEMENTED"}
