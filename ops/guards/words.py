"""What must stand nowhere: paths of one machine, hosts of package registries, development addresses in shipped code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ops.guards.tree import Tree

# One letter of each stands in brackets, so that this file does not name what it forbids.
_MACHINE = re.compile(r"(?<![\w.~$-])/(wor[k]|roo[t]|opt/wheel[s]|Users/[a-z]+|home/[a-z]+)(/|\b)")
_REGISTRIES = re.compile(
    r"\b(py[p]i\.org|python[h]osted\.org|registry\.npm[j]s|npm[j]s\.(org|com)|crates\.i[o]|proxy\.golan[g]"
    r"|deb\.debia[n]\.org|files\.pythonhoste[d]|repo\.mave[n]|rubygem[s]\.org)",
    re.IGNORECASE,
)
_DEVELOPMENT = re.compile(r"localhost|127\.0\.0\.1|\[::1\]|\b(ws|http)://\w", re.IGNORECASE)

SHIPPED = ("invorto/", "sdk/python/src/", "sdk/js/src/")

ALLOWED_ADDRESSES = {
    "invorto/config.py": "the default of BIND_HOST",
    "invorto/dev.py": "it serves this machine alone, and prints where",
    "invorto/receiver/": "it listens on this machine, for whoever develops on it",
    "invorto/realtime/listeners.py": "what it advises when BIND_HOST is no address of this machine",
    "invorto/realtime/recording.py": "a file: URL's own name for this machine",
    "invorto/storage/redis.py": "what a Redis URL without a host means",
    "invorto/talk.py": "its default is the server that `invorto dev` runs here",
    "invorto/demo/": "it calls the server that it has started itself",
}
"""Shipped files, or folders ending in a slash, that may name a development address, and why."""


def faults(tree: Tree) -> list[str]:
    """List the places."""
    found: list[str] = []
    for path, text in tree.matching():
        for number, line in enumerate(text.splitlines(), 1):
            if match := _MACHINE.search(line):
                found.append(f"{path}:{number}: {match[0]!r} is a path of one machine")
            if match := _REGISTRIES.search(line):
                found.append(f"{path}:{number}: names a package registry's host")
    for path, text in tree.matching(".py", ".js", ".ts", ".mjs"):
        if path.startswith(SHIPPED) and not _allowed(path):
            literals = _literals(text) if path.endswith(".py") else enumerate(text.splitlines(), 1)
            found += [
                f"{path}:{number}: {match[0]!r} is a development address in shipped code"
                for number, line in literals
                if (match := _DEVELOPMENT.search(line))
            ]
    return found


def _allowed(path: str) -> bool:
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in ALLOWED_ADDRESSES)


def _literals(text: str) -> Iterator[tuple[int, str]]:
    """Give the strings of a module with their lines, docstrings left out: they do nothing."""
    module = ast.parse(text)
    told = {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.lineno, node.value
