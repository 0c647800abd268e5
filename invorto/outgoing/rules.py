"""The rules of addresses that an installation's settings make."""

from __future__ import annotations

from invorto.config import WebhookSettings
from invorto.outgoing.addresses import AddressRules


def rules_of(settings: WebhookSettings) -> AddressRules:
    """Give what requests may reach whose URLs tenants wrote: webhooks, tools, engines of their own."""
    return AddressRules(
        allow_http=settings.allow_http, ports=settings.allowed_ports, subnets=settings.allowed_subnets
    )  # fmt: skip
