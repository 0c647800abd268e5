"""What a tenant may still have: its calls at once, and its money of the day."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import attrs
import structlog
import trio

from invorto.convert import ANSWERS, structure
from invorto.errors import LimitReached, NotFound, StoreUnavailable
from invorto.model.call import Call
from invorto.model.day import day_of
from invorto.model.tenant import TenantSettings
from invorto.realtime.slots import Caps
from invorto.storage import audit, spend, tenants
from invorto.storage.audit import Deed
from invorto.storage.postgres import Database

log = structlog.get_logger(__name__)

WARNED_AT = Decimal("0.8")
"""Of the day's cap."""
_FRESH = 2.0
"""Seconds that what was read holds: so many calls more than the cap may begin at its edge."""
_LONGEST = 3600.0
"""Seconds after which a refused caller may try again, at most."""
_MOST = 10_000
"""Tenants remembered."""


@attrs.frozen
class Standing:
    """Where a tenant stands."""

    settings: TenantSettings
    cap: Decimal
    """₹; 0 is no cap."""
    spent: Decimal
    begin: datetime
    following: datetime
    """When its next day begins."""


@attrs.define(eq=False)
class Allowance:
    """Lets calls begin, or refuses them; what cannot be read while PostgreSQL is away refuses nobody."""

    database: Database
    cap: float
    """₹ a day of a tenant that says nothing else; 0 is no cap."""
    wall: Callable[[], float]
    """Unix time, seconds."""
    _known: dict[str, tuple[Standing, float]] = attrs.field(factory=dict, init=False)
    _warned: dict[str, datetime] = attrs.field(factory=dict, init=False)

    async def admit(self, call: Call) -> None:
        """Raise `LimitReached` (``usage_cap``) where the tenant's day has cost as much as it may."""
        try:
            standing = await self.standing(call.tenant_id)
        except StoreUnavailable:
            return
        if not standing.cap:
            return
        if standing.spent >= standing.cap * WARNED_AT and self._warned.get(call.tenant_id) != standing.begin:
            self._warned[call.tenant_id] = standing.begin
            await self._warn(call.tenant_id, standing)
        if standing.spent >= standing.cap:
            left = standing.following.timestamp() - self.wall()
            raise LimitReached(
                "usage_cap", int(standing.cap), int(standing.spent), min(max(left, 1.0), _LONGEST),
                f"today's calls have cost ₹ {standing.spent:.2f} of the ₹ {standing.cap:.2f} that they may",
            )  # fmt: skip

    async def caps(self, call: Call, caps: Caps) -> Caps:
        """Give the limits of a call, where its tenant has its own."""
        try:
            settings = (await self.standing(call.tenant_id)).settings
        except StoreUnavailable:
            return caps
        own = settings.max_concurrent_calls
        return caps if own is None else attrs.evolve(caps, tenant=own)

    async def standing(self, tenant_id: str) -> Standing:
        """Tell where a tenant stands, as it was two seconds ago at most; `StoreUnavailable`."""
        standing, at = self._known.get(tenant_id, (None, 0.0))
        if standing is not None and trio.current_time() - at < _FRESH:
            await trio.lowlevel.checkpoint()
            return standing
        try:
            kept = (await tenants.get(self.database, tenant_id)).settings
        except NotFound:
            kept = {}
        settings = structure(kept, TenantSettings, ANSWERS)
        begin, following = day_of(datetime.fromtimestamp(self.wall(), UTC), settings.timezone)
        cap = Decimal(str(self.cap)) if settings.daily_cap_inr is None else settings.daily_cap_inr
        spent = await spend.spent(self.database, tenant_id, begin, following) if cap else Decimal(0)
        standing = Standing(settings, cap, spent, begin, following)
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[tenant_id] = standing, trio.current_time()
        return standing

    async def _warn(self, tenant_id: str, standing: Standing) -> None:
        """Say once a day, for all nodes, that the cap is near."""
        told = {"spentInr": str(standing.spent), "capInr": str(standing.cap), "day": standing.begin.isoformat()}
        deed = Deed(tenant_id=tenant_id, actor="invorto", role="system", action="usage.cap_near", details=told)
        try:
            _, before = await audit.listing(self.database, tenant_id, action=deed.action, since=standing.begin)
            if not before:
                log.warning("usage_cap_near", tenant_id=tenant_id, spent=told["spentInr"], cap=told["capInr"])
                await audit.note(self.database, deed)
        except StoreUnavailable as away:
            log.info("usage_cap_near_not_noted", tenant_id=tenant_id, error=str(away))
