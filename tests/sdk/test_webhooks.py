"""The Python SDK's side of webhooks, held to the shared vectors and to two other implementations of the standard."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from invorto.webhooks import signing
from invorto_sdk.webhooks import WebhookError, authenticate, verify

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "webhooks" / "vectors.json").read_text("utf-8")
)
SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def ask(vector: dict[str, Any]) -> str:
    return authenticate(base64.b64decode(vector["body"]), vector["headers"], vector["secret"], now=vector["now"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    """Each is believed or refused as the vectors say, and what is believed is an event where it is one."""
    body = base64.b64decode(vector["body"])
    if vector["refusal"] is not None:
        with pytest.raises(WebhookError) as refused:
            ask(vector)
        assert refused.value.code == vector["refusal"]
        return
    assert ask(vector) == {name.lower(): value for name, value in vector["headers"].items()}["webhook-id"]
    if vector["isEvent"]:
        event = verify(body, vector["headers"], vector["secret"], now=vector["now"])
        assert (event.type, event.tenant_id, event.call_id, event.seq) == ("webhook.test", "t_default", None, None)
        assert event.timestamp == datetime(2026, 3, 4, 9, 30, 12, 345_000, UTC)
        assert event.data["message"] == "नमस्ते – ₹"
    else:
        with pytest.raises(WebhookError) as refused:
            verify(body, vector["headers"], vector["secret"], now=vector["now"])
        assert refused.value.code == "not_an_event"


@pytest.mark.parametrize("theirs", [standardwebhooks.Webhook, svix.webhooks.Webhook], ids=["standardwebhooks", "svix"])
@given(body=st.text(max_size=200), at=st.integers(0, 10**11))
def test_what_they_sign(theirs: Any, body: str, at: int) -> None:
    """What the others sign is believed here, however it looks."""
    signature = theirs(SECRET).sign("msg_1", datetime.fromtimestamp(at, UTC), body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signature}
    assert authenticate(body, headers, SECRET, now=float(at)) == "msg_1"
    assert authenticate(body.encode(), headers, SECRET, now=float(at)) == "msg_1"


@pytest.mark.parametrize("theirs", [standardwebhooks.Webhook, svix.webhooks.Webhook], ids=["standardwebhooks", "svix"])
def test_they_agree_with_the_vectors(theirs: Any) -> None:
    """What the vectors call signed by a secret, the others sign in the same way."""
    compared = 0
    for vector in VECTORS:
        try:
            body = base64.b64decode(vector["body"]).decode()
        except UnicodeDecodeError:
            continue
        headers = {name.lower(): value for name, value in vector["headers"].items()}
        if vector["refusal"] is None and isinstance(vector["secret"], str) and " " not in vector["secret"]:
            at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
            signature = theirs(vector["secret"]).sign(headers["webhook-id"], at, body)
            assert signature in headers["webhook-signature"].split(" ")
            compared += 1
    assert compared >= 10


def test_the_server_signs_the_vectors() -> None:
    """What the server sends is signed as the vectors are, which all these verify, and it believes what they believe."""
    compared = 0
    for vector in VECTORS:
        headers = {name.lower(): value for name, value in vector["headers"].items()}
        secret, body = vector["secret"], base64.b64decode(vector["body"])
        if not isinstance(secret, str) or vector["refusal"] == "bad_secret":
            continue
        if secret.startswith("whsec_"):
            refused = signing.fault(secret, vector["headers"], body, vector["now"]) is not None
            assert refused is (vector["refusal"] is not None) or vector["name"] == "two ids"
        if vector["refusal"] is None and (secret.startswith("whsec_") or " " in secret):
            made = signing.headers([secret], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
            assert made["webhook-signature"] in headers["webhook-signature"].split(" ")
            compared += 1
    assert compared >= 10


def test_a_body_that_was_parsed_is_refused() -> None:
    """Whoever hands in what a framework has parsed is told so, and not that the signature is wrong."""
    vector = VECTORS[0]
    parsed: Any = json.loads(base64.b64decode(vector["body"]))
    with pytest.raises(TypeError, match="raw"):
        verify(parsed, vector["headers"], vector["secret"], now=vector["now"])


@given(
    st.binary(max_size=60),
    st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()),
)
def test_nothing_but_a_refusal(body: bytes, headers: dict[str, str]) -> None:
    """Whatever strangers send, it raises nothing but `WebhookError`."""
    with pytest.raises(WebhookError):
        verify(body, headers, SECRET)
