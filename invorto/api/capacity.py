"""Routes of capacity: how many calls there are at each level, which ones, and which ones something is wrong with."""

from __future__ import annotations

from collections import Counter

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.convert import ANSWERS, structure
from invorto.errors import Unavailable
from invorto.model.call import CallStatus
from invorto.model.lease import Owner, Phase
from invorto.model.tenant import TenantSettings
from invorto.realtime.drift import Problem, Stuck, disagreements
from invorto.realtime.reconciler import read_truth
from invorto.storage import tenants
from invorto.storage.leases import Leases

MOST = 10_000
"""Calls of one tenant that are counted by campaign; more are too many for one answer anyway."""


@attrs.frozen(kw_only=True)
class Level:
    """How many calls there are, and may be."""

    count: int
    limit: int
    """0: no limit."""


@attrs.frozen(kw_only=True)
class CampaignLevel(Level):
    """One campaign's."""

    campaign_id: str


@attrs.frozen(kw_only=True)
class TenantLevel(Level):
    """One tenant's."""

    tenant_id: str


@attrs.frozen(kw_only=True)
class LimitsAnswer:
    """What is held and may be held at each level; *global* and *node* are the operator's to know."""

    global_: Level | None
    campaigns: tuple[CampaignLevel, ...]
    tenants: tuple[TenantLevel, ...]
    node: Level | None
    """The node that answers."""
    nodes: int | None
    """How many nodes there are."""
    closed_for: float | None
    """Seconds until calls are admitted again, after Redis came back empty; 0: they are."""


@attrs.frozen(kw_only=True)
class ActiveCall:
    """A call that holds a slot."""

    call_id: str
    tenant_id: str
    campaign_id: str | None
    phase: Phase
    """``reserved``: it is being dialled, its media is not open yet."""
    node_id: str | None
    """The operator's to know."""
    lease_ends_in: float
    """Seconds, unless it is renewed."""


@attrs.frozen(kw_only=True)
class StuckCall:
    """A call about which the stores disagree."""

    call_id: str
    tenant_id: str
    problem: Problem
    status: CallStatus | None
    """By its row; null: there is no row of a live call."""
    node_id: str | None
    """The operator's to know."""


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("capacity", gate, "/telephony")

    def leases() -> Leases:
        if deps.leases is None:
            raise Unavailable("no calls are held here", "capacity_unknown")
        return deps.leases

    async def limit_of(tenant_id: str) -> int:
        settings = structure((await tenants.get(deps.database, tenant_id)).settings, TenantSettings, ANSWERS)
        own = settings.max_concurrent_calls
        return deps.config.capacity.per_tenant_max if own is None else own

    @routes.get("/limits", needs="analyst", errors=["store_unavailable"])
    async def limits(caller: Caller) -> LimitsAnswer:
        """Tell how many calls are held at each level; an operator sees all, others their tenant."""
        caps = deps.config.capacity
        if caller.role != "operator":
            mine = await leases().page(caller.tenant_id, 0, MOST)
            held = Counter(owner.campaign_id for _, owner in mine if owner.campaign_id)
            own = TenantLevel(tenant_id=caller.tenant_id, count=len(mine), limit=await limit_of(caller.tenant_id))
            return LimitsAnswer(
                global_=None, campaigns=_campaigns(held, caps.per_campaign_max), tenants=(own,), node=None, nodes=None,
                closed_for=None,
            )  # fmt: skip
        counts = await leases().counts()
        return LimitsAnswer(
            global_=Level(count=counts.everything, limit=caps.global_max),
            campaigns=_campaigns(counts.campaigns, caps.per_campaign_max),
            tenants=tuple(
                [
                    TenantLevel(tenant_id=id, count=held, limit=await limit_of(id))
                    for id, held in sorted(counts.tenants.items())
                ]
            ),
            node=Level(count=deps.held(), limit=deps.config.limits.max_concurrent_calls),
            nodes=len(counts.nodes),
            closed_for=round(counts.opens_in, 3),
        )  # fmt: skip

    @routes.get("/calls/active", needs="analyst", errors=["store_unavailable"])
    async def active(caller: Caller, query: PageQuery) -> Page[ActiveCall]:
        """List the calls that hold a slot, those first whose lease ends first."""
        page, limit = page_of(query)
        whose = None if caller.role == "operator" else caller.tenant_id
        found = await leases().page(whose, (page - 1) * limit, limit)
        counts = await leases().counts()
        total = counts.everything if whose is None else counts.tenants.get(whose, 0)
        return page_answer([_active(caller, *each) for each in found], total, query)

    @routes.get("/calls/stuck", needs="analyst", errors=["store_unavailable"])
    async def stuck(caller: Caller, query: PageQuery) -> Page[StuckCall]:
        """List the calls about which leases and rows disagree; one that begins or ends may be there for a moment."""
        page, limit = page_of(query)
        truth = await read_truth(deps.database, leases())
        everything = disagreements(truth.rows, truth.owners)
        found = [one for one in everything if caller.role == "operator" or one.tenant_id == caller.tenant_id]
        shown = found[(page - 1) * limit : page * limit]
        return page_answer([_stuck(caller, one) for one in shown], len(found), query)

    return routes


def _campaigns(held: dict[str, int] | Counter[str], limit: int) -> tuple[CampaignLevel, ...]:
    return tuple(CampaignLevel(campaign_id=id, count=count, limit=limit) for id, count in sorted(held.items()))


def _active(caller: Caller, call_id: str, owner: Owner) -> ActiveCall:
    return ActiveCall(
        call_id=call_id, tenant_id=owner.tenant_id, campaign_id=owner.campaign_id, phase=owner.phase,
        node_id=owner.node_id if caller.role == "operator" else None, lease_ends_in=round(owner.expires_in, 3),
    )  # fmt: skip


def _stuck(caller: Caller, one: Stuck) -> StuckCall:
    return StuckCall(
        call_id=one.call_id, tenant_id=one.tenant_id, problem=one.problem, status=one.status,
        node_id=one.node_id if caller.role == "operator" else None,
    )  # fmt: skip
