"""Makes a node's capacity, its keeper and its reconciler, of the settings and the stores."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Final

from invorto.config import Config
from invorto.observability.metrics import Metrics
from invorto.realtime.allowance import Allowance
from invorto.realtime.capacity import Capacity
from invorto.realtime.live import LiveCalls
from invorto.realtime.reconciler import Ledger, Reconciler
from invorto.realtime.slots import Caps
from invorto.storage import system
from invorto.storage.leases import Leases
from invorto.storage.postgres import Database
from invorto.storage.timeline import Timeline

RESUME_GRACE: Final = 15.0
"""Seconds that a dropped socket has to come back, before a call without a lease counts as lost."""


def caps_of(config: Config) -> Caps:
    """Give the installation's limits."""
    limits = config.capacity
    return Caps(everything=limits.global_max, tenant=limits.per_tenant_max, campaign=limits.per_campaign_max)


def make_capacity(config: Config, database: Database, leases: Leases, live: LiveCalls, metrics: Metrics) -> Capacity:
    """Make the capacity of this node."""
    caps = caps_of(config)
    allowance = Allowance(database, config.money.daily_cap_inr, time.time)
    capacity = Capacity(
        leases=leases,
        live=live,
        caps=caps,
        wall=time.time,
        caps_of=partial(allowance.caps, caps=caps),
        allowed=allowance.admit,
        nobody=partial(system.nobody_talks, database),
        measures=metrics.capacity,
    )
    metrics.capacity.watch(lambda: capacity.held, lambda: float(capacity.reached), lambda: capacity.closed)
    return capacity


def make_reconciler(
    config: Config,
    database: Database,
    leases: Leases,
    capacity: Capacity,
    *,
    ledger: Ledger,
    timeline: Timeline,
    recordings: Path,
    metrics: Metrics,
) -> Reconciler:
    """Make what ends the calls of nodes that are lost."""
    return Reconciler(
        node_id=leases.node_id,
        database=database,
        leases=leases,
        capacity=capacity,
        ledger=ledger,
        timeline=timeline,
        recordings=recordings,
        metrics=metrics,
        patience=leases.ttl + RESUME_GRACE,
        usd_inr=config.money.usd_inr_rate,
        address=(config.network.public_base_url or "").rstrip("/"),
    )
