"""The `invorto` command, as a person at a terminal meets it."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from invorto import cli
from invorto.errors import NotFound, StartFailed, StoreUnavailable, UsageError

COMMANDS = (
    "demo", "dev", "talk", "simulate", "replay", "serve", "migrate", "check", "engines", "config", "tenant", "secrets",
    "webhooks",
)  # fmt: skip
LOWER = (("tenant", "create"), ("secrets", "rotate"), ("webhooks", "listen"), ("webhooks", "trigger"))


def invorto(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "110", **environ}
    return subprocess.run(
        [sys.executable, "-m", "invorto", *arguments],
        cwd=folder, env=clean, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def exit_code(capsys, monkeypatch, error: BaseException) -> tuple[object, str]:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    return ended.value.code, capsys.readouterr().err


def test_help_lists_every_command_by_what_one_wants_to_do(tmp_path: Path) -> None:
    """`--help` names all commands, grouped, with examples, and a word on where settings come from."""
    ran = invorto("--help", folder=tmp_path)
    assert ran.returncode == 0
    for text in ("Try it:", "Run it:", "Set it up:", "Examples:", "Settings come from", *COMMANDS):
        assert text in ran.stdout
    grouped = [name for names in cli._GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(cli.cli.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [*((name,) for name in COMMANDS), *LOWER], ids=" ".join)
def test_every_command_explains_itself(tmp_path: Path, command: tuple[str, ...]) -> None:
    """`invorto COMMAND --help` answers without settings, stores or engines."""
    ran = invorto(*command, "--help", folder=tmp_path, API_PORT="not a port")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Usage: invorto" in ran.stdout


def test_help_is_quick() -> None:
    """Nothing heavy is imported to show the help: it stays under 0.3 s on a quiet machine."""
    code = (
        "import sys; from invorto import cli; print([m for m in ('trio','numpy','attrs','rich') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_version_is_told(tmp_path: Path) -> None:
    """`--version` is one line."""
    ran = invorto("--version", folder=tmp_path)
    assert ran.stdout.startswith("invorto ")
    assert len(ran.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("talk",), ("serve", "--only", "api,kitchen"), ("migrate",)], ids=" ".join
)
def test_wrong_usage_is_a_sentence_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Nobody sees a traceback for a typing error."""
    ran = invorto(*arguments, folder=tmp_path)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert "Error: " in ran.stderr


def test_wrong_settings_are_told_all_at_once(tmp_path: Path) -> None:
    """Every wrong setting is in one message, with what was expected, from the environment and from .env."""
    (tmp_path / ".env").write_text("INVORTO_COLOUR=red\n")
    ran = invorto("check", folder=tmp_path, API_PORT="99999", LOG_LEVEL="loud")
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    for text in ("INVORTO_COLOUR: unknown setting", "API_PORT: expected a whole number", "LOG_LEVEL: expected one of"):
        assert text in ran.stderr


def test_config_shows_options_of_the_environment(tmp_path: Path) -> None:
    """`invorto config` in a pipe is one line a setting, without colours."""
    ran = invorto("config", folder=tmp_path, API_PORT="81")
    assert ran.returncode == 0
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("API_PORT ")]
    assert line.split()[1:3] == ["81", "environment"]
    assert "\x1b" not in ran.stdout


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UsageError("set DB_URL"), 2, "invorto: set DB_URL\n"),
        (StartFailed("port 1 is taken"), 1, "invorto: port 1 is taken\n"),
        (StoreUnavailable(), 1, "invorto: the store cannot be reached\n"),
        (
            ExceptionGroup("", [StartFailed("a"), ExceptionGroup("", [StartFailed("a"), NotFound("b")])]),
            1,
            "invorto: a\ninvorto: b\n",
        ),
        (KeyboardInterrupt(), 130, ""),
        (BaseExceptionGroup("", [KeyboardInterrupt(), StartFailed("a")]), 130, ""),
    ],
    ids=["usage", "start", "store", "group", "interrupt", "interrupt in a group"],
)
def test_expected_failures_are_sentences(capsys, monkeypatch, error: BaseException, code: int, sentence: str) -> None:
    """What is expected to go wrong ends in its sentence and its exit code, out of nested groups too."""
    assert exit_code(capsys, monkeypatch, error) == (code, sentence)


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError(), ExceptionGroup("", [StartFailed("a"), ZeroDivisionError()])],
    ids=["bare", "in a group"],
)
def test_what_nobody_expected_keeps_its_traceback(monkeypatch, error: Exception) -> None:
    """A bug is not dressed up as a sentence."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli.cli, "main", fail)
    with pytest.raises(type(error)):
        cli.main([])


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`invorto config | head -1` ends without a word on stderr."""
    ran = subprocess.run(
        f"{sys.executable} -m invorto config --json | head -1",
        shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ran.stdout, ran.stderr) == ("{\n", "")


