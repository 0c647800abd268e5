"""Timelines on the fake Redis and on a real one."""

from __future__ import annotations

import pytest

from invorto.storage.fakes import FakeRedis
from invorto.storage.redis import open_redis
from invorto.storage.timeline import Timeline
from tests.storage.events import SETTINGS


@pytest.fixture
def fake():
    """Give a Redis in memory."""
    return FakeRedis()


@pytest.fixture(params=["fake", "real"])
async def redis(request, loop, redis_url):
    """Give the fake and the real one in turn: the same tests hold for both."""
    if request.param == "fake":
        yield FakeRedis()
    else:
        async with open_redis(redis_url) as opened:
            yield opened


@pytest.fixture
async def timeline(redis):
    """Give a timeline whose writer is the test itself, by `flush`."""
    return Timeline(redis, SETTINGS)
