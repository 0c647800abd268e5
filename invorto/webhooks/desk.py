"""What a tenant does to its endpoints: addresses are checked, secrets made and sealed, tests sent."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs
import trio

from invorto.errors import Conflict, Fault, Invalid
from invorto.model.facts import EVENT_TYPES, make_fact
from invorto.model.ids import new_id
from invorto.model.webhook import Delivery, Endpoint
from invorto.outgoing.addresses import AddressRules, check_address, check_url
from invorto.outgoing.client import OutgoingFailed, Resolve, resolve
from invorto.plain import invalid, step
from invorto.storage import deliveries, webhooks
from invorto.storage.postgres import Database
from invorto.webhooks.catalogue import sample_data
from invorto.webhooks.seals import Seals
from invorto.webhooks.signing import KEY_BYTES, secret_of

LOOK_UP = 3.0
"""Seconds that a name gets to be found when it is registered; one that is not found is looked up at each delivery."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\x21-\x7e\xa0-\xff](?:[\t\x20-\x7e\xa0-\xff]{0,4000}[\x21-\x7e\xa0-\xff])?")
_OURS = re.compile(
    r"(?:webhook|svix)-.*|x-webhook-signature|host|content-(?:length|type|encoding)|accept-encoding|user-agent"
    r"|connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|expect",
    re.IGNORECASE,
)
"""Headers that are ours to write, or that say how a request is framed."""
MOST_HEADERS = 20


@attrs.frozen
class Desk:
    """Takes what tenants want of their endpoints."""

    database: Database
    seals: Seals
    rules: AddressRules
    resolve: Resolve = resolve

    async def check_url(self, url: str) -> str:
        """
        Give a URL in its one form, if it may be posted to; `Invalid` with ``$.url`` says why not.

        What its name leads to now is looked at too. It is checked again at each delivery, where it counts.
        """
        try:
            target = check_url(url, self.rules)
            if target.address is None:
                await self._look_up(target.host)
        except Invalid as error:
            raise invalid([Fault("$.url", str(error))]) from None
        return target.url

    async def _look_up(self, host: str) -> None:
        """Look at what a name leads to; one that leads nowhere yet may do so when something is to be delivered."""
        with trio.move_on_after(LOOK_UP), suppress(OutgoingFailed):
            for address in await self.resolve(host):
                check_address(address, self.rules)

    async def create(
        self, tenant_id: str, *, url: str, headers: Mapping[str, str], **fields: Any
    ) -> tuple[Endpoint, str]:
        """Make an endpoint, its fields as in `webhooks.New`; its secret cannot be had again."""
        made, secret = new_id("wh"), secret_of(secrets.token_bytes(KEY_BYTES))
        check_headers(headers)
        new = webhooks.New(
            id=made, url=await self.check_url(url), secret=self.seals.secret(made, secret),
            header_names=tuple(headers), headers=self.seals.headers(made, headers), **fields,
        )  # fmt: skip
        return await webhooks.create(self.database, tenant_id, new), secret

    async def change(self, before: Endpoint, *, url: str, headers: Mapping[str, str] | None, **fields: Any) -> Endpoint:
        """Change an endpoint's columns; *headers* None: they stay. `Conflict` for the URL of the environment's."""
        if url != before.url:
            if before.environment:
                raise Conflict("this endpoint's URL is TENANT_WEBHOOK_URL of the environment")
            fields["url"] = await self.check_url(url)
        if headers is not None:
            check_headers(headers)
            fields |= {"header_names": list(headers), "headers": self.seals.headers(before.id, headers)}
        return await webhooks.change(self.database, before.tenant_id, before.id, fields)

    async def rotate(self, before: Endpoint) -> tuple[Endpoint, str]:
        """Give an endpoint a new secret; the old one signs too for a day. `Conflict` for the environment's."""
        if before.environment:
            raise Conflict("this endpoint's secret is WEBHOOK_SECRET of the environment")
        secret = secret_of(secrets.token_bytes(KEY_BYTES))
        sealed = self.seals.secret(before.id, secret)
        return await webhooks.rotate(self.database, before.tenant_id, before.id, sealed), secret

    async def test(self, endpoint: Endpoint, type_: str) -> Delivery:
        """Send a sample of a type; `Conflict` where the endpoint is disabled."""
        if endpoint.status != "active":
            raise Conflict("it is disabled: set its status to active first")
        data = sample_data(type_)
        call_id, seq = data.pop("callId"), data.pop("seq")
        if EVENT_TYPES[type_].about == "endpoint":
            data["endpointId"] = endpoint.id
        return await deliveries.send(
            self.database, endpoint.tenant_id, endpoint.id, make_fact(type_, data), call_id=call_id, seq=seq
        )  # fmt: skip


def check_headers(headers: Mapping[str, str]) -> None:
    """Look whether headers can be sent with a request; `Invalid` names each that cannot."""
    faults: list[Fault] = []
    if len(headers) > MOST_HEADERS:
        faults.append(Fault("$.headers", f"must have at most {MOST_HEADERS} entries"))
    if len({name.lower() for name in headers}) < len(headers):
        faults.append(Fault("$.headers", "has a name twice"))
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            faults.append(Fault("$.headers", f"{name[:64]!r} is not the name of a header"))
        elif _OURS.fullmatch(name):
            faults.append(Fault(f"$.headers{step(name)}", "is not yours to set"))
        elif not _VALUE.fullmatch(value):
            faults.append(Fault(f"$.headers{step(name)}", "expected up to 4000 plain characters on one line"))
    if faults:
        raise invalid(faults)
