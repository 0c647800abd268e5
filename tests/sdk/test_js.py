"""The JavaScript SDK: it is built, its types hold, and its own tests pass, on the Node of the environment."""

from __future__ import annotations

import json
import os
import subprocess

from ops.guards.tree import ROOT

SDK = ROOT / "sdk" / "js"


def npm(*arguments: str) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_COLOR": "1"}
    ran = subprocess.run(
        [ROOT / "ops" / "npm", *arguments],
        cwd=SDK, env=environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_it_builds_and_keeps_its_promises() -> None:
    """It compiles under strict rules, and its own tests pass against the built package."""
    npm("run", "build")
    told = npm("test")
    assert "fail 0" in told
    assert "skipped 0" in told


def test_what_is_shipped() -> None:
    """The package holds code and types, and depends on nothing."""
    (packed,) = json.loads(npm("pack", "--dry-run", "--json", "--ignore-scripts"))
    names = {file["path"] for file in packed["files"]}
    assert {"package.json", "README.md", "dist/index.js", "dist/webhooks.js", "dist/webhooks.d.ts"} <= names
    assert not [name for name in names if name.startswith(("test/", "node_modules/"))]
    manifest = json.loads((SDK / "package.json").read_text("utf-8"))
    assert not manifest.keys() & {"dependencies", "peerDependencies", "optionalDependencies"}
    assert manifest["type"] == "module"


def test_the_lock_names_no_address() -> None:
    """The lock says what is installed and its hashes, not from where."""
    lock = (SDK / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock
    assert "://" not in "".join(line for line in lock.splitlines() if '"url"' not in line)
    assert lock.count('"integrity"') > 50
    assert "omit-lockfile-registry-resolved=true" in (SDK / ".npmrc").read_text("utf-8")


def test_setting_up_again_does_nothing() -> None:
    """What is installed already is not looked at again: `make setup` stays quick."""
    ran = subprocess.run([ROOT / "ops" / "bootstrap-js"], capture_output=True, text=True, timeout=10, check=True)
    assert ran.stdout + ran.stderr == ""
