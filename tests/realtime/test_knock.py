"""The way in: who may, to which call and agent, and what everybody else is told."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from invorto import config
from invorto.errors import PeerError, StoreUnavailable
from invorto.model.call import Call, CallStatus, Direction
from invorto.realtime import tokens
from invorto.realtime.auth import Trust
from invorto.realtime.handshake import Handshake
from invorto.realtime.knock import Admission, Porter, TurnedAway, knock, refuse
from invorto.realtime.origin import Origins
from invorto.realtime.protocol import Ended, ErrorMessage
from invorto.realtime.tokens import Grant
from invorto.storage import agents as stored_agents
from invorto.storage import calls as stored_calls
from invorto.storage import keys as stored_keys
from invorto.storage.tenants import DEFAULT_TENANT, create_with_key
from invorto.subkeys import SecretKeys
from tests.realtime.doors import NOW, FakeAgents, FakeCalls, agent, call, keys, request

TRUST = Trust(default_tenant="t_1", secret_keys=SecretKeys.parse([base64.b64encode(b"s" * 32).decode()]))
GRANT = Grant(tenant_id="t_1", call_id="c_new", agent_id="a_1", key_id="k_dev", expires_at=int(NOW) + 60)
DESK, IDLE, DRAFT = agent(), agent("a_idle", "Idle", status="inactive"), agent("a_draft", "Draft", status="draft")
THEIRS = agent("a_theirs", "Theirs", "t_2")
CALLS = [
    call("c_created"), call("c_active", "active"), call("c_over", "completed"),
    call("c_theirs", tenant_id="t_2", agent_id="a_theirs"), call("c_theirs_over", "failed", tenant_id="t_2"),
    call("c_idle", agent_id="a_idle"), call("c_idle_active", "active", agent_id="a_idle"),
]  # fmt: skip


def porter(**changes: Any) -> Porter:
    """Make a door over dictionaries."""
    made = Porter(
        trust=TRUST,
        origins=Origins(),
        keys=keys(),
        calls=FakeCalls({each.id: each for each in CALLS}),
        agents=FakeAgents([DESK, IDLE, DRAFT, THEIRS]),
        wall=lambda: NOW,
    )
    return attrs.evolve(made, **changes)


async def enter(query: str, token: Grant | None = None, origin: str | None = None, **changes: Any) -> Admission:
    """Knock with a key of tenant t_1, or with a token."""
    shown = tokens.mint(TRUST.secret_keys, token) if token else "inv_live_dev"
    headers = {"origin": origin} if origin else {}
    return await knock(request(query, subprotocols=["invorto.v1", shown], **headers), porter(**changes))


async def test_a_new_call():
    """An id that nobody has is a call to be created, with the agent that was asked for, by id or name."""
    for asked in ("a_1", "Desk"):
        admission = await enter(f"callId=c_new&agentId={asked}&rate=8000")
        assert admission.call is None
        assert admission.agent is DESK
        assert admission.handshake == Handshake(call_id="c_new", agent=asked, rate=8000, codec="linear16", resume=None)
        assert admission.credential.tenant_id == "t_1"


async def test_a_call_that_is_there():
    """A call that was created before is joined with its own agent, whether or not the URL repeats it."""
    for query in ("callId=c_created", "callId=c_created&agentId=a_1", "callId=c_created&agentId=Desk"):
        admission = await enter(query)
        assert admission.call is not None
        assert (admission.call.id, admission.agent) == ("c_created", DESK)
    assert (await enter("callId=c_active")).call == CALLS[1]


async def test_a_token_brings_its_agent():
    """A browser needs no more than its token and the call's id; naming the agent either way is fine."""
    for query in ("callId=c_new", "callId=c_new&agentId=a_1", "callId=c_new&agentId=Desk"):
        assert (await enter(query, GRANT)).agent is DESK
    by_name = attrs.evolve(GRANT, agent_id="Desk")
    assert (await enter("callId=c_new&agentId=a_1", by_name)).agent is DESK


