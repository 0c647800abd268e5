"""Short-lived tokens for browsers: nothing is stored, the token says everything, the installation's key signs it."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable

import attrs
import msgspec

from invorto.errors import Fault, Invalid, Unauthorized
from invorto.realtime.protocol import CLIENT_KINDS
from invorto.subkeys import SecretKeys

PREFIX = "inv_tok_"
MAX_TOKEN = 2048
"""Characters; the longest grant there can be takes about a thousand."""
DEFAULT_ALLOW = frozenset({"audio", "text", "mark", "tool.result", "pause", "resume", "end"})
"""What a browser may send unless the one who mints its token says otherwise."""
ALWAYS = frozenset({"start", "ping", "pong"})
"""What every socket may send, since it could not hold a conversation otherwise."""


@attrs.frozen(kw_only=True)
class Grant:
    """What a token lets its bearer do: one call, one agent, some messages."""

    tenant_id: str
    call_id: str
    agent_id: str
    key_id: str | None
    """The key it was minted with, and which it is revoked with; None for the installation's static key."""
    expires_at: int
    """Unix seconds; bounds the first handshake."""
    allow: frozenset[str] = DEFAULT_ALLOW


class _Body(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    tenant_id: str
    call_id: str
    agent_id: str
    key_id: str | None
    expires_at: int
    allow: list[str]


def allowed(names: Iterable[str], path: str = "$.allow") -> frozenset[str]:
    """Check names of messages that a token is to allow; `Invalid` lists those that there are not."""
    wanted = list(names)
    faults = [
        Fault(f"{path}[{place}]", "there is no such message") for place, name in enumerate(wanted)
        if name not in CLIENT_KINDS
    ]  # fmt: skip
    if faults:
        raise Invalid("; ".join(f"{fault.path}: {fault.message}" for fault in faults), faults)
    return frozenset(wanted)


def mint(keys: SecretKeys, grant: Grant) -> str:
    """Write a token, of characters that a subprotocol may have; `UsageError` where the installation has no key."""
    body = _Body(
        grant.tenant_id, grant.call_id, grant.agent_id, grant.key_id, grant.expires_at, sorted(grant.allow)
    )  # fmt: skip
    signed = PREFIX + _text(msgspec.json.encode(body))
    return f"{signed}.{_signature(keys.newest('browser-tokens'), signed)}"


def verify(keys: SecretKeys, token: str) -> Grant:
    """Read a token that one of our keys signed; `Unauthorized` for anything else. The caller judges its expiry."""
    if len(token) > MAX_TOKEN:
        raise Unauthorized("the token is too long")
    signed, _, signature = token.rpartition(".")
    shown = signature.encode("utf-8", "surrogatepass")
    good = [
        hmac.compare_digest(_signature(key, signed).encode(), shown) for key in keys.every("browser-tokens")
    ]  # fmt: skip
    if not any(good):
        raise Unauthorized("the token is not ours")
    try:
        body = msgspec.json.decode(_bytes(signed.removeprefix(PREFIX)), type=_Body)
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Unauthorized("the token is of another version") from None
    return Grant(
        tenant_id=body.tenant_id,
        call_id=body.call_id,
        agent_id=body.agent_id,
        key_id=body.key_id,
        expires_at=body.expires_at,
        allow=frozenset(body.allow),
    )


def _signature(key: bytes, signed: str) -> str:
    return _text(hmac.digest(key, signed.encode("utf-8", "surrogatepass"), "sha256"))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
