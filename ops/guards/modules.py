"""Every module says what its one idea is and stays short, or says why not; every test says what it promises."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ops.guards.tree import Tree

MOST_LINES = 300
MOST_LINES_OF_TESTS = 600
"""Tests are read one at a time."""

_REASON = re.compile(r"\blong(er)?\b.*\b(since|because)\b")


def faults(tree: Tree) -> list[str]:
    """List modules and tests without a docstring, and long modules without a reason."""
    found: list[str] = []
    for path, text in tree.matching(".py"):
        if path.startswith("sdk/") or not text.strip():
            continue
        try:
            module = ast.parse(text)
        except SyntaxError as error:
            found.append(f"{path}:{error.lineno}: {error.msg}")
            continue
        first, lines = (ast.get_docstring(module) or "").partition("\n")[0], text.count("\n")
        most = MOST_LINES_OF_TESTS if path.startswith("tests/") else MOST_LINES
        if not first:
            found.append(f"{path}: has no docstring that tells its one idea")
        elif lines > most and not _REASON.search(first):
            found.append(f"{path}: {lines} lines; more than {most} need a reason in the docstring's first line")
        found += [f"{path}:{test.lineno}: {test.name} does not say what it promises" for test in _silent_tests(module)]
    return found


def _silent_tests(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node.name.startswith("test_"):
                if not ast.get_docstring(node):
                    yield node
            case _:
                pass
