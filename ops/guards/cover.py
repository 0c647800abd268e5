"""Every line and branch of the pure cores is reached by their own tests."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from ops.guards.tree import ROOT

CORES = (
    "invorto/breaker.py",
    "invorto/convert.py",
    "invorto/plain.py",
    "invorto/subkeys.py",
    "invorto/audio/*",
    "invorto/model/*",
    "invorto/realtime/framing.py",
    "invorto/realtime/kpis.py",
    "invorto/realtime/playout.py",
    "invorto/realtime/beep.py",
    "invorto/realtime/turns.py",
    "invorto/realtime/watch.py",
    "invorto/speech/llm/chat.py",
    "invorto/speech/sse.py",
    "invorto/speech/stt/results.py",
    "invorto/speech/tts/alignment.py",
    "invorto/tools/answers.py",
    "invorto/tools/requests.py",
    "invorto/tools/schemas.py",
    "invorto/webhooks/catalogue.py",
    "invorto/webhooks/envelope.py",
    "invorto/webhooks/schedule.py",
    "invorto/webhooks/signing.py",
)
"""Modules without await, clock or log, where a line that no test reaches has no excuse."""

TESTS = (
    "tests/test_agent_model.py",
    "tests/test_breaker.py",
    "tests/test_convert.py",
    "tests/test_subkeys.py",
    "tests/audio",
    "tests/model",
    "tests/realtime/test_endpointing.py",
    "tests/realtime/test_framing.py",
    "tests/realtime/test_kpis.py",
    "tests/realtime/test_playout.py",
    "tests/realtime/test_corpus.py",
    "tests/realtime/test_turn_news.py",
    "tests/realtime/test_turns.py",
    "tests/realtime/test_voicemail.py",
    "tests/realtime/test_watch.py",
    "tests/speech/test_chat.py",
    "tests/tools/test_pure.py",
    "tests/webhooks/test_catalogue.py",
    "tests/webhooks/test_schedule.py",
    "tests/webhooks/test_signing.py",
)


def main(more: list[str]) -> int:
    """Run those tests under coverage and report what they miss; pytest is given *more*. Gives the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        data = f"--data-file={Path(folder) / 'coverage'}"
        coverage = [sys.executable, "-m", "coverage"]
        run = [*coverage, "run", data, "-m", "pytest", "-q", *TESTS, *more]
        ran = subprocess.run(run, cwd=ROOT, check=False).returncode
        report = [*coverage, "report", data, "--fail-under=100", f"--include={','.join(CORES)}"]
        told = subprocess.run(report, cwd=ROOT, check=False).returncode
    return ran or told


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
