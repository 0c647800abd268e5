"""Writes into PostgreSQL that a call goes on, and fences it with an epoch."""

from __future__ import annotations

from datetime import datetime

import attrs

from invorto.convert import unstructure
from invorto.model.agent import AgentConfig
from invorto.model.call import Call, CallStatus
from invorto.storage import calls
from invorto.storage.postgres import Database


@attrs.frozen
class StoredBook:
    """The book of one node."""

    db: Database
    node_id: str

    async def begin(self, call: Call, agent: AgentConfig, started_at: datetime, *, epoch: int, new: bool) -> Call:
        """
        Write that *call* is active on this node since *epoch*, with the agent's configuration as it is now.

        `Conflict` where it is over, or another node has it; `StoreUnavailable`.
        """
        config = unstructure(agent)
        if new:
            row = attrs.evolve(call, status=CallStatus.ACTIVE, epoch=epoch, node_id=self.node_id, started_at=started_at)
            await calls.create(self.db, row, config=config)
            return row
        return await calls.activate(
            self.db, call.tenant_id, call.id, node_id=self.node_id, epoch=epoch, started_at=started_at, config=config
        )
