"""The endpoint of the environment: ``TENANT_WEBHOOK_URL``, signed with ``WEBHOOK_SECRET``, as the original had."""

from __future__ import annotations

from invorto.config import WebhookSettings
from invorto.errors import UsageError
from invorto.model.ids import new_id
from invorto.model.webhook import EVERYTHING
from invorto.storage import webhooks
from invorto.storage.postgres import Database
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.webhooks.seals import Seals
from invorto.webhooks.signing import key_of


def check_environment(settings: WebhookSettings, seals: Seals) -> None:
    """Look whether the endpoint can be made: `UsageError` and `Invalid` say why not."""
    if settings.tenant_url is None or settings.secret is None:
        return
    key_of(settings.secret)
    if not seals.vault:
        raise UsageError("INVORTO_SECRET_KEYS must be set where TENANT_WEBHOOK_URL is: secrets are kept encrypted")


async def put_environment(database: Database, settings: WebhookSettings, seals: Seals) -> None:
    """
    Make the endpoint, or bring it up to date; what it was told over REST otherwise stays. Harmless on every node.

    It gets everything, with the original's signature too. One that the environment no longer names is left as it is.
    """
    if settings.tenant_url is None or settings.secret is None:
        return
    found = await webhooks.of_environment(database, DEFAULT_TENANT)
    if found is None:
        made = new_id("wh")
        new = webhooks.New(
            id=made, url=settings.tenant_url, events=(EVERYTHING,), secret=seals.secret(made, settings.secret),
            description="TENANT_WEBHOOK_URL", legacy=True,
        )  # fmt: skip
        await webhooks.put_environment(database, DEFAULT_TENANT, new)
        found = await webhooks.of_environment(database, DEFAULT_TENANT)
    if found is None:
        return
    endpoint, sealed = found
    if endpoint.url != settings.tenant_url:
        await webhooks.change(database, DEFAULT_TENANT, endpoint.id, {"url": settings.tenant_url})
    if seals.read_secret(endpoint.id, sealed) != settings.secret:
        await webhooks.rotate(database, DEFAULT_TENANT, endpoint.id, seals.secret(endpoint.id, settings.secret))
