"""Webhooks over REST: endpoints, secrets, deliveries, dead letters, tenant by tenant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import standardwebhooks

from invorto.model.facts import EVENT_TYPES
from invorto.storage import webhook_queue
from invorto.storage.webhook_outcomes import settle
from invorto.webhooks.signing import headers, key_of, secret_of
from tests.api.world import World
from tests.outgoing.test_addresses import HOSTILE
from tests.webhooks.judge import bodies, faults
from tests.webhooks.nouns import claim, facts, outcome, routed

URL = "https://hook.example/in"
LONG_AGO = "2020-01-01T00:00:00Z"


async def made(world: World, **fields: Any) -> dict[str, Any]:
    """Make an endpoint over REST; gives all that was answered."""
    answered = await world.ask("POST", "/v1/webhooks", {"url": URL, "events": ["*"], **fields})
    assert answered.status == 201, answered.data
    return answered.json


async def tried(world: World, *, ok: bool = True) -> str:
    """Claim what is due and settle it; give the last delivery's id."""
    claims = (await claim(world.database)).claims
    await settle(world.database, [outcome(one, ok=ok) for one in claims])
    return claims[-1].id


async def test_an_endpoint_and_its_secret(world: World) -> None:
    """It is made with a secret that is shown once, read without it, changed in part, and taken away."""
    endpoint = await made(
        world, events=["call.ended", "agent.summary", "call.ended"], description="CRM", rateLimit=5, order="fifo",
        headers={"Authorization": "Bearer hush-hush"}, legacySignature=True,
    )  # fmt: skip
    assert len(key_of(endpoint["secret"])) == 32
    assert endpoint["secret"].startswith("whsec_")
    here = f"/v1/webhooks/{endpoint['id']}"
    read = await world.ask("GET", here, key="analyst")
    assert read.json == {name: value for name, value in endpoint.items() if name != "secret"}
    assert b"hush-hush" not in read.data
    assert read.json["headers"] == {"Authorization": "***"}
    assert read.json["events"] == ["call.ended", "agent.summary"]
    changed = await world.ask("PATCH", here, {"rateLimit": None, "url": "https://HOOK.example:443/v2", "order": "any"})
    assert changed.status == 200, changed.data
    assert (changed.json["url"], changed.json["rateLimit"], changed.json["order"], changed.json["description"]) == (
        "https://hook.example/v2", None, "any", "CRM",
    )  # fmt: skip
    assert changed.json["headers"] == {"Authorization": "***"}
    assert (await world.ask("PATCH", here, {"headers": None})).json["headers"] == {}
    listed = (await world.ask("GET", "/v1/webhooks", key="analyst")).json
    assert [one["id"] for one in listed["data"]] == [endpoint["id"]]
    assert (await world.ask("DELETE", here)).status == 204
    assert (await world.ask("GET", here)).status == 404


async def test_secrets_rest_encrypted(world: World) -> None:
    """Neither the secret nor the headers' values are in the database as they are."""
    endpoint = await made(world, headers={"X-Token": "hush-hush"})
    async with world.database._system() as work:
        row = await work.one("SELECT * FROM webhooks")
    kept = b"".join(str(value).encode() + (value if isinstance(value, bytes) else b"") for value in row.values())
    assert b"hush-hush" not in kept
    assert key_of(endpoint["secret"]) not in kept
    assert endpoint["secret"].encode() not in kept


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"events": ["*"]}, "$.url"),
        ({"url": URL}, "$.events"),
        ({"url": URL, "events": []}, "$.events"),
        ({"url": URL, "events": ["call.exploded"]}, "$.events"),
        ({"url": URL, "events": "*"}, "$.events"),
        ({"url": 5, "events": ["*"]}, "$.url"),
        ({"url": "", "events": ["*"]}, "$.url"),
        ({"url": "https://a.private.example/", "events": ["*"]}, "$.url"),
        ({"url": "https://localhost/", "events": ["*"]}, "$.url"),
        ({"url": URL, "events": ["*"], "rateLimit": 0}, "$.rateLimit"),
        ({"url": URL, "events": ["*"], "rateLimit": "5"}, "$.rateLimit"),
        ({"url": URL, "events": ["*"], "order": "lifo"}, "$.order"),
        ({"url": URL, "events": ["*"], "colour": "red"}, "$.colour"),
        ({"url": URL, "events": ["*"], "description": "x" * 501}, "$.description"),
        ({"url": URL, "events": ["*"], "headers": {"Webhook-Id": "x"}}, '$.headers["Webhook-Id"]'),
        ({"url": URL, "events": ["*"], "headers": {"Host": "x"}}, "$.headers.Host"),
        ({"url": URL, "events": ["*"], "headers": {"X": "a\r\nY: b"}}, "$.headers.X"),
        ({"url": URL, "events": ["*"], "headers": {"X": ""}}, "$.headers.X"),
        ({"url": URL, "events": ["*"], "headers": {"a b": "c"}}, "$.headers"),
        ({"url": URL, "events": ["*"], "headers": {"A": "b", "a": "b"}}, "$.headers"),
        ({"url": URL, "events": ["*"], "headers": {f"X-{n}": "b" for n in range(21)}}, "$.headers"),
        ({"url": URL, "events": ["*"], "headers": {"X": 5}}, "$.headers.X"),
    ],
)
async def test_what_cannot_be_an_endpoint_is_told(world: World, body: dict[str, Any], path: str) -> None:
    """Each fault has its path, when it is made and when it is changed."""
    refused = await world.ask("POST", "/v1/webhooks", body)
    assert (refused.status, refused.json["code"]) == (422, "validation_failed"), refused.data
    assert path in [where for where, _ in refused.faults]
    if (len(body) > 1 and path not in {"$.url", "$.events"}) or "url" in body:
        endpoint = await made(world)
        changed = await world.ask("PATCH", f"/v1/webhooks/{endpoint['id']}", body)
        assert changed.status == (200 if path == "$.events" and "events" not in body else 422), changed.data


