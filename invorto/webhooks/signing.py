"""Signatures of webhooks by Standard Webhooks 1.0, made and verified over the raw bytes (pure)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping

from invorto.errors import Invalid

PREFIX = "whsec_"
KEY_BYTES = 32
TOLERANCE = 300
"""Seconds that a timestamp may be off, as the standard's own libraries have it."""
_HEADERS = ("id", "timestamp", "signature")
_MOST_SIGNATURES = 32


def secret_of(key: bytes) -> str:
    """Write a key as its owner is given it."""
    return PREFIX + base64.b64encode(key).decode()


def key_of(secret: str) -> bytes:
    """
    Give the key that a secret stands for: after ``whsec_`` it is base64, any other text is its own bytes.

    `Invalid` for what follows ``whsec_`` and is no base64, or no key at all.
    """
    if not secret.startswith(PREFIX):
        key = secret.encode(errors="replace")
    else:
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("a secret is whsec_ and base64") from None
    if not key:
        raise Invalid("a secret is not empty")
    return key


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign ``{id}.{timestamp}.{body}``: ``v1,`` and base64 of HMAC-SHA256."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()


def headers(
    secrets: Iterable[str], message_id: str, timestamp: int, body: bytes, *, legacy: bool = False
) -> dict[str, str]:
    """
    Give the headers that sign *body*, by each of *secrets*, the newest first.

    *legacy* adds what the original system sent: HMAC-SHA256 of the body alone, in hexadecimal, by the newest secret as
    it is written.
    """
    every = list(secrets)
    made = {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signature(secret, message_id, timestamp, body) for secret in every),
    }
    if legacy:
        made["x-webhook-signature"] = "sha256=" + hmac.digest(every[0].encode(), body, hashlib.sha256).hex()
    return made


def fault(secret: str, given: Mapping[str, str], body: bytes, now: float, tolerance: float = TOLERANCE) -> str | None:
    """
    Say what is wrong with a message that came with the headers *given*; None: it is genuine.

    Headers are found in any case, and under the names with ``svix-`` too. *now* is Unix time. `Invalid` for a secret
    that is none.
    """
    key_of(secret)
    named = {name.lower(): value for name, value in given.items()}
    family = "svix" if "svix-id" in named and "webhook-id" not in named else "webhook"
    found = [named.get(f"{family}-{part}", "") for part in _HEADERS]
    for part, value in zip(_HEADERS, found, strict=True):
        if not value:
            return f"the header webhook-{part} is missing"
    message_id, stamp, signatures = found
    if not stamp.isascii() or not stamp.isdigit() or len(stamp) > 12:
        return "webhook-timestamp is not in seconds"
    if abs(now - int(stamp)) > tolerance:
        return "webhook-timestamp is too far from now"
    expected = signature(secret, message_id, int(stamp), body).encode()
    if any(hmac.compare_digest(expected, one.encode()) for one in signatures.split(" ")[:_MOST_SIGNATURES]):
        return None
    return "no signature is right: is this the body as it came, byte for byte, and the endpoint's secret?"
