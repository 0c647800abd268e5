"""What the door looks up, in PostgreSQL: keys, calls, agents."""

from __future__ import annotations

import attrs

from invorto.model.agent import Agent
from invorto.model.call import Call
from invorto.storage import agents, calls, keys
from invorto.storage.keys import KeyRecord
from invorto.storage.postgres import Database


@attrs.frozen
class StoredKeys:
    """API keys as they are kept."""

    db: Database

    async def find(self, key: str) -> KeyRecord | None:
        """Look up a key by itself."""
        return await keys.find(self.db, key)

    async def get(self, tenant_id: str, key_id: str) -> KeyRecord | None:
        """Look up a tenant's key by its id."""
        return await keys.get(self.db, tenant_id, key_id)


@attrs.frozen
class StoredCalls:
    """Calls as they are kept."""

    db: Database

    async def whose(self, call_id: str) -> str | None:
        """Tell which tenant has a call of this id."""
        return await calls.whose(self.db, call_id)

    async def get(self, tenant_id: str, call_id: str) -> Call:
        """Get a call; `NotFound`."""
        return await calls.get(self.db, tenant_id, call_id)


@attrs.frozen
class StoredAgents:
    """Agents as they are kept."""

    db: Database

    async def get(self, tenant_id: str, id_or_name: str) -> Agent:
        """Get an agent by its id, else by its name; `NotFound`."""
        return await agents.get(self.db, tenant_id, id_or_name)
