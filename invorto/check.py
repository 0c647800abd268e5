"""`invorto check`: reaches everything that the server depends on, and tells its version and how quickly it answers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import attrs
import trio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from invorto.config import Config
from invorto.errors import InvortoError, StartFailed, UsageError
from invorto.observability.logs import set_up_logs
from invorto.realtime.recording import recordings_folder
from invorto.storage.migrate import pending
from invorto.storage.postgres import open_database
from invorto.storage.redis import open_redis
from invorto.trial import try_engines

PATIENCE = 10.0
"""Seconds that a store or a folder may take."""


@attrs.frozen
class Finding:
    """How one part is: *wrong* is a sentence, or empty where all is well."""

    name: str
    version: str = ""
    latency: float | None = None
    """Seconds of one small piece of work."""
    wrong: str = ""


type Look = Callable[[], Awaitable[Finding]]


async def check(config: Config) -> int:
    """Look at each part, and print what was found; gives 1 if one is away, with a sentence for each."""
    set_up_logs(config.observing.log_level, config.observing.log_format)
    findings: list[Finding] = []
    stores: dict[str, Look] = {
        "PostgreSQL": partial(_postgres, config.stores.db_url),
        "Redis": partial(_redis, config.stores.redis_url),
        "recordings": partial(_recordings, config.stores.recordings_url, config.stores.data_dir),
    }
    found: dict[str, Finding] = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_engines, config, findings)
        for name, look in stores.items():
            nursery.start_soon(_looked, name, look, found)
    findings = [*(found[name] for name in stores), *findings]
    _show(findings)
    return 1 if any(finding.wrong for finding in findings) else 0


async def _looked(name: str, look: Look, found: dict[str, Finding]) -> None:
    found[name] = Finding(name, wrong=f"no answer within {PATIENCE:g} s")
    with trio.move_on_after(PATIENCE):  # noqa: ASYNC912 - a look asks something that is elsewhere
        try:
            found[name] = await look()
        except InvortoError as error:
            found[name] = Finding(name, wrong=str(error))


# -- stores and folders ---------------------------------------------------------------------------


async def _postgres(url: str | None) -> Finding:
    if url is None:
        raise UsageError("DB_URL is not set; `invorto dev` brings a PostgreSQL of its own")
    async with open_database(url, 1) as database:
        version, latency = await database.version(), await database.ping()
    if behind := await pending(url):
        wrong = f"it lacks {len(behind)} migrations, the first is {behind[0]}: run `invorto migrate`"
        return Finding("PostgreSQL", version, latency, wrong)
    return Finding("PostgreSQL", version, latency)


async def _redis(url: str | None) -> Finding:
    if url is None:
        raise UsageError("REDIS_URL is not set; `invorto dev` brings a Redis of its own")
    async with open_redis(url) as redis:
        return Finding("Redis", await redis.version(), await redis.ping())


async def _recordings(url: str, data_dir: Path) -> Finding:
    folder = recordings_folder(url, data_dir)
    began = trio.current_time()
    try:
        free = await trio.to_thread.run_sync(_written, folder, abandon_on_cancel=True)
    except OSError as error:
        raise StartFailed(f"{folder} cannot be written ({error.strerror}): change its owner, or DATA_DIR") from None
    return Finding("recordings", f"{free / 2**30:.1f} GiB free in {folder}", trio.current_time() - began)


def _written(folder: Path) -> int:
    """Write a file where recordings go, as one is written; gives the bytes that are free there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryFile(dir=there) as file:  # in the nearest folder there is: looking makes none
        file.write(bytes(4096))
        file.flush()
        os.fsync(file.fileno())
    return shutil.disk_usage(there).free


# -- engines --------------------------------------------------------------------------------------


async def _engines(config: Config, findings: list[Finding]) -> None:
    findings += [
        Finding(f"{trial.kind} {trial.name}", trial.version, trial.first, trial.wrong)
        for trial in await try_engines(config)
    ]


def _show(findings: list[Finding]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    table = Table.grid(padding=(0, 2))
    for finding in findings:
        mark = Text("✗", style="red") if finding.wrong else Text("✓", style="green")
        latency = "" if finding.latency is None else f"{finding.latency * 1000:.1f} ms"
        told = Text(finding.wrong, style="red") if finding.wrong else Text(finding.version)
        table.add_row(mark, Text(finding.name), told, Text(latency))
    console.print(table)
