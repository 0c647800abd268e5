"""The `invorto` command, longer since all commands stand here: runs one tree; says failures in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, override

import click

from invorto.receiver.commands import commands as webhook_commands

if TYPE_CHECKING:
    from invorto.config import Config

PARTS = ("api", "realtime", "telephony", "webhooks")

_GROUPS = {
    "Try it": ("demo", "dev", "talk"),
    "Test agents": ("simulate", "replay"),
    "Run it": ("serve", "migrate", "check", "engines"),
    "Set it up": ("config", "tenant", "secrets"),
    "Build on it": ("webhooks",),
}


class Commands(click.Group):
    """A group whose help lists the commands by what one wants to do."""

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name, command.get_short_help_str(limit=90)) for name, command in self._listed(ctx, names)]
                )

    def _listed(self, ctx: click.Context, names: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        for name in names:
            command = self.get_command(ctx, name)
            if command is not None:
                yield name, command


def _setting(flag: str, variable: str, help_text: str, **more: Any) -> Callable[[Any], Any]:
    return click.option(flag, variable, help=f"{help_text}  [{variable}]", **more)


PORT = _setting("--port", "API_PORT", "Port that serves all; 0 takes a free one.", metavar="PORT")
HOST = _setting("--host", "BIND_HOST", "Address to listen on.", metavar="ADDRESS")
DATA = _setting("--data", "DATA_DIR", "Folder of stores, recordings and spool.", metavar="FOLDER")
LOG = _setting(
    "--log", "LOG_LEVEL", "Least level that is logged.",
    type=click.Choice(["debug", "info", "warning", "error"]),
)  # fmt: skip


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
Examples:
  invorto demo                       hear one whole conversation, with nothing to set up
  invorto dev                        a server of your own on this machine: stores, key and agent included
  invorto talk question.wav          speak a file to it and save what comes back
  invorto serve                      the server, on your PostgreSQL and Redis
  invorto COMMAND --help             more on one of them

Settings come from the command line, else the environment, else a .env file in this folder (development only),
else their defaults: `invorto config` shows all of them and where each came from.""",
)
@click.version_option(package_name="invorto", prog_name="invorto", message="%(prog)s %(version)s")
def cli() -> None:
    """Invorto runs voice agents: they answer and place calls, listen, think, speak, and leave a record behind."""


@cli.command(short_help="One whole spoken conversation on this machine: no account, no key, no Docker.")
@DATA
@LOG
@click.option(
    "--save", type=click.Path(path_type=Path, file_okay=False), help="Folder for the recording and transcript."
)
def demo(save: Path | None, **options: str | None) -> int | None:
    """Hold one whole spoken conversation in real time and show both sides of it.

    Starts what `invorto dev` starts, in a folder of its own, and calls the demo agent over the real voice socket. The
    caller is speech from files. Exit code 0 only if what was asked was understood and answered.
    """
    data = options["DATA_DIR"]
    config = _quiet(options)
    from invorto.demo import demo as body

    return _run(body, config, save, Path(data) if data else None)


@cli.command(short_help="A server with everything it needs, as children of this one process.")
@PORT
@HOST
@DATA
@LOG
@click.option("--use-system", is_flag=True, help="Use the postgres and redis-server found on PATH.")
def dev(*, use_system: bool, **options: str | None) -> int | None:
    """Start PostgreSQL, Redis and the server, and make a tenant, a key and a demo agent.

    Prints the URLs, the key and the agent, and serves until Ctrl-C, which ends all of it. What it keeps is in the
    data folder and is found again the next time.
    """
    config = _config(options)
    from invorto.dev import dev as body

    return _run(body, config, use_system=use_system)


@cli.command(short_help="Speak sound files to a running server and save what comes back.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.wav...")
@click.option("--url", metavar="URL", help="The server's base URL; without it, the one that `invorto dev` runs here.")
@click.option("--key", metavar="KEY", help="API key; without it, the one that `invorto dev` made.")
@click.option("--agent", metavar="AGENT", help="Id or name of the agent; without it, the demo agent.")
@click.option(
    "--save", metavar="FILE.wav", type=click.Path(path_type=Path, dir_okay=False), default=Path("answer.wav"),
    show_default=True, help="Where the agent's voice goes.",
)  # fmt: skip
@DATA
def talk(
    files: tuple[Path, ...], url: str | None, key: str | None, agent: str | None, save: Path, **options: str | None
) -> int | None:
    """Speak FILE.wav... one after the other, each when the agent has finished answering.

    WAV files of any common rate and format, mono or stereo. There is no microphone: record a file first. The agent's
    tools are answered as if all went well.
    """
    config = _config(options)
    from invorto.talk import talk as body

    return _run(body, config, files, save, url=url, key=key, agent=agent)


SERVER = click.option(
    "--url", metavar="URL", help="The server's base URL; without it, the one that `invorto dev` runs."
)
KEY = click.option("--key", metavar="KEY", help="API key; without it, the one that `invorto dev` made.")


