"""Where each setting comes from: command line, environment, `.env` and defaults, merged in this order and shown."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import attrs
from dotenv.parser import parse_stream
from rich.console import Console
from rich.table import Table

from invorto.config import Config, Variable, load, source, variables
from invorto.errors import UsageError

COMMAND_LINE = "command line"
ENVIRONMENT = "environment"
DOTENV = ".env"
DEFAULT = "default"


@attrs.frozen
class Origin:
    """One place that settings come from, as the text it holds for each name."""

    name: str
    values: Mapping[str, str]


@attrs.frozen
class Settings:
    """What all origins say, merged: the first origin that sets a variable under any of its names has it."""

    origins: Sequence[Origin]

    @property
    def environ(self) -> dict[str, str]:
        """What `config.load` is to read: known variables from their first origin, unknown names for it to refuse."""
        known = {name for variable in variables() for name in variable.names}
        merged = {
            name: text for origin in reversed(self.origins) for name, text in origin.values.items() if name not in known
        }
        for variable in variables():
            origin, name, text = self.find(variable)
            if origin != DEFAULT:
                merged[name] = text
        return merged

    def find(self, variable: Variable) -> tuple[str, str, str]:
        """Tell where *variable* is set, under which name, and its text; an empty text counts as not set."""
        for origin in self.origins:
            name, text = source(variable, origin.values)
            if name is not None:
                return origin.name, name, text
        return DEFAULT, variable.names[0], variable.default

    def load(self) -> Config:
        """Make the settings; `UsageError` names all that are wrong."""
        return load(self.environ)


def gather(
    options: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] = os.environ,
    folder: Path | None = None,
) -> Settings:
    """Collect the settings: *options* by variable name (None: not given), the environment, *folder*'s ``.env``.

    The file is read in development only: a production host is told by its environment alone. `UsageError` names the
    line that cannot be read.
    """
    given = {name: text for name, text in (options or {}).items() if text is not None}
    origins = [Origin(COMMAND_LINE, given), Origin(ENVIRONMENT, environ)]
    if environ.get("INVORTO_ENV", "").lower() != "production":
        origins.append(Origin(DOTENV, read_dotenv((folder or Path.cwd()) / ".env")))
    return Settings(origins)


def read_dotenv(path: Path) -> dict[str, str]:
    """Read ``NAME=value`` lines; a file that is not there is empty."""
    if not path.is_file():
        return {}
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            shown = binding.original.string.strip().partition("=")[0]
            raise UsageError(f"{path}, line {binding.original.line}: expected NAME=value, found {shown!r}")
        if binding.key is not None:
            values[binding.key] = binding.value or ""
    return values


def masked(variable: Variable, text: str) -> str:
    """Give *text* as it may be shown: of a secret nothing, of a store's URL all but user, password and options."""
    if not variable.secret or not text:
        return text
    try:
        parts = urlsplit(text)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "••••"
    if not parts.scheme or not (host or parts.path.startswith("/")):
        return "••••"
    hidden = "••••@" if "@" in parts.netloc else ""
    return urlunsplit((parts.scheme, hidden + host, parts.path, "••••" if parts.query else "", ""))


def show(settings: Settings, *, as_json: bool, console: Console) -> None:
    """Print every setting and where it comes from; `UsageError` after it if some are wrong."""
    rows = [(variable, *settings.find(variable)) for variable in variables()]
    if as_json:
        answer = {
            variable.names[0]: {
                "value": masked(variable, text) or None,
                "source": origin,
                "setBy": None if origin == DEFAULT else name,
            }
            for variable, origin, name, text in rows
        }
        console.file.write(json.dumps(answer, indent=2, ensure_ascii=False) + "\n")
    else:
        table = Table("variable", "value", "from", "meaning", box=None, pad_edge=False, header_style="bold")
        for variable, origin, name, text in rows:
            where = origin if name == variable.names[0] else f"{origin}, as {name}"
            style = "dim" if origin == DEFAULT else ""
            cells = (variable.names[0], masked(variable, text) or "–", where, variable.meaning)
            table.add_row(*(_plain(cell) for cell in cells), style=style)
        console.print(table)
    settings.load()


def _plain(text: str) -> str:
    # Rich would read `[x]` in a value as markup.
    return text.replace("[", "\\[")
