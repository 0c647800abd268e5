"""Stand-ins by the name of their engine, with the settings that lead to them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tests.vendors.deepgram import open_deepgram
from tests.vendors.elevenlabs import open_elevenlabs
from tests.vendors.faults import KEY
from tests.vendors.openai import open_openai

OPENERS = {"deepgram": open_deepgram, "openai": open_openai, "elevenlabs": open_elevenlabs}


@asynccontextmanager
async def stand_in(name: str) -> AsyncGenerator[dict[str, str]]:
    """Stand in for a vendor, if *name* is one; gives the settings."""
    if name not in OPENERS:
        yield {}
        return
    async with OPENERS[name]() as fake:
        yield {f"{name.upper()}_API_KEY": KEY, f"{name.upper()}_BASE_URL": fake.url}
