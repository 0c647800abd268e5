"""`python -m ops.guards` runs the guards that need nothing but the files."""

from __future__ import annotations

import sys

from ops.guards import licences, links, modules, settings, words
from ops.guards.tree import tree

GUARDS = (licences, links, modules, settings, words)


def main() -> int:
    """Print every fault; give the exit code."""
    files = tree()
    found = [fault for guard in GUARDS for fault in guard.faults(files)]
    print("\n".join(found) or f"{len(GUARDS)} guards, {len(files.paths)} files, nothing wrong")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