async def test_an_expired_token_comes_back_to_a_live_call():
    """A reconnect after the token's expiry finds its call; a new call, or one that has not begun, does not begin."""
    for status, may in (("active", True), ("created", False), ("ringing", False)):
        calls = FakeCalls({"c_new": call("c_new", status)})
        late = attrs.evolve(GRANT, expires_at=int(NOW) - 1)
        if may:
            admission = await enter("callId=c_new", late, calls=calls)
            assert admission.credential.expired
            continue
        with pytest.raises(PeerError, match="unauthorized"):
            await enter("callId=c_new", late, calls=calls)
    with pytest.raises(PeerError, match="unauthorized"):
        await enter("callId=c_new", late)


REFUSALS: list[tuple[str, dict[str, Any], int, str, list[str]]] = [
    ("", {}, 4002, "missing_call_id", []),
    ("callId=tokens&agentId=a_1", {}, 4002, "bad_call_id", []),
    ("callId=c_new&callId=c_2", {}, 4002, "bad_call_id", ["bad_request"]),
    ("callId=%FF", {}, 4002, "bad_call_id", ["bad_request"]),
    ("callId=c_new&rate=1", {}, 1003, "unsupported_audio", []),
    ("callId=c_new&agentId=a_1", {"origin": "https://evil.example"}, 4003, "forbidden_origin", []),
    ("callId=c_theirs", {}, 4003, "unauthorized", []),
    ("callId=c_theirs&agentId=a_theirs", {}, 4003, "unauthorized", []),
    ("callId=c_theirs_over", {}, 4003, "unauthorized", []),
    ("callId=c_theirs&agentId=nobody", {}, 4003, "unauthorized", []),
    ("callId=c_created", {"token": GRANT}, 4003, "unauthorized", []),
    ("callId=c_new&agentId=a_draft", {"token": GRANT}, 4003, "unauthorized", []),
    ("callId=c_new", {"token": attrs.evolve(GRANT, tenant_id="t_2", key_id="k_other")}, 4004, "agent_not_found",
     ["agent_not_found"]),
    ("callId=c_new&agentId=a_1", {"token": attrs.evolve(GRANT, key_id="k_gone")}, 4003, "unauthorized", []),
    ("callId=c_new", {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_new&agentId=nobody", {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_new&agentId=a_theirs", {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_new&agentId=Theirs", {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_new&agentId=a%00", {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_new&agentId=" + "a" * 201, {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_created&agentId=a_draft", {}, 4004, "agent_not_found", ["agent_not_found"]),
    ("callId=c_new&agentId=a_idle", {}, 4004, "agent_not_found", ["agent_not_active"]),
    ("callId=c_new&agentId=Draft", {}, 4004, "agent_not_found", ["agent_not_active"]),
    ("callId=c_idle", {}, 4004, "agent_not_found", ["agent_not_active"]),
    ("callId=c_over", {}, 1000, "", ["call_not_live", "end"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "how", "code", "reason", "told"), REFUSALS, ids=[f"{i}-{r[2]}-{r[3]}" for i, r in enumerate(REFUSALS)]
)
async def test_who_is_turned_away(query, how, code, reason, told):
    """Each refusal has its documented code and reason, and says more only to those who may know."""
    with pytest.raises(PeerError) as error:
        await enter(query, **how)
    assert (error.value.close_code, error.value.reason) == (code, reason)
    messages = error.value.messages if isinstance(error.value, TurnedAway) else ()
    assert [m.code if isinstance(m, ErrorMessage) else "end" for m in messages] == told


async def test_a_live_call_goes_on_when_its_agent_is_switched_off():
    """Switching an agent off ends no conversation, so its caller may come back to it."""
    admission = await enter("callId=c_idle_active")
    assert admission.agent is IDLE


async def test_a_bad_name_is_not_looked_up():
    """The store is not asked for what cannot be an agent's name."""
    agents = FakeAgents([])
    with pytest.raises(PeerError):
        await enter("callId=c_new&agentId=" + "a" * 201, agents=agents)
    with pytest.raises(PeerError):
        await enter("callId=c_new&agentId=%00", agents=agents)
    assert agents.asked == []


async def test_why_an_ended_call_ended():
    """Who comes back too late hears how it ended, and is closed in a way that no client retries."""
    with pytest.raises(TurnedAway) as error:
        await enter("callId=c_over")
    assert error.value.messages[1] == Ended("silence")


async def test_a_database_that_is_away():
    """The client is told to try again; nobody is called unauthorized, nothing about the inside is said."""
    away = keys()
    away.down = StoreUnavailable("postgresql://user:secret@host")
    with pytest.raises(TurnedAway) as error:
        await enter("callId=c_new&agentId=a_1", keys=away)
    assert (error.value.close_code, error.value.reason) == (1011, "store_unavailable")
    assert error.value.messages == (
        ErrorMessage("store_unavailable", "try again in a moment", fatal=True, retry_after=2.0),
    )


class Ear:
    """What a client hears of a refusal."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def send_text(self, text: str) -> None:
        self.heard.append(json.loads(text))

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        self.heard.append((code, reason))


async def test_what_somebody_turned_away_hears():
    """First why, each with an id in order, then the close."""
    ear = Ear()
    await refuse(ear, TurnedAway(4004, "agent_not_found", ErrorMessage("a", "b", fatal=True), Ended("api")), NOW)
    assert ear.heard == [
        {"t": "error", "id": "1733000000000-0", "code": "a", "message": "b", "fatal": True},
        {"t": "end", "id": "1733000000000-1", "reason": "api"},
        (4004, "agent_not_found"),
    ]
    ear = Ear()
    await refuse(ear, PeerError(4003, "unauthorized"), NOW)
    assert ear.heard == [(4003, "unauthorized")]


async def test_against_the_real_stores(database):
    """Keys, calls and agents of PostgreSQL are found, with their tenants kept apart."""
    tenant, key = await create_with_key(database, "Ours")
    _, foreign_key = await create_with_key(database, "Theirs")
    desk = await stored_agents.create(database, tenant.id, name="Desk", document={})
    theirs = request("callId=c_1&agentId=Desk", subprotocols=[foreign_key])
    ours = request("callId=c_1&agentId=Desk", subprotocols=[key])
    door = Porter.of(config.load({"INVORTO_SECRET_KEYS": base64.b64encode(b"s" * 32).decode()}), database, lambda: NOW)
    assert door.trust.default_tenant == DEFAULT_TENANT

    admission = await knock(ours, door)
    assert (admission.agent, admission.call, admission.credential.tenant_id) == (desk, None, tenant.id)
    with pytest.raises(PeerError, match="agent_not_found"):
        await knock(theirs, door)

    made = Call(
        id="c_1", tenant_id=tenant.id, agent_id=desk.id, agent_version=1, direction=Direction.WEB,
        status=CallStatus.CREATED, epoch=0, created_at=datetime.now(UTC),
    )  # fmt: skip
    await stored_calls.create(database, made)
    admission = await knock(ours, door)
    assert admission.call is not None
    assert admission.call.id == "c_1"
    with pytest.raises(PeerError, match="unauthorized"):
        await knock(theirs, door)

    key_id = admission.credential.key_id
    assert key_id is not None
    grant = Grant(tenant_id=tenant.id, call_id="c_1", agent_id=desk.id, key_id=key_id, expires_at=int(NOW) + 1)
    browser = request("callId=c_1", subprotocols=["invorto.v1", tokens.mint(door.trust.secret_keys, grant)])
    assert (await knock(browser, door)).credential.call_id == "c_1"
    await stored_keys.revoke(database, tenant.id, key_id)
    for asked in (browser, ours):
        with pytest.raises(PeerError, match="unauthorized"):
            await knock(asked, door)
