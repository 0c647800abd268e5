"""Every line and branch of the pure cores is reached by their own tests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ops.guards.tree import ROOT

PURE = {
    "invorto/convert.py": "tests/test_convert.py",
    "invorto/plain.py": "tests/test_convert.py",
    "invorto/subkeys.py": "tests/test_subkeys.py",
    "invorto/model/*": "tests/model",
    "invorto/audio/*": "tests/audio",
    "invorto/realtime/framing.py": "tests/realtime/test_framing.py",
    "invorto/realtime/playout.py": "tests/realtime/test_playout.py",
    "invorto/realtime/turns.py": "tests/realtime/test_turns.py",
}
"""The cores, and the tests that must reach all of each."""


def main(more: list[str]) -> int:
    """Run those tests under coverage and report what they miss; pytest is given *more*. Gives the exit code."""
    tests = [path for path in dict.fromkeys(PURE.values()) if (ROOT / path).exists()]
    missing = sorted(set(PURE.values()) - set(tests))
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={Path(folder) / 'coverage'}"
        coverage = [sys.executable, "-m", "coverage"]
        run = [*coverage, "run", data, f"--include={','.join(PURE)}", "-m", "pytest", "-q", *tests, *more]
        ran = subprocess.run(run, cwd=ROOT, check=False).returncode
        told = subprocess.run(
            [*coverage, "report", data, "--fail-under=100", f"--include={','.join(PURE)}"], cwd=ROOT, check=False
        ).returncode
    for path in missing:
        print(f"{path}: is not there, and is to cover {[core for core in PURE if PURE[core] == path]}")
    return ran or told or bool(missing)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