async def test_hostile_urls_are_refused_at_registration(world: World) -> None:
    """Nothing of the table of hostile URLs becomes an endpoint, or takes the place of one's URL."""
    endpoint = await made(world)
    for url in HOSTILE:
        for method, path in (("POST", "/v1/webhooks"), ("PATCH", f"/v1/webhooks/{endpoint['id']}")):
            refused = await world.ask(method, path, {"url": url, "events": ["*"]})
            assert (refused.status, refused.faults[0][0]) == (422, "$.url"), url
    assert (await world.ask("GET", "/v1/webhooks")).json["pagination"]["total"] == 1


async def test_a_name_that_is_not_found_yet_is_taken(world: World) -> None:
    """Where a name leads is looked at again at each delivery."""
    assert (await made(world, url="https://not-yet.nowhere.example/"))["status"] == "active"


async def test_there_is_a_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant has so many endpoints and no more."""
    monkeypatch.setattr("invorto.storage.webhooks.MOST", 2)
    for _ in range(2):
        await made(world)
    refused = await world.ask("POST", "/v1/webhooks", {"url": URL, "events": ["*"]})
    assert (refused.status, refused.json["code"]) == (429, "quota_exceeded")


async def test_rotation_shows_a_new_secret_once(world: World) -> None:
    """The old one signs for a day."""
    endpoint = await made(world)
    rotated = await world.ask("POST", f"/v1/webhooks/{endpoint['id']}/rotate")
    assert rotated.status == 200
    assert rotated.json["secret"] != endpoint["secret"]
    until = datetime.fromisoformat(rotated.json["previousSecretUntil"])
    assert timedelta(hours=23.9) < until - datetime.now(UTC) <= timedelta(hours=24)


async def test_off_and_on_again(world: World) -> None:
    """Disabling gives up what waits; enabling begins anew; what was missed is recovered and replayed."""
    endpoint = await made(world, events=["stt.final"])
    here = f"/v1/webhooks/{endpoint['id']}"
    (waiting,) = await routed(world.database)
    off = (await world.ask("PATCH", here, {"status": "disabled"})).json
    assert (off["status"], off["disabledReason"]) == ("disabled", "request")
    (missed,) = await routed(world.database)
    for action in ("recover", "replay-missing", "test"):
        refused = await world.ask("POST", f"{here}/{action}", {"since": LONG_AGO} if action != "test" else None)
        assert (refused.status, refused.json["code"]) == (409, "conflict")
    on = (await world.ask("PATCH", here, {"status": "active"})).json
    assert (on["status"], on["disabledReason"], on["disabledAt"]) == ("active", None, None)
    for action, event in (("recover", waiting), ("replay-missing", missed)):
        assert not (await claim(world.database)).claims
        assert (await world.ask("POST", f"{here}/{action}")).status == 422
        done = await world.ask("POST", f"{here}/{action}", {"since": LONG_AGO})
        assert (done.status, done.json) == (202, {"queued": 1})
        (again,) = (await claim(world.database)).claims
        assert again.event.event_id == event
        await settle(world.database, [outcome(again)])
    assert (await world.ask("POST", f"{here}/replay-missing", {"since": LONG_AGO})).json == {"queued": 0}


async def test_a_test_is_sent(world: World) -> None:
    """One endpoint gets it, whatever it wants otherwise."""
    endpoint = await made(world, events=["call.ended"])
    await made(world)
    sent = await world.ask("POST", f"/v1/webhooks/{endpoint['id']}/test")
    assert (sent.status, sent.json["type"], sent.json["status"]) == (202, "webhook.test", "pending")
    await webhook_queue.route(world.database)
    (one,) = (await claim(world.database)).claims
    assert (one.id, one.webhook_id, one.event.data["endpointId"]) == (sent.json["id"], *[endpoint["id"]] * 2)


@pytest.mark.parametrize("type_", list(EVENT_TYPES))
async def test_a_sample_of_each_event_is_sent(world: World, type_: str) -> None:
    """A sample is as its schema says, says that it is one, is the tenant's, and is missing at nobody."""
    endpoint, other = await made(world, events=["call.ended"]), await made(world)
    sent = await world.ask("POST", f"/v1/webhooks/{endpoint['id']}/test", {"type": type_})
    assert (sent.status, sent.json["type"]) == (202, type_)
    (whole,) = await bodies(world.database, endpoint["tenantId"])
    assert (faults(whole), whole["data"]["sample"], whole["data"]["tenantId"]) == ([], True, endpoint["tenantId"])
    missing = await world.ask("POST", f"/v1/webhooks/{other['id']}/replay-missing", {"since": LONG_AGO})
    assert missing.json == {"queued": 0}


