"""Every link and every file that a document names exists, is relative, and is written the POSIX way."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote

from ops.guards.tree import Tree

_FENCE = re.compile(r"^ {0,3}(```+|~~~+).*?^ {0,3}\1\s*$", re.DOTALL | re.MULTILINE)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+[\"'][^)]*)?\)")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = re.compile(r"(https?|mailto):")
_FOLDERS = ("invorto/", "tests/", "docs/", "ops/", "sdk/", ".ci/", ".github/")
_FILE = re.compile(r"[\w./*-]+(:\d+)?")


def faults(tree: Tree) -> list[str]:
    """List links to what is not there, and files named in `code` that are not there."""
    return [f"{path}: {fault}" for path, text in tree.matching(".md") for fault in _document(tree, path, text)]


def _document(tree: Tree, path: str, text: str) -> Iterator[str]:
    prose = _FENCE.sub("", text)
    for match in _SPAN.finditer(prose):
        yield from _named(tree, match[1])
    bare = _SPAN.sub("`code`", prose)
    for match in (*_LINK.finditer(bare), *_REFERENCE.finditer(bare)):
        yield from _linked(tree, path, match[1])


def _named(tree: Tree, span: str) -> Iterator[str]:
    if not span.startswith(_FOLDERS) or not _FILE.fullmatch(span):
        return
    name, _, line = span.partition(":")
    if "*" in name:
        pattern = re.compile(re.escape(name).replace(r"\*\*", ".*").replace(r"\*", "[^/]*"))
        if not any(pattern.fullmatch(other) for other in tree.paths):
            yield f"`{span}` matches no file"
    elif not tree.has(name):
        yield f"`{span}` is not there"
    elif line and int(line) > tree.text(name).count("\n") + 1:
        yield f"`{span}` has no such line"


def _linked(tree: Tree, path: str, target: str) -> Iterator[str]:
    if _ELSEWHERE.match(target):
        return
    if "\\" in target or target.startswith("/") or ":" in target.partition("#")[0]:
        yield f"link {target} is not a relative POSIX path"
        return
    name, _, anchor = unquote(target).partition("#")
    file = posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else path
    if not tree.has(file) and file != ".":
        yield f"link {target} leads nowhere"
    elif anchor and file.endswith(".md") and anchor not in _anchors(tree.text(file)):
        yield f"link {target}: there is no such heading"


def _anchors(text: str) -> set[str]:
    headings = (re.sub(r"[`*_]", "", heading) for heading in _HEADING.findall(_FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
