"""The Python SDK as it is shipped: typed, alone, and of one version with the JavaScript one."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from ops.guards.tree import ROOT

SDK = ROOT / "sdk" / "python"


def test_what_is_shipped(tmp_path: Path) -> None:
    """The wheel holds typed modules; webhooks need nothing else, and nothing of it needs the server."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(SDK)]
    subprocess.run(build, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        metadata = packed.read(next(name for name in names if name.endswith("METADATA"))).decode()
        packed.extractall(tmp_path / "alone")
    assert {"invorto_sdk/__init__.py", "invorto_sdk/webhooks.py", "invorto_sdk/py.typed"} <= names
    needed = {line.split()[1].partition(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    assert needed == {"anyio", "httpx2", "sniffio", "websockets", "trio", "trio-websocket"}
    foreign = "('invorto', 'trio', 'anyio', 'httpx2', 'websockets')"
    code = f"import invorto_sdk, sys; print([name for name in sys.modules if name.split('.')[0] in {foreign}])"
    alone = {"PYTHONPATH": str(tmp_path / "alone")}
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code], env=alone, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "[]"


def test_the_sdks_are_of_one_version() -> None:
    """Both SDKs tell the same version."""
    version = json.loads((ROOT / "sdk" / "js" / "package.json").read_text("utf-8"))["version"]
    assert f'\nversion = "{version}"\n' in (SDK / "pyproject.toml").read_text("utf-8")
