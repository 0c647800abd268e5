"""`invorto dev`: the server with stores of its own, a tenant, a key and a demo agent, all in one tree."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from importlib import resources as files
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import platformdirs
import structlog
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from invorto.config import Config
from invorto.errors import NotFound, StartFailed, UsageError
from invorto.resources import Resources
from invorto.storage import agents, keys, tenants
from invorto.storage.embedded import check_unowned, open_stores
from invorto.storage.migrate import migrate
from invorto.storage.postgres import Database
from invorto.supervisor import Stop, serve

log = structlog.get_logger(__name__)

DEMO_AGENT = "demo"
_THIS_MACHINE = (ip_network("127.0.0.0/8"), ip_network("::1"))
"""What webhooks may be posted to besides public addresses: a receiver that is being written."""


@attrs.frozen
class Seed:
    """What `invorto dev` made for the newcomer."""

    tenant_id: str
    key: str
    agent_id: str


async def dev(config: Config, *, use_system: bool = False) -> int:
    """Serve until Ctrl-C, and leave nothing running; what was kept is found again the next time."""
    console, folder = Console(stderr=True), config.stores.data_dir
    check_unowned(folder.absolute())  # noqa: ASYNC240 - before a port is taken: one may be taken by the owner
    told = False

    async def show(resources: Resources, addresses: list[tuple[str, int]], _: Stop) -> None:
        url = base_url(config, addresses)
        nonlocal told
        with _writing(folder):
            made = await seed(resources.database, folder)
            told = True
            remember(folder, url, made)
        console.print(_welcome(url, made))
        console.print(f"try  {talk_command(folder)}", soft_wrap=True, highlight=False)  # in one piece, to be copied

    prepare = partial(embedded, use_system=use_system, progress=lambda text: console.print(f"[dim]{text}"))
    try:
        return await serve(config, prepare=prepare, ready=show)
    finally:
        if told:  # else it is another's
            (folder / "dev.json").unlink(missing_ok=True)


async def embedded(
    stack: AsyncExitStack, config: Config, *, use_system: bool = False, progress: Callable[[str], None]
) -> Config:
    """Start PostgreSQL and Redis as children, migrate, and give the settings that lead there, and to receivers here."""
    folder = config.stores.data_dir
    urls = await stack.enter_async_context(open_stores(folder, progress=progress, use_system=use_system))
    await migrate(urls.db_url)
    with _writing(folder):
        (folder / "dev.json").unlink(missing_ok=True)  # of one that was killed: nobody is there
        keyring = config.secrets.secret_keys or (_secret_key(folder / "secret.key"),)
    return attrs.evolve(
        config,
        stores=attrs.evolve(config.stores, db_url=urls.db_url, redis_url=urls.redis_url),
        secrets=attrs.evolve(config.secrets, secret_keys=keyring),
        webhooks=attrs.evolve(
            config.webhooks,
            allow_http=True,
            allowed_ports=None,
            allowed_subnets=(*config.webhooks.allowed_subnets, *_THIS_MACHINE),
        ),
    )


async def seed(database: Database, folder: Path) -> Seed:
    """Make the default tenant's key and the demo agent where they are missing; the key is kept in a file, mode 0600."""
    tenant = await tenants.get(database)
    kept = folder / "api.key"
    key = kept.read_text().strip() if kept.exists() else ""
    if not key or await keys.find(database, key) is None:
        _, key = await keys.create(database, tenant.id, "admin", "invorto dev")
        _write_private(kept, key)
    try:
        agent = await agents.get(database, tenant.id, DEMO_AGENT)
    except NotFound:
        agent = await agents.create(database, tenant.id, name=DEMO_AGENT, document=demo_agent())
    return Seed(tenant.id, key, agent.id)


def demo_agent() -> Mapping[str, Any]:
    """Read the demo agent's configuration."""
    return json.loads(files.files("invorto").joinpath("demo/agent.json").read_text("utf-8"))


def base_url(config: Config, addresses: list[tuple[str, int]]) -> str:
    """Give the URL under which this process is reached from this machine."""
    host, port = addresses[0]
    return config.network.public_base_url or f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{port}"  # noqa: S104


def remember(folder: Path, url: str, made: Seed) -> None:
    """Leave word for `invorto talk` of where the server is."""
    _write_private(folder / "dev.json", json.dumps({"url": url, "key": made.key, "agent": made.agent_id}))


def recall(folder: Path) -> Mapping[str, str]:
    """Read where the server of this folder is; `UsageError` when none runs."""
    try:
        return json.loads((folder / "dev.json").read_text())
    except (OSError, ValueError):
        raise UsageError("no server runs here: start `invorto dev`, or give --url and --key") from None


@contextmanager
def _writing(folder: Path) -> Generator[None]:
    """Say in a sentence that the folder takes no more files."""
    try:
        yield
    except OSError as error:
        raise StartFailed(f"cannot write in {folder} ({error.strerror}): make room, or set DATA_DIR") from error


def _secret_key(path: Path) -> str:
    if not path.exists():
        _write_private(path, base64.b64encode(secrets.token_bytes(32)).decode())
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)


def talk_command(folder: Path) -> str:
    """Give what to type, in this folder, to talk to a server whose data are in *folder*."""
    program = "invorto" if shutil.which("invorto") else shlex.quote(sys.argv[0])
    if Path(program).name == "__main__.py":
        program = f"{shlex.quote(sys.executable)} -m invorto"
    elsewhere = folder != Path(platformdirs.user_data_dir("invorto"))
    return f"{program} talk FILE.wav" + (f" --data {shlex.quote(str(folder))}" if elsewhere else "")


def _welcome(url: str, made: Seed) -> Panel:
    table = Table.grid(padding=(0, 2))
    table.add_row("REST", url)
    table.add_row("voice socket", f"{url.replace('http', 'ws', 1)}/realtime/voice?callId=…")
    table.add_row("key", made.key)
    table.add_row("demo agent", made.agent_id)
    return Panel(table, title="Invorto serves; Ctrl-C ends all of it", expand=False)
