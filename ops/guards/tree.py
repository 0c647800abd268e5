"""The files a guard looks at: what is committed, or everything where there is no Git."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parents[2]

_BINARY = frozenset({".onnx", ".wav", ".png", ".ico", ".woff2", ".gz", ".bin", ".npy", ".npz"})
_OURS_ALONE = frozenset({".git", ".venv", "node_modules", "__pycache__"})


@attrs.frozen
class Tree:
    """A folder and the files in it that count, as POSIX paths relative to it."""

    root: Path
    paths: tuple[str, ...]

    def text(self, path: str) -> str:
        """Read one file."""
        return (self.root / path).read_text("utf-8")

    def matching(self, *suffixes: str) -> Iterator[tuple[str, str]]:
        """Give path and text of the files that end so; of all text files when nothing is asked for."""
        for path in self.paths:
            if path.endswith(suffixes) if suffixes else Path(path).suffix not in _BINARY:
                yield path, self.text(path)

    def has(self, path: str) -> bool:
        """Tell whether *path* is one of the files, or a folder with some of them in it."""
        folder = path.rstrip("/") + "/"
        return path in self.paths or any(other.startswith(folder) for other in self.paths)


def tree(root: Path = ROOT) -> Tree:
    """List the files below *root*."""
    if (root / ".git").exists():
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True).stdout
        paths = [path for path in listing.decode().split("\0") if path and (root / path).is_file()]
    else:
        found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        paths = [path.as_posix() for path in found if not _OURS_ALONE.intersection(path.parts)]
    return Tree(root, tuple(sorted(paths)))
