"""Signatures that the libraries of the standard accept, over the raw bytes, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import Invalid
from invorto.webhooks.signing import fault, headers, key_of, secret_of, signature

SECRET, OLD = secret_of(bytes(range(32))), secret_of(b"o" * 32)
NOW = 1_790_000_000


def test_the_standards_example() -> None:
    """The example of the specification comes out to the letter."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=1, max_size=64), st.text(max_size=200), st.from_regex(r"evt_[0-9a-f]{32}", fullmatch=True))
def test_judges_accept_what_we_sign(key: bytes, text: str, message_id: str) -> None:
    """Both libraries verify every body over the raw bytes, by the new secret and, while it rotates, by the old one."""
    body = b'{"text":"' + text.encode(errors="replace").hex().encode() + b'"}'
    secret, now = secret_of(key), int(datetime.now(UTC).timestamp())
    made = headers([secret, OLD], message_id, now, body)
    for judge in (standardwebhooks.Webhook(secret), svix.webhooks.Webhook(secret), standardwebhooks.Webhook(OLD)):
        judge.verify(body, made)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(secret).verify(body + b" ", made)
    assert fault(secret, made, body, now) is None
    assert fault(OLD, made, body, now) is None


def test_we_accept_what_the_judge_signs() -> None:
    """A message signed by the standard's own library is genuine to us, under either family of header names."""
    body, now = '{"a":1}', datetime.now(UTC)
    signed = standardwebhooks.Webhook(SECRET).sign("msg_1", now, body)
    for family in ("webhook", "Webhook", "svix"):
        given = {f"{family}-Id": "msg_1", f"{family}-timestamp": str(int(now.timestamp())),
                 f"{family}-signature": f"v1,AAAA {signed} v2,x"}  # fmt: skip
        assert fault(SECRET, given, body.encode(), time.time()) is None


GOOD = headers([SECRET], "evt_1", NOW, b"body")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"webhook-id": ""}, "webhook-id is missing"),
        ({"webhook-signature": ""}, "webhook-signature is missing"),
        ({"webhook-timestamp": "soon"}, "not in seconds"),
        ({"webhook-timestamp": "²"}, "not in seconds"),
        ({"webhook-timestamp": "9" * 5000}, "not in seconds"),
        ({"webhook-timestamp": str(NOW - 301)}, "too far"),
        ({"webhook-timestamp": str(NOW + 301)}, "too far"),
        ({"webhook-timestamp": str(NOW + 1)}, "no signature is right"),
        ({"webhook-id": "evt_2"}, "no signature is right"),
        ({"webhook-signature": "v1,AAAA"}, "no signature is right"),
        ({"webhook-signature": "ü"}, "no signature is right"),
        ({"webhook-signature": GOOD["webhook-signature"].removeprefix("v1,")}, "no signature is right"),
    ],
)
def test_what_is_not_genuine_is_told(change: dict[str, str], told: str) -> None:
    """Each thing that may be wrong has a sentence, which never holds a signature."""
    said = fault(SECRET, {**GOOD, **change}, b"body", NOW)
    assert said is not None
    assert told in said
    assert GOOD["webhook-signature"][3:] not in said


def test_another_body_or_secret_is_not_genuine() -> None:
    """A byte more, or another endpoint's secret, and it is somebody else's."""
    assert fault(SECRET, GOOD, b"body ", NOW)
    assert fault(OLD, GOOD, b"body", NOW)


def test_the_original_signature_where_it_is_asked_for() -> None:
    """The original's receivers compute an HMAC of the body with the secret as it is written."""
    made = headers(["plain words", OLD], "evt_1", NOW, b"body", legacy=True)
    assert made["x-webhook-signature"] == "sha256=" + hmac.new(b"plain words", b"body", hashlib.sha256).hexdigest()
    assert "x-webhook-signature" not in GOOD


def test_secrets() -> None:
    """A key is written with its prefix; other text is taken as it is; what is neither is refused."""
    assert key_of(secret_of(b"\x00\xff")) == b"\x00\xff"
    assert key_of("my old secret") == b"my old secret"
    for none in ("whsec_!!", "whsec_", "", "whsec_YQ"):
        with pytest.raises(Invalid):
            key_of(none)
