"""Routes of API keys: made, shown once, listed without themselves, revoked."""

from __future__ import annotations

from datetime import datetime

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deeds import note
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.errors import Fault, Forbidden, NotFound
from invorto.model.rules import text
from invorto.plain import invalid
from invorto.storage import keys
from invorto.storage.keys import KeyRecord, KeyRole


@attrs.frozen(kw_only=True)
class NewKey:
    """A key to make."""

    name: str = attrs.field(validator=text(200, least=1))
    role: KeyRole = "dev"
    """No more than one's own."""
    tenant_id: str | None = attrs.field(default=None, validator=text(64))
    """Another tenant than one's own: operators only."""


@attrs.frozen(kw_only=True)
class KeyAnswer:
    """A key, without what opens anything."""

    id: str
    tenant_id: str
    role: KeyRole
    name: str
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, record: KeyRecord) -> KeyAnswer:
        """Make what is answered of a key."""
        return KeyAnswer(**{field.name: getattr(record, field.name) for field in attrs.fields(KeyAnswer)})


@attrs.frozen(kw_only=True)
class ShownKey(KeyAnswer):
    """A key that was just made."""

    key: str
    """The key itself: it cannot be had again."""


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("keys", gate, "/v1/keys")
    database = deps.database

    @routes.post("", needs="admin", status=201, secret=True)
    async def create(caller: Caller, body: NewKey) -> ShownKey:
        """Make a key; it is shown in this answer and never again."""
        if not caller.outranks(body.role):
            raise Forbidden(f"a key of the role {body.role} is made by a key of that role or above")
        tenant_id = body.tenant_id or caller.tenant_id
        if tenant_id != caller.tenant_id and not caller.is_operator:
            raise Forbidden("keys of other tenants are made by operators")
        try:
            made, key = await keys.create(database, tenant_id, body.role, body.name.strip())
        except NotFound:
            raise invalid([Fault("$.tenantId", "there is no such tenant")]) from None
        await note(deps, caller, "key.created", made.id, tenant_id=tenant_id, name=made.name, role=made.role)
        return ShownKey(**attrs.asdict(KeyAnswer.of(made)), key=key)

    @routes.get("", needs="admin")
    async def listing(caller: Caller, query: PageQuery) -> Page[KeyAnswer]:
        """List the tenant's keys, the newest first, revoked ones too."""
        found = await keys.listing(database, caller.tenant_id, operators=caller.is_operator)
        page, limit = page_of(query)
        return page_answer(map(KeyAnswer.of, found[(page - 1) * limit : page * limit]), len(found), query)

    @routes.delete("/<key_id>", needs="admin")
    async def revoke(caller: Caller, key_id: str) -> None:
        """Revoke a key: within a second it opens nothing, on any node, and its sockets are closed (4003)."""
        revoked = await keys.revoke(database, caller.tenant_id, key_id, operators=caller.is_operator)
        gate.forget(key_id)
        await note(deps, caller, "key.revoked", key_id, name=revoked.name, role=revoked.role)

    return routes
