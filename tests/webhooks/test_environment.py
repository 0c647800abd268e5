"""The endpoint of the environment: made once, brought up to date, otherwise left alone."""

from __future__ import annotations

import pytest
import trio

from invorto.config import load
from invorto.errors import Invalid, UsageError
from invorto.storage import webhooks
from invorto.storage.postgres import Database
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.subkeys import SecretKeys
from invorto.vault import Vault
from invorto.webhooks.environment import check_environment, put_environment
from invorto.webhooks.seals import Seals
from tests.webhooks.house import SEALS

ENVIRON = {"TENANT_WEBHOOK_URL": "http://crm.internal:9000/hook", "WEBHOOK_SECRET": "as it was"}


async def test_it_is_made_once_and_follows(database: Database) -> None:
    """Nodes that start at once make one; a new URL or secret takes the place of the old; what REST changed stays."""
    settings = load(ENVIRON).webhooks
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(put_environment, database, settings, SEALS)
    (made,), total = await webhooks.listing(database, DEFAULT_TENANT)
    assert (total, made.url, made.events, made.legacy, made.environment) == (
        1, "http://crm.internal:9000/hook", ("*",), True, True,
    )  # fmt: skip
    assert made.previous_until is None
    await webhooks.change(database, DEFAULT_TENANT, made.id, {"events": ["call.ended"]})
    renewed = load(ENVIRON | {"TENANT_WEBHOOK_URL": "http://crm.internal:9001/hook", "WEBHOOK_SECRET": "new"}).webhooks
    for _ in range(2):
        await put_environment(database, renewed, SEALS)
    found = await webhooks.of_environment(database, DEFAULT_TENANT)
    assert found is not None
    endpoint, sealed = found
    assert (endpoint.id, endpoint.url, endpoint.events) == (made.id, "http://crm.internal:9001/hook", ("call.ended",))
    assert SEALS.read_secret(endpoint.id, sealed) == "new"
    assert endpoint.previous_until is not None
    await put_environment(database, load({}).webhooks, SEALS)
    assert (await webhooks.listing(database, DEFAULT_TENANT))[1] == 1


def test_what_cannot_be_made_is_told_at_the_start() -> None:
    """No keys to seal its secret with, or a secret that is none, is a sentence."""
    check_environment(load({}).webhooks, Seals(Vault(SecretKeys())))
    with pytest.raises(UsageError, match="INVORTO_SECRET_KEYS"):
        check_environment(load(ENVIRON).webhooks, Seals(Vault(SecretKeys())))
    with pytest.raises(Invalid, match="whsec_"):
        check_environment(load(ENVIRON | {"WEBHOOK_SECRET": "whsec_!"}).webhooks, SEALS)
