"""Which web pages may open a voice socket."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs

from invorto.config import Network
from invorto.errors import PeerError, UsageError

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@attrs.frozen
class Origins:
    """The pages' origins that the installation knows; where it knows none, a page of the request's own host may."""

    known: frozenset[tuple[str, str, int | None]] = frozenset()
    every: bool = False

    @classmethod
    def of(cls, network: Network) -> Origins:
        """Take what the settings say; ``*`` in `ALLOWED_ORIGINS` is every page."""
        written = [url for url in (network.public_base_url, *network.allowed_origins) if url]
        return cls.parse(written)

    @classmethod
    def parse(cls, written: Sequence[str]) -> Origins:
        """Take a list of origins; `UsageError` names one that is none."""
        known: set[tuple[str, str, int | None]] = set()
        for text in written:
            origin = _origin(text)
            if origin is not None:
                known.add(origin)
            elif text != "*":
                raise UsageError(f"ALLOWED_ORIGINS: expected origins such as https://app.example.com, not {text!r}")
        return cls(frozenset(known), "*" in written)

    def check(self, origin: str | None, host: str) -> None:
        """Raise `PeerError` 4003 ``forbidden_origin`` unless a page of *origin* may ask *host*; None is no page."""
        if origin is None or self.every:
            return
        asked = _origin(origin)
        if asked is not None and self.known and asked in self.known:
            return
        if asked is not None and not self.known and _origin(f"{asked[0]}://{host}") == asked:
            return
        raise PeerError(4003, "forbidden_origin")


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Take scheme, host and port of a URL, in the one way of writing them; None where there is no host."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.scheme and parts.hostname else None
