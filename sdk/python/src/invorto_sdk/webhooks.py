"""Webhooks: is a request from Invorto, and what does it tell.

Signatures are those of Standard Webhooks 1.0, over the raw bytes of the body. Pure: nothing here waits or does I/O.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias, cast

Refusal: TypeAlias = Literal[
    "bad_secret", "missing_header", "bad_timestamp", "too_old", "too_new", "bad_signature", "not_an_event"
]
"""Why a request is not believed."""
Body: TypeAlias = "bytes | bytearray | memoryview | str"
"""The raw body: what came over the wire, before anybody parsed it."""

TOLERANCE = 300.0
"""Seconds that a request may be old, or from the future."""
_SECONDS = re.compile(r"[0-9]{1,12}")


class HeadersLike(Protocol):
    """A request's headers: a mapping, or what Quart, Flask, Starlette and their like have."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Give names and values."""
        ...


class WebhookError(Exception):
    """A request that is not believed: answer it with 400. *code* says why."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code: Refusal = code


@dataclass(frozen=True)
class WebhookEvent:
    """What a webhook tells."""

    id: str
    """The same on every attempt and replay: whoever has handled it once may ignore it."""
    type: str
    """Such as ``call.ended``."""
    timestamp: datetime
    """When it happened."""
    tenant_id: str
    call_id: str | None
    """The call that it is about, if it is about one."""
    seq: int | None
    """Its number among the call's events, from 1."""
    schema_version: int
    data: Mapping[str, Any]
    """All of it, as the schema of its type and version says."""


def verify(
    body: Body, headers: HeadersLike, secret: str | Sequence[str], *, tolerance: float = TOLERANCE,
    now: float | None = None,
) -> WebhookEvent:  # fmt: skip
    """
    Verify a request and give what it tells; raises `WebhookError`.

    *secret* is the endpoint's, ``whsec_…``; several where you are changing from one to another. *now* is Unix time in
    seconds, for tests.
    """
    message_id = authenticate(body, headers, secret, tolerance=tolerance, now=now)
    return _parse(_raw(body), message_id)


def authenticate(
    body: Body, headers: HeadersLike, secret: str | Sequence[str], *, tolerance: float = TOLERANCE,
    now: float | None = None,
) -> str:  # fmt: skip
    """Verify a request as `verify` does and give its ``webhook-id``, whatever the body holds."""
    keys = [key for one in ([secret] if isinstance(secret, str) else secret) for key in _keys(one)]
    if not keys:
        raise WebhookError("bad_secret", "there is no secret to verify with")
    message_id, timestamp, signatures = (
        _header(headers, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
    )
    _check_age(timestamp, tolerance, time.time() if now is None else now)
    signed = f"{message_id}.{timestamp}.".encode() + _raw(body)
    for key in keys:
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
        for signature in signatures.split(" "):
            version, _, given = signature.partition(",")
            if version == "v1" and hmac.compare_digest(given.encode(), expected):
                return message_id
    raise WebhookError("bad_signature", "no signature fits the body: is it raw, and the secret this endpoint's?")


def _parse(body: bytes, message_id: str) -> WebhookEvent:
    try:
        whole: Any = json.loads(body.decode())
        data = cast("dict[str, Any]", whole["data"])
        if data["eventId"] != message_id:
            raise ValueError(message_id)
        call_id, seq = data.get("callId"), data.get("seq")
        return WebhookEvent(
            id=message_id,
            type=_text(whole["type"]),
            timestamp=datetime.fromisoformat(whole["timestamp"]),
            tenant_id=_text(data["tenantId"]),
            call_id=call_id if isinstance(call_id, str) else None,
            seq=seq if isinstance(seq, int) else None,
            schema_version=int(data.get("schemaVersion", 1)),
            data=data,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WebhookError("not_an_event", "the body is no event of Invorto") from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _check_age(timestamp: str, tolerance: float, now: float) -> None:
    if not _SECONDS.fullmatch(timestamp):
        raise WebhookError("bad_timestamp", "webhook-timestamp is not in seconds since 1970")
    age = int(now) - int(timestamp)
    if age > tolerance:
        raise WebhookError("too_old", f"the request is {age} s old")
    if age < -tolerance:
        raise WebhookError("too_new", f"the request is from {-age} s in the future: are the clocks right?")


def _header(headers: HeadersLike, name: str) -> str:
    found = [value for key, value in headers.items() if key.lower() == name]
    if len(found) != 1 or not found[0]:
        raise WebhookError("missing_header", f"expected the header {name}, once")
    return found[0]


def _keys(secret: str) -> list[bytes]:
    """Give what a secret stands for: ``whsec_`` and base64; other texts are their own bytes, or base64 too."""
    decoded = b""
    with contextlib.suppress(binascii.Error, ValueError):
        decoded = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    own = [] if secret.startswith("whsec_") else [secret.encode()]
    keys = [key for key in (*own, decoded) if key]
    if not keys:
        raise WebhookError("bad_secret", "the secret is not whsec_ and base64")
    return keys


def _raw(body: Body) -> bytes:
    if isinstance(body, str):
        return body.encode()
    if not isinstance(body, bytes | bytearray | memoryview):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("the body must be raw: text or bytes as they came, not parsed")
    return bytes(body)