async def test_what_cannot_be_tested_is_told(world: World) -> None:
    """Only what is in the catalogue can be sent."""
    endpoint = await made(world)
    refused = await world.ask("POST", f"/v1/webhooks/{endpoint['id']}/test", {"type": "call.end"})
    assert (refused.status, refused.faults[0][0]) == (422, "$.type")


async def test_deliveries_and_their_attempts(world: World) -> None:
    """Each is listed and found with what was sent, tried and answered; it can be sent again at any time."""
    endpoint = await made(world)
    (event,) = await routed(world.database)
    (one,) = (await claim(world.database)).claims
    busy = await world.ask("POST", f"/v1/deliveries/{one.id}/retry")
    assert (busy.status, busy.json["code"]) == (409, "conflict")
    await settle(world.database, [outcome(one, ok=False, after=3600, excerpt="oh no")])
    (listed,) = (await world.ask("GET", f"/v1/webhooks/{endpoint['id']}/deliveries?status=pending")).json["data"]
    assert (listed["id"], listed["eventId"], listed["attemptCount"], listed["lastStatus"]) == (one.id, event, 1, 503)
    assert listed["nextAttemptAt"] > listed["createdAt"]
    assert (await world.ask("POST", f"/v1/deliveries/{one.id}/retry")).status == 202
    await tried(world)
    detail = (await world.ask("GET", f"/v1/deliveries/{one.id}", key="analyst")).json
    assert [(a["number"], a["status"], a["error"], a["excerpt"]) for a in detail["attempts"]] == [
        (1, 503, "503", "oh no"),
        (2, 200, None, None),
    ]
    assert (detail["status"], detail["nextAttemptAt"], detail["payload"]["data"]["eventId"]) == (
        "delivered", None, event,
    )  # fmt: skip
    assert (await world.ask("POST", f"/v1/deliveries/{one.id}/retry")).json["status"] == "pending"
    (again,) = (await claim(world.database)).claims
    assert (again.event.event_id, again.step) == (event, 0)
    nothing = await world.ask("GET", f"/v1/webhooks/{endpoint['id']}/deliveries?type=call.ended")
    assert nothing.json["pagination"]["total"] == 0


