"""Who asks, and what they may: a key, or an RS256 token, names its tenant and its role."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Protocol, Self

import attrs
import structlog
import trio
from quart import Request

from invorto.config import Config
from invorto.errors import Forbidden, StoreUnavailable, Unauthorized
from invorto.realtime.auth import Trust
from invorto.realtime.bearer import read_jwt
from invorto.realtime.proxies import Client, Proxies
from invorto.storage import keys
from invorto.storage.keys import KeyRole
from invorto.storage.postgres import Database
from invorto.storage.rates import RateClass
from invorto.storage.tenants import DEFAULT_TENANT

_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_RANK: dict[KeyRole, int] = {"analyst": 0, "dev": 1, "admin": 2, "operator": 3}
"""Each may what those before it may, within its tenant; the installation itself is the operator's alone."""
_FRESH = 0.5
"""Seconds that a key counts without another look: revoking holds on every node within a second."""
_REMEMBERED = 300.0
"""Seconds, as for the agents that inbound calls may still reach then."""
_MOST_REMEMBERED = 1000
"""Keys: 200 KB."""


@attrs.frozen(kw_only=True)
class Caller:
    """Somebody we know."""

    key_id: str | None
    """None: it is no key, but a token of an identity provider."""
    tenant_id: str
    role: KeyRole
    address: str = ""
    """Where the request comes from."""
    subject: str | None = None
    """Whom a token names."""
    call_id: str | None = None
    """The only call that a token is good for; None: any of the tenant's."""
    agent_id: str | None = None
    """The only agent that a token is good for; None: any of the tenant's."""

    @property
    def actor(self) -> str:
        """What the caller is called in the audit log, and counted as."""
        return self.key_id or f"jwt:{self.subject or self.tenant_id}"

    @property
    def is_operator(self) -> bool:
        """Whether the installation is theirs."""
        return self.role == "operator"

    def outranks(self, role: KeyRole) -> bool:
        """Tell whether they may what *role* may."""
        return _RANK[self.role] >= _RANK[role]


def shown_key(asked: Request) -> str:
    """Give the key that a request shows: ``Authorization: Bearer``, or else ``x-api-key``; `Unauthorized` for none."""
    if authorization := asked.headers.get("Authorization", "").strip():
        if bearer := _BEARER.fullmatch(authorization):
            return bearer[1]
        raise Unauthorized("expected Authorization: Bearer and a key")
    if key := asked.headers.get("X-Api-Key", "").strip():
        return key
    raise Unauthorized("a key is needed: Authorization: Bearer, or x-api-key")


class Counted(Protocol):
    """Counts what somebody asks."""

    async def take(self, caller: Caller, kind: RateClass) -> None:
        """Count a request; `LimitReached` for one too many."""
        ...


@attrs.frozen
class Gate:
    """
    Stands before routes.

    It remembers who came by for a few minutes and uses that while PostgreSQL is away: health, metrics and live
    timelines are wanted most just then. A key that is revoked opens nothing half a second later, on any node.
    """

    database: Database
    trust: Trust = attrs.field(factory=lambda: Trust(default_tenant=DEFAULT_TENANT))
    proxies: Proxies = attrs.field(factory=Proxies)
    counter: Counted | None = None
    """Counts requests; None: nobody does."""
    _seen: OrderedDict[bytes, tuple[Caller, float]] = attrs.field(factory=OrderedDict, init=False, repr=False)

    @classmethod
    def of(cls, config: Config, database: Database, counter: Counted | None = None) -> Self:
        """Make one as the settings say; `UsageError` for a key that is none."""
        return cls(database, Trust.of(config, DEFAULT_TENANT), Proxies.of(config.network), counter)

    def client(self, asked: Request) -> Client:
        """Tell where a request comes from."""
        return self.proxies.client(asked.remote_addr or "", asked.headers)

    async def caller(self, asked: Request) -> Caller:
        """Tell who asks; `Unauthorized` for nobody we know, `Forbidden` for another tenant than the key's."""
        shown = shown_key(asked)
        found = self._bearer(shown) if shown.count(".") == 2 else await self._find(shown)
        caller = attrs.evolve(found, address=self.client(asked).address)
        named = asked.headers.get("X-Tenant-Id", "").strip()
        if named and named != caller.tenant_id:
            raise Forbidden("x-tenant-id names another tenant than the key's")
        return caller

    async def admit(self, asked: Request, role: KeyRole, names: Mapping[str, str] | None = None) -> Caller:
        """Tell who asks, if they may what needs *role*, at the place of these *names*; `Unauthorized`, `Forbidden`."""
        caller = await self.caller(asked)
        structlog.contextvars.bind_contextvars(tenant_id=caller.tenant_id, actor=caller.actor)
        if not caller.outranks(role):
            raise Forbidden(f"this needs a key of the role {role}; yours is {caller.role}")
        for bound, name in ((caller.call_id, "call_id"), (caller.agent_id, "agent_id")):
            if bound is not None and (names or {}).get(name) != bound:
                raise Forbidden(f"this token is good for one {name.partition('_')[0]} only")
        return caller

    def forget(self, key_id: str) -> None:
        """Look a key up again before it opens anything: it was revoked here."""
        for digest in [digest for digest, (caller, _) in self._seen.items() if caller.key_id == key_id]:
            del self._seen[digest]

    def _bearer(self, token: str) -> Caller:
        if self.trust.jwt_key is None:
            raise Unauthorized("this key is not known")
        claims = read_jwt(token, self.trust.jwt_key, time.time())
        return Caller(
            key_id=None,
            tenant_id=claims.tenant,
            role=claims.role,
            subject=claims.subject,
            call_id=claims.call_id,
            agent_id=claims.agent_id,
        )

    async def _find(self, key: str) -> Caller:
        digest = keys.digest(key)
        known, at = self._seen.get(digest, (None, 0.0))
        age = trio.current_time() - at
        if known is not None and age < _FRESH:
            return known
        try:
            found = await keys.find(self.database, key)
        except StoreUnavailable:
            if known is None or age > _REMEMBERED:
                raise
            return known
        self._seen.pop(digest, None)
        if found is None:
            raise Unauthorized("this key is not known")
        caller = Caller(key_id=found.id, tenant_id=found.tenant_id, role=found.role)
        self._seen[digest] = (caller, trio.current_time())
        if len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return caller
