"""`invorto webhooks trigger`: sends a sample of any event, straight to a receiver or through a server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import attrs
import trio
from rich.console import Console

from invorto.config import Config
from invorto.errors import Invalid, NotFound, StartFailed, UsageError
from invorto.model.ids import new_id
from invorto.outgoing.client import OutgoingFailed, open_client
from invorto.receiver.server import open_endpoints, where
from invorto.webhooks import catalogue, signing
from invorto.webhooks.envelope import body

PATIENCE = 15.0
"""Seconds that a receiver may take, as in real delivery."""


@attrs.frozen(kw_only=True)
class Shot:
    """What is to be sent, and to whom."""

    type: str
    to: str | None
    """A receiver's URL; None: the server sends it to *endpoint*."""
    secret: str | None
    over: str | None
    """JSON that is laid over the sample's data."""
    endpoint: str | None
    url: str | None
    key: str | None


def sample(type_: str, over: str | None = None) -> tuple[str, bytes]:
    """Make a body of a type, new each time, and its id; `UsageError` for what is no type, or no JSON object."""
    try:
        data = catalogue.sample_data(type_)
    except NotFound as error:
        raise UsageError(str(error)) from None
    try:
        more = json.loads(over) if over else {}
    except ValueError as error:
        raise UsageError(f"--with is no JSON: {error}") from None
    if not isinstance(more, dict):
        raise UsageError("--with must be a JSON object")
    data |= cast("dict[str, Any]", more)
    event_id = new_id("evt")
    made = body(
        type_=type_, event_id=event_id, tenant_id=data["tenantId"], call_id=data["callId"], seq=data["seq"], data=data,
        written_at=datetime.now(UTC),
    )  # fmt: skip
    return event_id, made


async def trigger(config: Config, shot: Shot) -> int:
    """Send it and print what was answered; exit code 0 if that was 2xx."""
    console = Console(highlight=False, soft_wrap=True)
    event_id, made = sample(shot.type, shot.over)
    if shot.to is None:
        if shot.over or shot.secret:
            raise UsageError("--with and --secret are for --to: a server sends its own sample, with its own secret")
        return await _through_server(config, shot, console)
    if shot.secret is None:
        raise UsageError("give the secret to sign with, --secret whsec_…")
    try:
        head = signing.headers([shot.secret], event_id, int(time.time()), made, legacy=True)
    except Invalid as error:
        raise UsageError(f"--secret: {error}") from None
    return await _straight(shot.to, {**head, "content-type": "application/json"}, made, console)


async def _straight(url: str, head: Mapping[str, str], made: bytes, console: Console) -> int:
    began = trio.current_time()
    async with open_client(None) as client:
        try:
            client.check(url)
        except Invalid as error:
            raise UsageError(f"--to: {error}") from None
        try:
            with trio.fail_after(PATIENCE):
                answer = await client.request("POST", url, headers=head, content=made)
        except trio.TooSlowError:
            raise StartFailed(f"{url} did not answer within {PATIENCE:g} s") from None
        except OutgoingFailed as error:
            raise StartFailed(f"{url}: {error}") from None
    ms = (trio.current_time() - began) * 1000
    good = 200 <= answer.status < 300
    console.print(f"{'✓' if good else '✗'} {head['webhook-id']}: {answer.status} in {ms:.0f} ms", markup=False)
    if answer.body and not good:
        console.print(answer.body[:1000].decode("utf-8", "replace"), markup=False)
    return 0 if good else 1


async def _through_server(config: Config, shot: Shot, console: Console) -> int:
    async with open_endpoints(where(config, shot.url, shot.key)) as endpoints:
        endpoint = shot.endpoint
        if endpoint is None:
            known = [one["id"] for one in await endpoints.list()]
            if len(known) != 1:
                which = f"one of {', '.join(known)} with --endpoint" if known else "a receiver's URL with --to"
                raise UsageError(f"{len(known)} endpoints are registered: name {which}")
            endpoint = known[0]
        told = await endpoints.test(endpoint, shot.type)
    delivery = f": {told['id']}" if "id" in told else ""
    console.print(f"✓ the server sends it to {endpoint}{delivery}", markup=False)
    return 0
