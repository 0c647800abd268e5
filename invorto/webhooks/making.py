"""A dispatcher of an installation's settings."""

from __future__ import annotations

from functools import partial

from invorto.config import Config
from invorto.storage.postgres import Database
from invorto.subkeys import SecretKeys
from invorto.vault import Vault
from invorto.webhooks.dispatcher import Dispatcher
from invorto.webhooks.environment import check_environment, put_environment
from invorto.webhooks.measures import Measures
from invorto.webhooks.seals import Seals


def make_seals(config: Config) -> Seals:
    """Make what seals and opens the secrets of endpoints."""
    return Seals(Vault(SecretKeys.parse(config.secrets.secret_keys)))


def make_dispatcher(config: Config, database: Database, node_id: str, measures: Measures) -> Dispatcher:
    """Make a node's dispatcher; `UsageError` and `Invalid` where the endpoint of the environment cannot be made."""
    settings, seals = config.webhooks, make_seals(config)
    check_environment(settings, seals)
    return Dispatcher(
        database=database,
        db_url=config.stores.db_url or "",
        seals=seals,
        settings=settings,
        node_id=node_id,
        measures=measures,
        prepare=partial(put_environment, database, settings, seals),
    )
