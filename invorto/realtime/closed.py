"""How a voice socket ended, as its reader learns it."""

from __future__ import annotations

LOST = 1006
"""The code of a socket that ended without a close frame; never on the wire."""


class Closed(Exception):
    """The socket is over: *code* and *reason* are the peer's, ours if we closed, `LOST` if neither said a word."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason

    def __str__(self) -> str:
        return f"{self.code} {self.reason}".rstrip()
