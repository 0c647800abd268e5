"""Links that are good for one file of one call, for a while: signed with a key of the installation's (pure)."""

from __future__ import annotations

import base64
import hmac

from invorto.errors import Forbidden
from invorto.subkeys import SecretKeys

LIFE = 900
"""Seconds that a link is good for."""


def sign(keys: SecretKeys, call_id: str, name: str, expires: int) -> str:
    """Sign a link that is good until Unix second *expires*; `UsageError` where the installation has no key."""
    return _signature(keys.newest("artefacts"), call_id, name, expires)


def check(keys: SecretKeys, call_id: str, name: str, expires: int, *, signature: str, now: float) -> None:
    """Raise `Forbidden` unless one of our keys signed the link, and it has not run out at Unix time *now*."""
    shown = signature.encode("utf-8", "surrogatepass")
    good = [
        hmac.compare_digest(_signature(key, call_id, name, expires).encode(), shown) for key in keys.every("artefacts")
    ]
    if not any(good) or now >= expires:
        raise Forbidden("this link is not good, or not any more: ask for the call's artifacts again")


def _signature(key: bytes, call_id: str, name: str, expires: int) -> str:
    signed = hmac.digest(key, f"{expires}/{call_id}/{name}".encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(signed).decode().rstrip("=")
