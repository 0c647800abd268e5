"""Limits of a key's requests: what is counted, what is refused, and what the answer says of it."""

from __future__ import annotations

import math

import attrs
from quart import Response, g

from invorto.api.auth import Caller
from invorto.config import RateSettings
from invorto.errors import LimitReached
from invorto.storage.rates import RateClass, Rates, Standing


@attrs.frozen
class Counter:
    """Counts requests against the settings' limits."""

    rates: Rates
    settings: RateSettings

    async def take(self, caller: Caller, kind: RateClass) -> None:
        """Count a request of *caller*; `LimitReached` (``rate``) for one too many."""
        limit = self.settings.reads if kind == "read" else self.settings.writes
        if limit == 0:
            return
        standing = await self.rates.take(kind, f"{caller.tenant_id}:{caller.actor}", limit)
        g.standing = standing
        if standing.over:
            message = f"this key may ask {limit} times in {self.settings.window_ms / 1000:g} s ({kind})"
            raise LimitReached("rate", limit, standing.used, standing.reset, message)


def sign(response: Response) -> None:
    """Say on an answer where the key stands."""
    standing: Standing | None = g.get("standing")
    if standing is not None and standing.counted:
        response.headers["RateLimit-Limit"] = str(standing.limit)
        response.headers["RateLimit-Remaining"] = str(standing.remaining)
        response.headers["RateLimit-Reset"] = str(math.ceil(standing.reset))
