"""The wheel that users install: whole, and at home in a bare environment."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ops.guards.tree import ROOT, tree

BIN = Path(sys.executable).parent


def run(*command: str | Path, environ: Mapping[str, str] | None = None, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as a release would, from what is here."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ".", cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    """Every committed file of the package is in it, data too: migrations, models, sounds; tests and tools are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {path for path in tree().paths if path.startswith("invorto/")} - names == set()
    assert "invorto/py.typed" in names
    assert {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")} == {"invorto"}


def test_a_bare_environment_with_the_server_lock_runs_the_command(wheel: Path, tmp_path: Path) -> None:
    """A server installs `ops/locks/server.lock` and the wheel, nothing else; `--help` answers, every module imports."""
    cache = ROOT / ".venv" / ".cache" / "uv"  # inside the checkout's ignored folders
    environ = {**os.environ, "UV_CACHE_DIR": str(cache), "UV_LINK_MODE": "copy"}
    for name in ("PYTHONPATH", "VIRTUAL_ENV"):
        environ.pop(name, None)
    uv = BIN / "uv"
    bare = tmp_path / "bare"
    run(uv, "venv", "--quiet", "--python", sys.executable, bare, environ=environ, cwd=tmp_path)
    install = (uv, "pip", "install", "--quiet", "--python", bare / "bin/python")
    run(*install, "--require-hashes", "-r", ROOT / "ops/locks/server.lock", environ=environ, cwd=tmp_path)
    run(*install, "--no-deps", wheel, environ=environ, cwd=tmp_path)
    assert "Usage: invorto" in run(bare / "bin/invorto", "--help", environ=environ, cwd=tmp_path)
    everything = (
        "import importlib, pkgutil, invorto\n"
        "for module in pkgutil.walk_packages(invorto.__path__, 'invorto.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print('all imported')\n"
    )
    assert "all imported" in run(bare / "bin/python", "-I", "-c", everything, environ=environ, cwd=tmp_path)
