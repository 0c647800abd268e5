"""The locks are what pyproject.toml asks for, with hashes and without any address; `--write` makes them so.

Newer releases do not make a lock stale: it is resolved again with itself as preference, and compared.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ops.guards.tree import ROOT, Tree

LOCKS = {
    "requirements.lock": ("--all-extras", "--group", "dev"),
    "ops/locks/server.lock": (),
    "ops/locks/local.lock": ("--extra", "embedded", "--extra", "local"),
}
"""For developers and CI; for a server on managed stores; for one machine that has it all."""

_HOW = ("--universal", "--python-version", "3.13", "--generate-hashes", "--no-header")
_ADDRESS = re.compile(r"://|^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b|\s@\s", re.MULTILINE)


def resolve(folder: Path, *options: str) -> None:
    """Bring the locks below *folder* up to date with its pyproject.toml."""
    uv = Path(sys.executable).with_name("uv")
    # All take their versions from the widest lock, so that what was tested is what a server runs.
    first, *others = LOCKS
    for name in (first, *others):
        if name != first:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / first, folder / name)
        command = [uv, "pip", "compile", "--quiet", *_HOW, "--python", sys.executable, *LOCKS[name]]
        upgrade = options if name == first else ()
        subprocess.run([*command, *upgrade, "--output-file", name, "pyproject.toml"], cwd=folder, check=True)


def faults(tree: Tree) -> list[str]:
    """Say which locks differ from a fresh resolution, or hold an address."""
    found = [f"{name}: is not committed" for name in LOCKS if not tree.has(name)]
    if found:
        return found
    found = [f"{name}: names an address" for name in LOCKS if _ADDRESS.search(tree.text(name))]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("pyproject.toml", *LOCKS):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree.root / name, folder / name)
        try:
            resolve(folder)
        except subprocess.CalledProcessError as error:
            return [*found, f"pyproject.toml cannot be resolved: uv ended with {error.returncode}"]
        stale = [name for name in LOCKS if (folder / name).read_text("utf-8") != tree.text(name)]
    return found + [f"{name}: is not what pyproject.toml asks for: run `make lock`" for name in stale]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        resolve(ROOT, *sys.argv[2:])
    else:
        from ops.guards.tree import tree

        sys.exit("\n".join(faults(tree())) or 0)