def test_ctrl_c_while_starting_is_130_without_a_traceback(tmp_path: Path) -> None:
    """An interrupt before the tree takes over its signals is quiet."""
    code = (
        "import sys, time; from invorto import cli\n"
        "def wait(*a, **k): print('here', flush=True); time.sleep(60)\n"
        "cli.cli.main = wait; cli.main([])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, error = process.communicate(timeout=10)
    assert (process.returncode, error) == (130, "")
    assert time.monotonic() - began < 5


def test_migrate_brings_a_database_up_to_date_and_says_how(tmp_path: Path, bare_postgres_url: str) -> None:
    """`--dry-run` lists what is lacking with exit code 1, a run applies it, a second one has nothing to do."""
    lacking = invorto("migrate", "--dry-run", folder=tmp_path, DB_URL=bare_postgres_url)
    assert lacking.returncode == 1
    assert "lacks 0001" in lacking.stdout
    applied = invorto("migrate", "--database", bare_postgres_url, folder=tmp_path)
    assert (applied.returncode, applied.stderr) == (0, "")
    assert applied.stdout == lacking.stdout.replace("lacks", "applied")
    again = invorto("migrate", "--dry-run", folder=tmp_path, POSTGRES_URL=bare_postgres_url)
    assert (again.returncode, again.stdout) == (0, "up to date\n")


def test_a_tenant_and_its_first_key_are_made(tmp_path: Path, postgres_url: str) -> None:
    """`invorto tenant create` prints the tenant's id and a key, which is kept nowhere in clear."""
    ran = invorto("tenant", "create", "Acme & Söhne", folder=tmp_path, DB_URL=postgres_url)
    assert (ran.returncode, ran.stderr) == (0, "")
    tenant, key = (line.split()[1] for line in ran.stdout.splitlines())
    assert tenant.startswith("t_")
    assert key.startswith("inv_live_")
    ran = invorto("tenant", "create", "House", "--role", "operator", folder=tmp_path, DB_URL=postgres_url)
    assert ran.returncode == 0


def test_secrets_are_sealed_again(tmp_path: Path, postgres_url: str) -> None:
    """`invorto secrets rotate` says how many of which; without keys of the installation it says that."""
    key = base64.b64encode(b"k" * 32).decode()
    ran = invorto("secrets", "rotate", folder=tmp_path, DB_URL=postgres_url, INVORTO_SECRET_KEYS=key)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.endswith("every secret is sealed with the first key\n")
    assert invorto("secrets", "rotate", folder=tmp_path, DB_URL=postgres_url).returncode == 2


@pytest.mark.parametrize("arguments", [("migrate",), ("tenant", "create", "x")], ids=" ".join)
def test_a_database_that_cannot_be_reached_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Exit code 2, where it was sought, what leads there, and neither a traceback nor the password."""
    ran = invorto(*arguments, folder=tmp_path, DB_URL="postgresql://ann:hidden@127.0.0.1:1/db")
    assert ran.returncode == 2
    assert "does DB_URL, or --database, lead to it?" in ran.stderr
    assert ran.stderr.startswith("invorto: ")
    assert "Traceback" not in ran.stderr
    assert "PostgreSQL cannot be reached" in ran.stderr
    assert "127.0.0.1" in ran.stderr
    assert "hidden" not in ran.stderr
