"""The API of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from invorto.storage.fakes import FakeRedis
from invorto.storage.postgres import Database
from invorto.storage.redis import open_redis
from tests.api.world import World, open_world


@pytest.fixture
async def world(database: Database, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """Give an API over a real PostgreSQL and a real Redis."""
    async with open_redis(redis_url) as redis, open_world(database, redis, tmp_path) as made:
        yield made


@pytest.fixture
async def shaky(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """Give an API over a real PostgreSQL and a Redis that can be lost."""
    async with open_world(database, FakeRedis(), tmp_path) as made:
        yield made
