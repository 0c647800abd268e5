"""Child processes by themselves: from where they are started, and with what."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from invorto.storage.children import Program, open_child, unprivileged


async def test_a_child_is_started_by_the_thread_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The death signal follows the thread that forked: one of Trio's cached threads would take the child along."""
    forked: list[int] = []

    class Noting(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **more: Any) -> None:
            forked.append(threading.get_ident())
            super().__init__(*args, **more)

    async def ready(_pid: int) -> bool:
        return True

    monkeypatch.setattr(subprocess, "Popen", Noting)
    sleeper = Program("sleeper", ["/bin/sleep", "60"], tmp_path, tmp_path / "log")
    async with open_child(sleeper, unprivileged(), ready):
        assert forked == [threading.get_ident()]
