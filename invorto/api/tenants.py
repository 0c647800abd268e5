"""Routes of tenants: the operator's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deeds import note
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.api.schema import Mode, Schema, Schemas
from invorto.convert import ANSWERS, camel, structure, unstructure
from invorto.model.rules import text
from invorto.model.tenant import TenantSettings
from invorto.storage import tenants
from invorto.storage.tenants import Tenant

_SETTINGS = {camel(field.name): field for field in attrs.fields(TenantSettings)}


@attrs.frozen(kw_only=True)
class TenantsQuery(PageQuery):
    """What the list of tenants understands."""

    search: str | None = attrs.field(default=None, validator=text(200))


@attrs.frozen(kw_only=True)
class NewTenant(TenantSettings):
    """A tenant to make."""

    name: str = attrs.field(validator=text(200, least=1))


@attrs.frozen(kw_only=True)
class _Renamed:
    name: str | None = attrs.field(default=None, validator=text(200, least=1))


class TenantChange:
    """What to change of a tenant; what is not named stays, null goes back to what the installation says."""

    @classmethod
    def json_schema(cls, schemas: Schemas, mode: Mode) -> Schema:
        """Write its schema: everything may be left out, and be null."""
        whole = schemas.object(NewTenant, mode)
        properties = {name: {"anyOf": [one, {"type": "null"}]} for name, one in whole["properties"].items()}
        return {"type": "object", "description": cls.__doc__, "properties": properties, "additionalProperties": False}


@attrs.frozen(kw_only=True)
class TenantAnswer(TenantSettings):
    """A tenant."""

    id: str
    name: str
    created_at: datetime

    @classmethod
    def of(cls, tenant: Tenant) -> TenantAnswer:
        """Make what is answered of a tenant; settings that this version does not know are left out."""
        settings = attrs.asdict(structure(tenant.settings, TenantSettings, ANSWERS), recurse=False)
        return TenantAnswer(id=tenant.id, name=tenant.name, created_at=tenant.created_at, **settings)


@attrs.frozen(kw_only=True)
class MadeTenant(TenantAnswer):
    """A tenant that was just made."""

    key: str
    """Its first key, of the role ``admin``: it cannot be had again."""


def said(settings: TenantSettings) -> dict[str, Any]:
    """Give what differs from the installation, as it is kept."""
    return {
        name: value
        for name, value in unstructure(settings).items()
        if name in _SETTINGS and value != unstructure(_SETTINGS[name].default)
    }


def changed(kept: Mapping[str, Any], body: object) -> tuple[str | None, dict[str, Any]]:
    """Put a change into kept settings; gives the new name, if there is one. `Invalid` lists what is wrong."""
    given = {name: value for name, value in body.items() if value is not None} if isinstance(body, dict) else body
    read = structure({"name": "x", **given} if isinstance(given, dict) else given, NewTenant)
    name = read.name.strip() if isinstance(given, dict) and "name" in given else None
    told = unstructure(read)
    merged = {key: value for key, value in kept.items() if not (isinstance(body, dict) and key in body)}
    if isinstance(given, dict):
        merged |= {key: told[key] for key in given if key in _SETTINGS}
    return name, merged


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("tenants", gate, "/v1/tenants")
    database = deps.database

    @routes.post("", needs="operator", status=201, secret=True)
    async def create(caller: Caller, body: NewTenant) -> MadeTenant:
        """Make a tenant and its first key, of the role admin; the key is shown in this answer and never again."""
        made, key = await tenants.create_with_key(database, body.name.strip(), said(body))
        await note(deps, caller, "tenant.created", made.id, name=made.name, **made.settings)
        if made.id != caller.tenant_id:
            await note(deps, caller, "tenant.created", made.id, tenant_id=made.id, name=made.name, **made.settings)
        return MadeTenant(**attrs.asdict(TenantAnswer.of(made), recurse=False), key=key)

    @routes.get("", needs="operator")
    async def listing(query: TenantsQuery) -> Page[TenantAnswer]:
        """List the tenants, the newest first."""
        page, limit = page_of(query)
        found, total = await tenants.listing(database, page=page, limit=limit, search=query.search)
        return page_answer(map(TenantAnswer.of, found), total, query)

    @routes.get("/<tenant_id>", needs="operator")
    async def read(tenant_id: str) -> TenantAnswer:
        """Read a tenant."""
        return TenantAnswer.of(await tenants.get(database, tenant_id))

    @routes.patch("/<tenant_id>", needs="operator", body=TenantChange)
    async def change(caller: Caller, tenant_id: str, body: Any) -> TenantAnswer:
        """Change a tenant: what is given takes the place of what was, null goes back to the installation's."""
        kept = await tenants.get(database, tenant_id)
        name, settings = changed(kept.settings, body)
        made = await tenants.change(database, tenant_id, name=name, settings=settings)
        asked = {key: value for key, value in body.items() if key in {*_SETTINGS, "name"}}
        await note(deps, caller, "tenant.changed", tenant_id, tenant_id=tenant_id, **asked)
        return TenantAnswer.of(made)

    return routes
