"""What a tenant's calls have cost."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from invorto.storage.postgres import Database


async def spent(db: Database, tenant_id: str, begin: datetime, end: datetime) -> Decimal:
    """Give the ₹ of the calls that ended from *begin* to before *end*."""
    async with db.tenant(tenant_id) as work:
        return await work.fetchval(
            "SELECT coalesce(sum(inr), 0) FROM costs WHERE tenant_id = $1 AND ended_at >= $2 AND ended_at < $3",
            tenant_id, begin, end,
        )  # fmt: skip
