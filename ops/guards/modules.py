"""Every module says in its first line what its one idea is, and stays short or says there why it is long."""

from __future__ import annotations

import ast
import re

from ops.guards.tree import Tree

MOST_LINES = 300

_REASON = re.compile(r"\blong(er)?\b.*\b(since|because)\b")


def faults(tree: Tree) -> list[str]:
    """List modules without a docstring, and long ones without a reason."""
    found: list[str] = []
    for path, text in tree.matching(".py"):
        if path.startswith("sdk/") or not text.strip():
            continue
        try:
            doc = ast.get_docstring(ast.parse(text))
        except SyntaxError as error:
            found.append(f"{path}:{error.lineno}: {error.msg}")
            continue
        first, lines = (doc or "").partition("\n")[0], text.count("\n")
        if not first:
            found.append(f"{path}: has no docstring that tells its one idea")
        elif lines > MOST_LINES and not _REASON.search(first):
            found.append(f"{path}: {lines} lines; more than {MOST_LINES} need a reason in the docstring's first line")
    return found
