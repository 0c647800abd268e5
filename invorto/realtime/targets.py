"""Whether a call may be transferred somewhere: the agent's list of numbers, SIP URIs and patterns."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def is_target(to: str, targets: Iterable[str]) -> bool:
    """Tell whether *to* is on the list; ``*`` in a target stands for anything, spaces and hyphens for nothing."""
    wanted = _plain(to)
    return any(fnmatchcase(wanted, _plain(target).replace("[", "[[]")) for target in targets)


def _plain(address: str) -> str:
    address = address.strip()
    if address.lower().startswith(("sip:", "sips:")):
        return address.lower()
    return address.replace(" ", "").replace("-", "").replace("(", "").replace(")", "")
