"""Routes of secrets: put, named, taken away, never shown."""

from __future__ import annotations

import re
from datetime import datetime

import attrs

from invorto.api.auth import Caller, Gate
from invorto.api.deeds import note
from invorto.api.deps import ApiDeps
from invorto.api.paging import Page, PageQuery, page_answer, page_of
from invorto.api.routing import Routes
from invorto.errors import Fault, NotSupported
from invorto.model.rules import text
from invorto.plain import invalid
from invorto.storage import tools
from invorto.storage.tools import Secret

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@attrs.frozen(kw_only=True)
class NewSecret:
    """A value to keep."""

    value: str = attrs.field(validator=text(8192, least=1), repr=False)


@attrs.frozen(kw_only=True)
class SecretAnswer:
    """A secret, without its value."""

    name: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, secret: Secret) -> SecretAnswer:
        """Make what is answered of a secret."""
        return SecretAnswer(name=secret.name, created_at=secret.created_at, updated_at=secret.updated_at)


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("secrets", gate, "/v1/secrets")
    database = deps.database

    @routes.get("", needs="dev")
    async def listing(caller: Caller, query: PageQuery) -> Page[SecretAnswer]:
        """List the names of secrets that tools take along as `${secrets.NAME}`; their values are never shown."""
        found = await tools.secrets(database, caller.tenant_id)
        page, limit = page_of(query)
        return page_answer(map(SecretAnswer.of, found[(page - 1) * limit : page * limit]), len(found), query)

    @routes.get("/<name>", needs="dev", errors=["not_found"])
    async def read(caller: Caller, name: str) -> SecretAnswer:
        """Tell whether there is a secret of that name, and since when it is what it is."""
        return SecretAnswer.of(await tools.secret(database, caller.tenant_id, name))

    @routes.put("/<name>", needs="dev", errors=["not_supported"])
    async def put(caller: Caller, name: str, body: NewSecret) -> SecretAnswer:
        """Keep a secret, sealed, in place of the one of that name; calls that are live go on with the old one."""
        if not _NAME.fullmatch(name):
            raise invalid([Fault("$.name", "expected 1 to 64 of A-Z a-z 0-9 _ . -")])
        if any(ord(char) < 32 or ord(char) == 127 for char in body.value):
            raise invalid([Fault("$.value", "expected one line: it is sent in headers")])
        if deps.equipping is None or not deps.equipping.vault:
            raise NotSupported("this installation keeps no secrets: INVORTO_SECRET_KEYS is not set")
        id, sealed = deps.equipping.seal(body.value)
        kept = await tools.put_secret(database, caller.tenant_id, id, name, sealed)
        await note(deps, caller, "secret.put", name)
        return SecretAnswer.of(kept)

    @routes.delete("/<name>", needs="dev", errors=["not_found"])
    async def remove(caller: Caller, name: str) -> None:
        """Take a secret away; tools that need it fail from the next call on."""
        await tools.remove_secret(database, caller.tenant_id, name)
        await note(deps, caller, "secret.removed", name)

    return routes
