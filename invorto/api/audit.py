"""The route of the audit log: what administrators did in a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from quart import request

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, end_of, page_answer, page_of
from invorto.api.routing import Routes
from invorto.errors import Forbidden
from invorto.model.rules import text
from invorto.storage import audit
from invorto.storage.audit import KeptDeed


@attrs.frozen(kw_only=True)
class AuditQuery(PageQuery):
    """What the audit log understands; *from_* and *to* bound the time, a date alone is the whole day."""

    action: str | None = attrs.field(default=None, validator=text(64))
    from_: datetime | None = None
    to: datetime | None = None
    tenant_id: str | None = attrs.field(default=None, validator=text(64))
    """Another tenant than one's own: operators only."""


@attrs.frozen(kw_only=True)
class DeedAnswer:
    """One administrative act."""

    id: str
    at: datetime
    tenant_id: str
    actor: str
    """A key's id, or whom a token names."""
    role: str
    action: str
    target: str | None
    request_id: str | None
    address: str | None
    details: Mapping[str, Any]

    @classmethod
    def of(cls, deed: KeptDeed) -> DeedAnswer:
        """Make what is answered of a deed."""
        return DeedAnswer(**attrs.asdict(deed, recurse=False))


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the route."""
    routes = Routes("audit", gate, "/v1/audit")

    @routes.get("", needs="admin")
    async def listing(caller: Caller, query: AuditQuery) -> Page[DeedAnswer]:
        """List what administrators did, the latest first."""
        tenant_id = query.tenant_id or caller.tenant_id
        if tenant_id != caller.tenant_id and not caller.is_operator:
            raise Forbidden("the audit logs of other tenants are the operators'")
        page, limit = page_of(query)
        found, total = await audit.listing(
            deps.database,
            tenant_id,
            page=page,
            limit=limit,
            action=query.action,
            since=query.from_,
            until=query.to and end_of(query.to, request.args.get("to", "")),
        )
        return page_answer(map(DeedAnswer.of, found), total, query)

    return routes
