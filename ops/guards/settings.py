"""`.env.example` and the README's table say what `invorto/config.py` reads; `--write` makes them so."""

from __future__ import annotations

import sys
from pathlib import Path

from invorto.config import Variable, variables
from ops.guards.tree import ROOT, Tree

EXAMPLE = ".env.example"
README = "README.md"
BEGIN = "<!-- settings: written by `make settings` -->"
END = "<!-- end of settings -->"

_HEAD = """\
# Every setting of Invorto with its default, written by `make settings` from invorto/config.py.
# Copy it to .env for development; an empty value counts as not set. In production set the process environment:
# .env is not read there. `invorto config` shows what counts and where it came from.
"""


def default(variable: Variable) -> str:
    """Give the default as text; a folder of this machine's platform is not written down."""
    return "" if Path(variable.default).is_absolute() else variable.default


def example() -> str:
    """Write `.env.example`."""
    lines = [_HEAD]
    for variable in variables():
        lines.append(f"# {meaning(variable)}")
        text = default(variable)
        lines.append(f'{variable.names[0]}="{text}"\n' if " " in text else f"{variable.names[0]}={text}\n")
    return "\n".join(lines)


def meaning(variable: Variable) -> str:
    """Give the one line that says what it is for, and what else it may be called."""
    also = f" (also read: {', '.join(variable.names[1:])})" if variable.names[1:] else ""
    return variable.meaning + also


def table() -> str:
    """Write the README's table."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for variable in variables():
        names = " or ".join(f"`{name}`" for name in variable.names)
        text = default(variable)
        shown = f"`{text}`" if text else "the platform's" if variable.default else "–"
        rows.append(f"| {names} | {shown} | {variable.meaning.replace('|', '\\|')} |")
    return "\n".join(rows)


def with_table(readme: str) -> str:
    """Give the README's text with the table put between its marks."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{README} lacks the marks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{tail}"


def faults(tree: Tree) -> list[str]:
    """Say which of the two is behind the code."""
    found: list[str] = []
    if not tree.has(EXAMPLE) or tree.text(EXAMPLE) != example():
        found.append(f"{EXAMPLE} is not what invorto/config.py reads: run `make settings`")
    if not tree.has(README) or BEGIN not in tree.text(README) or with_table(tree.text(README)) != tree.text(README):
        found.append(f"{README}: the table of settings is not what invorto/config.py reads: run `make settings`")
    return found


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m ops.guards.settings --write")
    (ROOT / EXAMPLE).write_text(example(), "utf-8")
    (ROOT / README).write_text(with_table((ROOT / README).read_text("utf-8")), "utf-8")
