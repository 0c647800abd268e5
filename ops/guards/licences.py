"""`docs/licences.md` lists every package that a user may install with us, and its licence; `--write` makes it so."""

from __future__ import annotations

import re
import sys
from importlib import metadata

from ops.guards.tree import ROOT, Tree

DOCUMENT = "docs/licences.md"
BEGIN = "<!-- packages: written by `make licences` -->"
END = "<!-- end of packages -->"

TOLD_ELSEWHERE = {
    "colorama": "BSD-3-Clause",  # for Windows alone, so not installed where this runs
    "itsdangerous": "BSD-3-Clause",  # the package says no more than BSD
    "jinja2": "BSD-3-Clause",  # as above
}
"""What an installed package does not tell exactly, as its licence file has it."""

_NAME = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_COMMON = {
    "Apache License, Version 2.0": "Apache-2.0", "Apache 2.0": "Apache-2.0", "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0", "Apache": "Apache-2.0", "MIT License": "MIT", "The MIT License": "MIT",
    "The MIT License (MIT)": "MIT", "MIT -or- Apache License 2.0": "MIT OR Apache-2.0",
    "BSD License": "BSD", "BSD 3-Clause": "BSD-3-Clause", "BSD-3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause", "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0", "Python Software Foundation License": "PSF-2.0",
}  # fmt: skip


def packages(lock: str) -> list[str]:
    """Give the names in a lock's text, sorted."""
    return sorted({name.lower() for name in _NAME.findall(lock)})


def licence(name: str) -> str:
    """Read the licence of an installed package; empty when it does not say."""
    if name in TOLD_ELSEWHERE:
        return TOLD_ELSEWHERE[name]
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    expression = told.get("License-Expression")
    if expression is not None:
        return expression
    first = (told.get("License") or "").strip().partition("\n")[0].strip()
    if first and first not in {"UNKNOWN", "BSD"} and len(first) < 60:
        return _COMMON.get(first, first)
    lines: list[str] = told.get_all("Classifier") or []
    classes = [line.rpartition(" :: ")[2] for line in lines if line.startswith("License ::")]
    return ", ".join(_COMMON.get(kind, kind) for kind in classes if kind != "OSI Approved") or first


def table(tree: Tree) -> str:
    """Write the table of packages."""
    server = packages(tree.text("ops/locks/server.lock"))
    rows = [
        f"| {name} | {licence(name) or '?'} | {'every install' if name in server else 'an extra'} |"
        for name in packages(tree.text("ops/locks/local.lock"))
    ]
    return "\n".join(["| package | licence | comes with |", "|---|---|---|", *rows])


def with_table(document: str, tree: Tree) -> str:
    """Give the document's text with the table put between its marks."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} lacks the marks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{table(tree)}\n\n{END}{tail}"


def faults(tree: Tree) -> list[str]:
    """Say which packages' licences are not known, and whether the table is behind the locks."""
    names = packages(tree.text("ops/locks/local.lock"))
    found = [f"{name}: its licence is not known: see ops/guards/licences.py" for name in names if not licence(name)]
    if not tree.has(DOCUMENT) or BEGIN not in tree.text(DOCUMENT):
        found.append(f"{DOCUMENT}: has no table of packages")
    elif with_table(tree.text(DOCUMENT), tree) != tree.text(DOCUMENT):
        found.append(f"{DOCUMENT}: its table is not what the locks install: run `make licences`")
    return found


if __name__ == "__main__":
    from ops.guards.tree import tree as committed

    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m ops.guards.licences --write")
    path = ROOT / DOCUMENT
    path.write_text(with_table(path.read_text("utf-8"), committed()), "utf-8")