@cli.group()
def simulate() -> None:
    """Conversations in virtual time, against agents in files or on a server."""


@simulate.command(name="talk", short_help="Hold scripted conversations with an agent and check what came of them.")
@click.argument("agent")
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), help="File for JUnit's XML.")
@click.option("--verbose", is_flag=True, help="Show what was said in scenarios that pass, too.")
@SERVER
@KEY
@DATA
def simulate_talk(
    agent: str, scenarios: tuple[Path, ...], *, junit: Path | None, verbose: bool, url: str | None, key: str | None,
    **options: str | None,
) -> int:  # fmt: skip
    """Hold SCENARIOS, files of YAML or JSON or folders of them, with AGENT: a file, or an id or name on a server.

    Nothing is spoken aloud and no tool is called: time is virtual, ten minutes take seconds. Exit code 0 only if all
    was as expected.
    """
    from invorto.simulate.commands import talk as body

    return body(_config(options), agent, scenarios, url=url, key=key, junit=junit, verbose=verbose)


@cli.command(short_help="Run a recorded call again through another configuration, and compare.")
@click.argument("call")
@click.option("--agent", type=click.Path(path_type=Path, exists=True), help="Another agent; else as it was.")
@click.option("--json", "as_json", is_flag=True, help="Both timelines as JSON.")
@SERVER
@KEY
@DATA
def replay(
    call: str, *, agent: Path | None, as_json: bool, url: str | None, key: str | None, **options: str | None
) -> int:
    """Take CALL, an id on a server or a file of its timeline, and run it again in virtual time.

    The caller makes the same sounds at the same times, the agent says what it said then; shown side by side is when it
    would have answered, been interrupted and ended.
    """
    from invorto.simulate.commands import replay as body

    return body(_config(options), call, agent=agent, url=url, key=key, json=as_json)


@cli.command(short_help="The server: REST, voice sockets, webhooks, on your PostgreSQL and Redis.")
@PORT
@HOST
@LOG
@click.option("--only", metavar="PARTS", help=f"Comma list of the parts to run: {', '.join(PARTS)}.  [all]")
@click.option(
    "--workers", metavar="K", type=click.IntRange(1, 256), default=1, show_default=True,
    help="Processes on the same ports, each a node of its own with its own limits.",
)  # fmt: skip
def serve(only: str | None, workers: int, **options: str | None) -> int | None:
    """Serve until SIGTERM or Ctrl-C.

    A first signal drains: no new calls, live ones go on until they end or DRAIN_TIMEOUT is over. A second one skips
    the wait, a third the goodbye. With --workers a process that dies is replaced.
    """
    parts = frozenset(part.strip() for part in only.split(",")) if only is not None else frozenset(PARTS)
    if unknown := sorted(parts - set(PARTS)):
        raise click.BadParameter(f"no such part: {', '.join(unknown)}", param_hint="--only")
    config = _config(options)
    if workers == 1:
        from invorto.supervisor import serve as body

        return _run(body, config, parts)
    from invorto.workers import reserved, spread

    with reserved(config) as config:
        worker = spread(workers, config)
        if isinstance(worker, int):
            return worker
        from invorto.supervisor import serve as body  # not before: the parent stays small, and without threads

        return _run(body, config, parts, shared=True, ready=worker.ready)


@cli.command(short_help="Bring the database's schema up to date.")
@click.option("--dry-run", is_flag=True, help="Only list what would be applied; exit code 1 if anything would.")
@_setting("--database", "DB_URL", "PostgreSQL to migrate.", metavar="URL")
def migrate(*, dry_run: bool, **options: str | None) -> int | None:
    """Apply the migrations that the database lacks, each in a transaction of its own, one process at a time."""
    from invorto.storage.migrate import migrate as apply
    from invorto.storage.migrate import pending

    names = _on_database(_config(options), pending if dry_run else apply)
    for name in names:
        click.echo(f"{'lacks' if dry_run else 'applied'} {name}")
    if not names:
        click.echo("up to date")
    return 1 if dry_run and names else 0


@cli.command(short_help="Reach everything the server depends on and tell its version.")
@LOG
def check(**options: str | None) -> int | None:
    """Reach PostgreSQL, Redis, the recordings' place and the speech engines; exit code 1 if one does not answer."""
    config = _quiet(options)
    from invorto.check import check as body

    return _run(body, config)


@cli.group(short_help="Speech engines: what hears, thinks and speaks.")
def engines() -> None:
    """Speech engines: what hears, thinks and speaks."""


@engines.command(name="check")
@LOG
def check_engines(**options: str | None) -> int | None:
    """Try every engine that is configured and tell how quick it is; exit code 1 if one does not work.

    Each answers twice: `first` has what it takes to connect in it, `again` is what a caller waits for, `whole` its end.
    """
    config = _quiet(options)
    from invorto.trial import check_engines as body

    return _run(body, config)


