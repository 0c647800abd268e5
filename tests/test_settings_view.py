"""Where settings come from, and what of them is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from invorto.config import load, variables
from invorto.errors import UsageError
from invorto.settings_view import gather, masked, read_dotenv, show

BY_NAME = {variable.names[0]: variable for variable in variables()}


def shown(settings, *, as_json: bool = False) -> str:
    out = io.StringIO()
    show(settings, as_json=as_json, console=Console(file=out, width=200))
    return out.getvalue()


def test_the_command_line_wins_over_the_environment_over_dotenv_over_the_default(tmp_path: Path) -> None:
    """Precedence is as the documentation says, for each variable by itself."""
    (tmp_path / ".env").write_text("API_PORT=1\nDB_POOL_SIZE=1\nDRAIN_TIMEOUT=1\n")
    settings = gather({"API_PORT": "3", "BIND_HOST": None}, {"API_PORT": "2", "DB_POOL_SIZE": "2"}, tmp_path)
    config = settings.load()
    assert (config.network.api_port, config.stores.db_pool_size, config.limits.drain_timeout) == (3, 2, 1.0)
    assert config.network.bind_host == "127.0.0.1"
    found = {
        name: settings.find(BY_NAME[name])[0] for name in ("API_PORT", "DB_POOL_SIZE", "DRAIN_TIMEOUT", "LOG_LEVEL")
    }
    assert found == {
        "API_PORT": "command line", "DB_POOL_SIZE": "environment", "DRAIN_TIMEOUT": ".env", "LOG_LEVEL": "default",
    }  # fmt: skip


def test_an_alias_in_the_environment_wins_over_the_first_name_in_dotenv(tmp_path: Path) -> None:
    """A variable's origin decides, not which of its names is used there."""
    (tmp_path / ".env").write_text("DB_URL=postgresql://file/db\n")
    settings = gather({}, {"POSTGRES_URL": "postgresql://environment/db"}, tmp_path)
    assert settings.load().stores.db_url == "postgresql://environment/db"
    assert settings.find(BY_NAME["DB_URL"])[:2] == ("environment", "POSTGRES_URL")


def test_an_empty_value_counts_as_not_set(tmp_path: Path) -> None:
    """`API_PORT=` anywhere is the same as no line at all."""
    (tmp_path / ".env").write_text("API_PORT=9\n")
    assert gather({}, {"API_PORT": ""}, tmp_path).load().network.api_port == 9


def test_dotenv_is_not_read_in_production(tmp_path: Path) -> None:
    """A file that lies about cannot change a production host."""
    (tmp_path / ".env").write_text("API_PORT=9\n")
    settings = gather({}, {"INVORTO_ENV": "Production", "DB_POOL_SIZE": "3"}, tmp_path)
    assert settings.find(BY_NAME["API_PORT"])[0] == "default"


def test_a_misspelt_setting_of_ours_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    """Unknown INVORTO_ names are told, in .env too; other programs' names are left alone."""
    (tmp_path / ".env").write_text("INVORTO_SECRT_KEYS=x\nEDITOR=vi\n")
    with pytest.raises(UsageError, match="INVORTO_SECRT_KEYS: unknown setting"):
        gather({}, {"PATH": "/bin"}, tmp_path).load()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("API_PORT=1\nthis is not a setting\n", r"line 2: expected NAME=value, found 'this is not a setting'"),
        ('A="never closed\n', r"line 1: expected NAME=value, found 'A'"),
    ],
    ids=["prose", "open quote"],
)
def test_an_unreadable_line_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    """A fault in .env is one sentence with the line, and never shows a value that may be secret."""
    (tmp_path / ".env").write_text(text)
    with pytest.raises(UsageError, match=complaint):
        read_dotenv(tmp_path / ".env")


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are a sentence, not a traceback."""
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        read_dotenv(tmp_path / ".env")


def test_dotenv_as_people_write_it(tmp_path: Path) -> None:
    """Comments, quotes, export and blank lines are understood; a name without a value is empty."""
    (tmp_path / ".env").write_text("# words\nexport A=1\n\nB='two words'  # why\nC\n")
    assert read_dotenv(tmp_path / ".env") == {"A": "1", "B": "two words", "C": ""}
    assert read_dotenv(tmp_path / "missing") == {}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("REALTIME_API_KEY", "inv_live_abc", "••••"),
        ("REALTIME_API_KEY", "", ""),
        ("DB_URL", "postgresql://ann:pw@db.example:5/x?password=pw", "postgresql://••••@db.example:5/x?••••"),
        ("DB_URL", "postgresql:///x?host=%2Frun", "postgresql:/x?••••"),
        ("REDIS_URL", "redis://[::1", "••••"),
        ("API_PORT", "8080", "8080"),
    ],
)
def test_secrets_are_masked(name: str, text: str, expected: str) -> None:
    """Nothing secret is shown, and of a store's URL what helps to find it."""
    assert masked(BY_NAME[name], text).replace(":///", ":/") == expected


def test_everything_is_shown_and_no_secret(tmp_path: Path) -> None:
    """`invorto config` lists every variable with its origin, as a table and as JSON."""
    settings = gather({}, {"REALTIME_API_KEY": "inv_live_abc", "POSTGRES_URL": "postgresql://u:pw@h/d"}, tmp_path)
    for text in (shown(settings), shown(settings, as_json=True)):
        assert all(name in text for name in BY_NAME)
        assert "inv_live_abc" not in text
        assert "pw" not in text
    answer = json.loads(shown(settings, as_json=True))
    assert answer["API_PORT"] == {"value": "8080", "source": "default", "setBy": None}
    assert answer["DB_URL"]["setBy"] == "POSTGRES_URL"


def test_wrong_settings_are_shown_before_they_are_refused(tmp_path: Path) -> None:
    """The table helps to find what is wrong, so it comes first; brackets in a value stay as they are."""
    out = io.StringIO()
    settings = gather({}, {"API_PORT": "[bold]many"}, tmp_path)
    with pytest.raises(UsageError, match="API_PORT: expected a whole number"):
        show(settings, as_json=False, console=Console(file=out, width=200))
    assert "[bold]many" in out.getvalue()


def test_what_is_gathered_from_nothing_is_the_defaults(tmp_path: Path) -> None:
    """Without any origin the settings are those of the documentation."""
    assert gather({}, {}, tmp_path).load() == load({})
