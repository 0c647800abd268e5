"""Writing down what administrators did."""

from __future__ import annotations

from typing import Any

from invorto.api.auth import Caller
from invorto.api.bodies import request_id
from invorto.api.deps import ApiDeps
from invorto.convert import unstructure
from invorto.storage import audit
from invorto.storage.audit import Deed


async def note(
    deps: ApiDeps, caller: Caller, action: str, target: str, *, tenant_id: str | None = None, **details: Any
) -> None:
    """Keep what *caller* did to *target*, in their tenant or another; *details* hold no secret."""
    deed = Deed(
        tenant_id=tenant_id or caller.tenant_id,
        actor=caller.actor,
        role=caller.role,
        action=action,
        target=target,
        request_id=request_id(),
        address=caller.address,
        details=unstructure(details),
    )
    await audit.note(deps.database, deed)
