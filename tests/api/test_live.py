"""Acts on live calls over REST: who may, and what is said where nobody can."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from invorto.model.call import CallStatus
from invorto.model.ids import new_id
from invorto.realtime.tokens import Grant, mint
from invorto.storage import calls, keys, ledger_rows
from invorto.storage.fakes import FakeRedis
from invorto.storage.postgres import Database
from invorto.storage.tenants import DEFAULT_TENANT
from invorto.subkeys import SecretKeys
from tests.api.world import World, open_world
from tests.storage.nouns import a_call, an_agent, finished

SECRET = "s" * 32
KEY = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
async def signing(database: Database, tmp_path: Path) -> AsyncIterator[World]:
    """Give an API that takes signatures and tokens."""
    environ = {"REALTIME_WS_SECRET": SECRET, "INVORTO_SECRET_KEYS": KEY}
    async with open_world(database, FakeRedis(), tmp_path, **environ) as made:
        yield made


async def active(world: World) -> str:
    """Make a call that is active, on a node that nobody knows."""
    call = await a_call(world.database, await an_agent(world.database, name=new_id("m")))
    await calls.move(world.database, DEFAULT_TENANT, call.id, CallStatus.ACTIVE, epoch=1)
    return call.id


def signed(call_id: str, ago: float = 0, secret: str = SECRET) -> str:
    """Give the query of a signed URL."""
    ts = int(time.time() - ago)
    return f"sig={hmac.digest(secret.encode(), f'{call_id}:{ts}'.encode(), 'sha256').hex()}&ts={ts}"


def token(world: World, call_id: str, *, key_id: str | None = None, allow: str = "end", ago: int = 0) -> str:
    """Give a token."""
    grant = Grant(
        tenant_id=DEFAULT_TENANT, call_id=call_id, agent_id="a_1", key_id=key_id,
        expires_at=int(time.time()) - ago, allow=frozenset({allow}),
    )  # fmt: skip
    return mint(SecretKeys.parse([KEY]), grant)


async def test_whoever_opened_the_socket_may_end_the_call(signing: World) -> None:
    """The socket's own signature or token ends its call without a key, however long ago it was good."""
    call_id = await active(signing)
    revoked, _ = await keys.create(signing.database, DEFAULT_TENANT, "dev", "gone")
    await keys.revoke(signing.database, DEFAULT_TENANT, revoked.id)
    good = [signed(call_id), signed(call_id, ago=1000), f"token={token(signing, call_id, ago=900)}"]
    bad = [
        "", "sig=00&ts=1", f"{signed(call_id)}0", signed("other"), signed(call_id, secret="x"),
        signed(call_id, ago=3600), signed(call_id, ago=-3600), "sig=%C3%A9&ts=5", f"token={token(signing, 'other')}",
        f"token={token(signing, call_id, allow='audio')}", "token=inv_tok_x.y",
        f"token={token(signing, call_id, key_id=revoked.id)}",
    ]  # fmt: skip
    for query in good:  # they may; there is only nobody who holds it
        told = await signing.ask("POST", f"/v1/realtime/{call_id}/end?{query}", {}, key=None)
        assert (told.status, told.json["code"]) == (409, "call_not_live"), query
    for query in bad:
        told = await signing.ask("POST", f"/v1/realtime/{call_id}/end?{query}", {}, key=None)
        assert (told.status, told.json["code"]) == (401, "invalid_api_key"), query
    unknown = await signing.ask("POST", f"/v1/realtime/c_none/end?{signed('c_none')}", {}, key=None)
    assert unknown.status == 401
    bearer = {"Authorization": f"Bearer {token(signing, call_id)}"}
    assert (await signing.ask("POST", f"/v1/realtime/{call_id}/end", key=None, headers=bearer)).status == 409


async def test_acts_on_what_is_not_live(world: World) -> None:
    """A call that is over, or that never was, cannot be acted on; another tenant's is not there; analysts only look."""
    call = await a_call(world.database, await an_agent(world.database))
    await ledger_rows.write(world.database, finished(call))
    bodies = {
        "end": {}, "say": {"text": "x"}, "whisper": {"text": "x"}, "hold": {}, "dtmf": {"digits": "1"},
        "transfer": {"to": "+911"}, "recording": {"action": "stop"},
    }  # fmt: skip
    for act, body in bodies.items():
        path = f"/v1/realtime/{call.id}/{act}"
        over = await world.ask("POST", path, body)
        assert (over.status, over.json["code"]) == (409, "call_not_live"), act
        assert (await world.ask("POST", path, body, key="other")).status == 404
        assert (await world.ask("POST", path, body, key="analyst")).status == 403
        assert (await world.ask("POST", path, body, key=None)).status == 401
        assert (await world.ask("POST", path, {**body, "surprise": 1})).status == 422
    stats = (await world.ask("GET", f"/v1/realtime/{call.id}/stats", key="analyst")).json
    assert (stats["live"], stats["status"], stats["duration"], stats["now"]) == (False, "completed", 61.5, None)
    assert (await world.ask("GET", "/v1/realtime/connections", key="analyst")).json["data"] == []
