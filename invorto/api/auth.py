"""Who asks, and what they may: a key names its tenant and its role."""

from __future__ import annotations

import re
from collections import OrderedDict

import attrs
import trio
from quart import Request

from invorto.errors import Forbidden, StoreUnavailable, Unauthorized
from invorto.storage import keys
from invorto.storage.keys import KeyRole
from invorto.storage.postgres import Database

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_RANK: dict[KeyRole, int] = {"analyst": 0, "dev": 1, "admin": 2, "operator": 3}
"""Each may what those before it may, within its tenant; the installation itself is the operator's alone."""
_REMEMBERED = 300.0
"""Seconds, as for the agents that inbound calls may still reach then."""
_MOST_REMEMBERED = 1000
"""Keys: 200 KB."""


@attrs.frozen(kw_only=True)
class Caller:
    """Somebody we know."""

    key_id: str
    tenant_id: str
    role: KeyRole


def shown_key(asked: Request) -> str:
    """Give the key that a request shows: ``Authorization: Bearer``, or else ``x-api-key``; `Unauthorized` for none."""
    if authorization := asked.headers.get("Authorization", "").strip():
        if bearer := _BEARER.fullmatch(authorization):
            return bearer[1]
        raise Unauthorized("expected Authorization: Bearer and a key")
    if key := asked.headers.get("X-Api-Key", "").strip():
        return key
    raise Unauthorized("a key is needed: Authorization: Bearer, or x-api-key")


@attrs.frozen
class Gate:
    """
    Stands before routes.

    It remembers who came by for a few minutes and uses that while PostgreSQL is away: health, metrics and live
    timelines are wanted most just then. A key that is revoked opens nothing from the next look-up that can be made.
    """

    database: Database
    _seen: OrderedDict[bytes, tuple[Caller, float]] = attrs.field(factory=OrderedDict, init=False, repr=False)

    async def caller(self, asked: Request) -> Caller:
        """Tell who asks; `Unauthorized` for nobody we know, `Forbidden` for another tenant than the key's."""
        caller = await self._find(shown_key(asked))
        named = asked.headers.get("X-Tenant-Id", "").strip()
        if named and named != caller.tenant_id:
            raise Forbidden("x-tenant-id names another tenant than the key's")
        return caller

    async def _find(self, key: str) -> Caller:
        digest = keys.digest(key)
        try:
            found = await keys.find(self.database, key)
        except StoreUnavailable:
            caller, at = self._seen.get(digest, (None, 0.0))
            if caller is None or trio.current_time() - at > _REMEMBERED:
                raise
            return caller
        self._seen.pop(digest, None)
        if found is None:
            raise Unauthorized("this key is not known")
        caller = Caller(key_id=found.id, tenant_id=found.tenant_id, role=found.role)
        self._seen[digest] = (caller, trio.current_time())
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return caller

    async def admit(self, asked: Request, role: KeyRole) -> Caller:
        """Tell who asks, if they may what needs *role*; `Unauthorized`, `Forbidden`."""
        caller = await self.caller(asked)
        if _RANK[caller.role] < _RANK[role]:
            raise Forbidden(f"this needs a key of the role {role}; yours is {caller.role}")
        return caller
