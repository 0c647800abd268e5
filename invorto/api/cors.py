"""Which web pages may read answers: those of `PUBLIC_BASE_URL` and of `ALLOWED_ORIGINS`."""

from __future__ import annotations

import attrs
from quart import Request, Response
from quart_trio.wrappers import TrioResponse

from invorto.config import Network
from invorto.errors import PeerError
from invorto.realtime.origin import Origins

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_ASKED_WITH = "authorization, x-api-key, x-tenant-id, x-request-id, content-type, idempotency-key, last-event-id, range"
_READ = (
    "x-request-id, retry-after, location, content-disposition, content-range, accept-ranges,"
    " ratelimit-limit, ratelimit-remaining, ratelimit-reset"
)
_KEPT = "600"
"""Seconds that a browser may remember what it was allowed."""


@attrs.frozen
class Cors:
    """Lets pages of known origins read; a key goes in a header, so cookies are never allowed."""

    origins: Origins

    @classmethod
    def of(cls, network: Network) -> Cors:
        """Take what the settings say."""
        return cls(Origins.of(network))

    def preflight(self, asked: Request) -> Response | None:
        """Answer a browser that asks before it asks; None for every other request."""
        if asked.method != "OPTIONS" or "Access-Control-Request-Method" not in asked.headers:
            return None
        response = TrioResponse(b"", 204)
        if self._allows(asked):
            response.headers["Access-Control-Allow-Methods"] = _METHODS
            response.headers["Access-Control-Allow-Headers"] = _ASKED_WITH
            response.headers["Access-Control-Max-Age"] = _KEPT
        return response

    def sign(self, asked: Request, response: Response) -> None:
        """Say on an answer whether the page that asked may read it."""
        response.headers.add("Vary", "Origin")
        if self._allows(asked):
            response.headers["Access-Control-Allow-Origin"] = asked.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _READ

    def _allows(self, asked: Request) -> bool:
        origin = asked.headers.get("Origin")
        try:
            self.origins.check(origin, asked.headers.get("Host", ""))
        except PeerError:
            return False
        return origin is not None