async def test_dead_letters(world: World) -> None:
    """They are listed, sent again and taken away, all of them or those that are meant."""
    one, two = [await made(world, events=["stt.final"]) for _ in range(2)]
    await routed(world.database, 3)
    dead = await tried(world, ok=False)
    listed = (await world.ask("GET", "/v1/webhooks/dead?limit=4", key="analyst")).json
    assert (len(listed["data"]), listed["pagination"]["total"]) == (4, 6)
    assert dead in [row["id"] for row in (await world.ask("GET", "/v1/webhooks/dead")).json["data"]]
    assert (await world.ask("GET", f"/v1/webhooks/dead?endpointId={one['id']}")).json["pagination"]["total"] == 3
    meant = {"endpointId": one["id"], "type": "stt.final", "since": LONG_AGO}
    assert (await world.ask("POST", "/v1/webhooks/dead/retry", meant)).json == {"queued": 3}
    assert (await world.ask("POST", "/v1/webhooks/dead/retry", {"colour": "red"})).status == 422
    assert (await world.ask("DELETE", f"/v1/webhooks/dead?endpointId={one['id']}")).json == {"removed": 0}
    assert (await world.ask("DELETE", "/v1/webhooks/dead?colour=red")).status == 422
    assert (await world.ask("DELETE", "/v1/webhooks/dead")).json == {"removed": 3}
    assert (await world.ask("GET", f"/v1/webhooks/{two['id']}/deliveries")).json["data"] == []


async def test_stats(world: World) -> None:
    """What waits, what arrived, what failed."""
    await made(world, events=["stt.final"])
    await routed(world.database, 3)
    claims = (await claim(world.database, most=2)).claims
    await settle(world.database, [outcome(claims[0]), outcome(claims[1], ok=False)])
    stats = (await world.ask("GET", "/v1/webhooks/stats?period=1h", key="analyst")).json
    assert stats.pop("oldestReadyAge") > 0
    assert stats == {"depth": 1, "delivered": 1, "failed": 1, "dead": 1, "period": "1h"}
    assert (await world.ask("GET", "/v1/webhooks/stats", key="other")).json["depth"] == 0
    assert (await world.ask("GET", "/v1/webhooks/stats?period=9d")).status == 422


async def test_messages_are_verified_for_those_who_write_receivers(world: World) -> None:
    """Genuine or not, with a reason, and never a signature; an object for a payload is told, not a failure."""
    secret, payload = secret_of(b"k" * 32), '{"a": "ü"}'
    now = int(datetime.now(UTC).timestamp())
    signed = headers([secret], "evt_1", now, payload.encode())
    standardwebhooks.Webhook(secret).verify(payload, signed)
    good = {"payload": payload, "headers": signed, "secret": secret}
    assert (await world.ask("POST", "/v1/webhooks/verify", good)).json == {"valid": True, "reason": None}
    bad = await world.ask("POST", "/v1/webhooks/verify", good | {"payload": '{"a":"ü"}'})
    assert bad.json["valid"] is False
    assert b"v1," not in bad.data
    for wrong, path in (
        ({"payload": {"a": "ü"}}, "$.payload"),
        ({"secret": "whsec_!"}, "$.secret"),
        ({"headers": {"webhook-id": 5}}, '$.headers["webhook-id"]'),
    ):
        refused = await world.ask("POST", "/v1/webhooks/verify", good | wrong)
        assert (refused.status, refused.faults[0][0]) == (422, path)


async def test_the_environments_endpoint_is_its_own(world: World) -> None:
    """Its URL and its secret are the environment's; the rest may be changed."""
    endpoint = await made(world)
    async with world.database._system() as work:
        await work.execute("UPDATE webhooks SET environment = true")
    here = f"/v1/webhooks/{endpoint['id']}"
    assert (await world.ask("PATCH", here, {"url": "https://other.example/"})).status == 409
    assert (await world.ask("POST", f"{here}/rotate")).status == 409
    assert (await world.ask("PATCH", here, {"events": ["call.ended"]})).json["events"] == ["call.ended"]


async def test_without_keys_there_are_no_secrets_to_keep(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without INVORTO_SECRET_KEYS says so."""
    monkeypatch.setattr("invorto.vault.Vault.__bool__", lambda _: False)
    refused = await world.ask("POST", "/v1/webhooks", {"url": URL, "events": ["*"]})
    assert (refused.status, refused.json["code"]) == (409, "not_supported")


async def test_removed_in_mid_delivery(world: World) -> None:
    """What is on its way to an endpoint that is taken away ends nowhere, and harms nothing."""
    endpoint = await made(world)
    await routed(world.database, 3)
    claims = (await claim(world.database, most=2)).claims
    assert (await world.ask("DELETE", f"/v1/webhooks/{endpoint['id']}")).status == 204
    settled = await settle(world.database, [outcome(one) for one in claims])
    assert (settled.taken, len(settled.refused)) == (0, 2)
    await facts(world.database)
    assert await webhook_queue.route(world.database) == 1