@cli.command(name="config", short_help="Every setting, its value, and where it came from.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def show_config(*, as_json: bool) -> None:
    """Show every setting, its value, and where it came from; secrets are masked.

    Exit code 2 if a setting is wrong, with a list of what was expected.
    """
    from rich.console import Console

    from invorto.settings_view import gather, show

    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge to wrap at
    show(gather(), as_json=as_json, console=console)


@cli.group()
def tenant() -> None:
    """Tenants: whose agents, calls and keys are whose."""


@tenant.command(name="create")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(["admin", "operator"]), default="admin", show_default=True,
    help="Of its first key: an operator's tenant manages the installation.",
)  # fmt: skip
@_setting("--database", "DB_URL", "PostgreSQL to write to.", metavar="URL")
def create_tenant(name: str, role: Literal["admin", "operator"], **options: str | None) -> int | None:
    """Make a tenant called NAME and its first key. The key is shown this once."""
    from invorto.storage.postgres import open_database
    from invorto.storage.tenants import create_with_key

    async def body(url: str) -> tuple[str, str]:
        async with open_database(url, pool_size=1) as database:
            made, key = await create_with_key(database, name, role=role)
            return made.id, key

    tenant_id, key = _on_database(_config(options), body)
    click.echo(f"tenant  {tenant_id}\nkey     {key}")
    return 0


@cli.group()
def secrets() -> None:
    """Secrets at rest: sealed with the first of INVORTO_SECRET_KEYS."""


@secrets.command(name="rotate")
@_setting("--database", "DB_URL", "PostgreSQL to write to.", metavar="URL")
def rotate_secrets(**options: str | None) -> int | None:
    """Seal every secret again with the first of INVORTO_SECRET_KEYS.

    Put a new key before the old ones and start the nodes again, run this, then take the old ones away. It may be run
    while the nodes serve, and again after it was interrupted.
    """
    config = _config(options)
    from invorto.storage.postgres import open_database
    from invorto.storage.rotation import rotate
    from invorto.subkeys import SecretKeys
    from invorto.vault import Vault

    vault = Vault(SecretKeys.parse(config.secrets.secret_keys))
    if not vault:
        raise click.UsageError("INVORTO_SECRET_KEYS is not set: there is nothing to seal with")

    async def body(url: str) -> dict[str, int]:
        async with open_database(url, pool_size=1) as database:
            return await rotate(database, vault)

    for name, count in _on_database(config, body).items():
        click.echo(f"{name}  {count}")
    click.echo("every secret is sealed with the first key")
    return 0


def _config(options: dict[str, str | None]) -> Config:
    from invorto.settings_view import gather

    return gather(options).load()


def _quiet(options: dict[str, str | None]) -> Config:
    """Read the settings of a command that shows what happens by itself: it logs errors alone, unless told otherwise."""
    _config(options)  # which tells what is wrong with the level that is put aside here
    return _config({**options, "LOG_LEVEL": options["LOG_LEVEL"] or "error"})


def _run[**P, T](body: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run the process's one tree, inside the one asyncio loop that storage needs."""
    import trio

    from invorto.storage.aio import open_loop

    async def tree() -> T:
        async with open_loop():
            return await body(*args, **kwargs)

    return trio.run(tree)


def _on_database[T](config: Config, body: Callable[[str], Awaitable[T]]) -> T:
    """Run what only needs PostgreSQL; where that cannot be reached, say which setting leads there."""
    from invorto.errors import StoreUnavailable, UsageError

    if config.stores.db_url is None:
        raise click.UsageError("no database: set DB_URL, or give --database")

    async def reaching(url: str) -> T:
        try:
            return await body(url)
        except StoreUnavailable as away:
            raise UsageError(f"{away}: is it running, and does DB_URL, or --database, lead to it?") from None

    return _run(reaching, config.stores.db_url)


cli.add_command(webhook_commands(_config, _run, DATA))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 used wrongly, 130 interrupted."""
    try:
        code: Any = cli.main(arguments, prog_name="invorto", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough: `invorto config | head`.
        sys.stderr.close()
        code = 1
    except (Exception, BaseExceptionGroup) as error:
        code = _explain(error)
        if code is None:
            raise
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: BaseException) -> int | None:
    """Say an expected failure in one sentence and give its exit code; None when nobody expected it."""
    from invorto.errors import InvortoError, UsageError

    leaves = list(_leaves(error))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return 130
    if not all(isinstance(leaf, InvortoError) for leaf in leaves):
        return None
    for sentence in dict.fromkeys(str(leaf) for leaf in leaves):
        click.secho(f"invorto: {sentence}", err=True, fg="red" if sys.stderr.isatty() else None)
    return 2 if any(isinstance(leaf, UsageError) for leaf in leaves) else 1


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:  # pyright: ignore[reportUnknownMemberType]
            yield from _leaves(part)
    else:
        yield error
