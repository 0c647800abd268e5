"""Webhooks as nouns: an endpoint of a tenant, a delivery of an event to it, and each attempt at that."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import attrs

type EndpointStatus = Literal["active", "disabled"]
type DisabledReason = Literal["gone", "failing", "request"]
type Order = Literal["any", "fifo"]

EVERYTHING = "*"
"""In place of types of events: all of them, also those that are yet to come."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up, and kept for a while: it can be retried by hand."""


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a tenant wants events posted; its secrets are not in it."""

    id: str
    tenant_id: str
    url: str
    events: tuple[str, ...]
    description: str
    header_names: tuple[str, ...]
    rate_limit: float | None
    """Deliveries a second."""
    fifo: bool
    """Whether a call's events come in their order, each after the one before it arrived or was given up."""
    legacy: bool
    """Whether the original system's signature is sent too."""
    status: EndpointStatus
    disabled_reason: DisabledReason | None
    disabled_at: datetime | None
    failing_since: datetime | None
    environment: bool
    """Whether it was made of ``TENANT_WEBHOOK_URL``."""
    previous_until: datetime | None
    """Until when the secret of before signs too."""
    created_at: datetime
    updated_at: datetime


@attrs.frozen(kw_only=True)
class Delivery:
    """One event on its way to one endpoint."""

    id: str
    tenant_id: str
    webhook_id: str
    event_id: str
    call_id: str | None
    seq: int | None
    type: str
    status: DeliveryStatus
    attempts: int
    due_at: datetime
    last_status: int | None
    last_error: str | None
    settled_at: datetime | None
    created_at: datetime


@attrs.frozen(kw_only=True)
class Attempt:
    """One request that was made."""

    number: int
    at: datetime
    status: int | None
    error: str | None
    """None: it was delivered."""
    ms: float
    excerpt: str | None
    """The beginning of what was answered."""


@attrs.frozen(kw_only=True)
class Event:
    """A row of the outbox: what a delivery delivers."""

    event_id: str
    tenant_id: str
    call_id: str | None
    seq: int | None
    type: str
    data: Mapping[str, Any]
    created_at: datetime
