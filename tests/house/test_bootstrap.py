"""The scripts that a newcomer meets first: they do nothing twice, and say what is missing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ops.guards.tree import ROOT

TOOLS = ("sh", "bash", "cat", "cksum", "dirname", "sed", "rm", "mv", "make", "grep", "awk")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing made yet, and a PATH with neither Python nor uv on it."""
    folder = tmp_path / "a folder with spaces"
    (folder / "ops").mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", ".python-version", "Makefile", "ops/bootstrap"):
        shutil.copy(ROOT / name, folder / name)
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (tmp_path / "bin" / tool).symlink_to(found)
    return folder


def run(checkout: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": str(checkout.parent / "bin"), **environ}
    return subprocess.run(
        command,
        cwd=checkout,
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def script(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def pretend_made(checkout: Path) -> None:
    """Lay a .venv whose Python is new enough and whose pip installs whatever it is asked for."""
    (checkout / ".venv/bin").mkdir(parents=True)
    script(checkout / ".venv/bin/python", 'echo "$@" >>asked\n')


def test_without_python_and_uv_it_says_what_to_install(checkout: Path) -> None:
    """One sentence and exit code 1, and nothing is left half made."""
    ran = run(checkout, "ops/bootstrap")
    assert ran.returncode == 1
    assert ran.stderr.count("\n") == 1
    assert "needs Python 3.13 or newer, or uv" in ran.stderr
    assert not (checkout / ".venv").exists()


def test_an_old_python_alone_is_not_enough(checkout: Path) -> None:
    """A Python 3 before 3.13 without uv is the same as none."""
    script(checkout.parent / "bin/python3", "exit 1\n")
    assert run(checkout, "ops/bootstrap").returncode == 1


def test_what_is_made_is_not_made_again(checkout: Path) -> None:
    """The second run asks for nothing; a changed lock or pyproject.toml is a reason, and so is another folder."""
    script(checkout.parent / "bin/python3", "exit 0\n")
    pretend_made(checkout)
    assert run(checkout, "ops/bootstrap").returncode == 0
    asked = (checkout / "asked").read_text()
    assert "--require-hashes" in asked
    assert "--no-build-isolation --no-deps" in asked

    (checkout / "asked").unlink()
    assert run(checkout, "ops/bootstrap").returncode == 0
    assert not (checkout / "asked").exists()

    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n# changed\n")
    assert run(checkout, "ops/bootstrap").returncode == 0
    assert "--require-hashes" in (checkout / "asked").read_text()


def test_a_failed_install_is_told_and_tried_again(checkout: Path) -> None:
    """Half an environment never counts as one."""
    script(checkout.parent / "bin/python3", "exit 0\n")
    (checkout / ".venv/bin").mkdir(parents=True)
    script(checkout / ".venv/bin/python", 'case "$*" in *require-hashes*) echo broken; exit 1;; esac\n')
    for _ in range(2):
        ran = run(checkout, "ops/bootstrap")
        assert ran.returncode == 1
        assert "broken" in ran.stdout
        assert "could not be made" in ran.stderr


def test_uv_is_used_where_it_is(checkout: Path) -> None:
    """Any machine with uv will do: it brings the Python too."""
    script(
        checkout.parent / "bin/uv",
        'echo "$@" >>asked\n[ "$1" = venv ] || exit 0\n'
        'mkdir -p .venv/bin; printf "#!/bin/sh\\n" >.venv/bin/python; chmod +x .venv/bin/python\n',
    )
    for tool in ("mkdir", "chmod", "printf"):
        (checkout.parent / "bin" / tool).symlink_to(shutil.which(tool) or "")
    assert run(checkout, "ops/bootstrap", CI="true").returncode == 0
    venv, packages, project = (checkout / "asked").read_text().splitlines()
    assert venv.startswith("venv --quiet --python 3.13")
    assert "--require-hashes" in packages
    assert project.endswith("--no-build-isolation --no-deps --editable .")


def test_make_alone_lists_what_there_is(checkout: Path) -> None:
    """`make` explains itself and makes nothing."""
    ran = run(checkout, "make")
    assert ran.returncode == 0
    for target in ("demo", "dev", "test", "prove", "lint", "bench-%", "lock", "clean"):
        assert f"make {target} " in ran.stdout
    assert not (checkout / ".venv").exists()


def test_an_unknown_bench_is_a_sentence(checkout: Path) -> None:
    """`make bench-nonsense` says that there is none."""
    script(checkout.parent / "bin/python3", "exit 0\n")
    pretend_made(checkout)
    (checkout.parent / "bin/test").symlink_to(shutil.which("test") or "")
    ran = run(checkout, "make", "bench-nonsense")
    assert "there is no bench 'nonsense'" in ran.stderr
