"""JSON Web Tokens of an identity provider: RS256 alone, for us, for a day at most."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import attrs
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from invorto.errors import Invalid, Unauthorized
from invorto.realtime.tokens import allowed

AUDIENCE = "invorto"
MAX_JWT = 8192
"""Characters."""
MAX_LIFE = 24 * 3600
"""Seconds from now to `exp`."""
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SUBJECT = re.compile(r"[A-Za-z0-9_.@:|+-]{1,128}")
SKEW = 60
"""Seconds that the provider's clock may be ahead of ours."""


@attrs.frozen(kw_only=True)
class Claims:
    """What a token says about its bearer."""

    tenant: str
    role: Literal["operator", "admin", "dev", "analyst"]
    subject: str | None = None
    """Whom the provider names, as far as that can stand in a log."""
    agent_id: str | None = None
    call_id: str | None = None
    allow: frozenset[str] | None = None
    """Messages that the bearer may send; None: what browsers may."""


class _Body(msgspec.Struct, rename="camel"):
    tenant: str
    role: Literal["operator", "admin", "dev", "analyst"]
    exp: float
    nbf: float | None = None
    sub: str | None = None
    agent_id: str | None = None
    call_id: str | None = None
    allow: list[str] | None = None


def read_jwt(text: str, key: RSAPublicKey, now: float) -> Claims:
    """Read a token at Unix time *now*; `Unauthorized` for anything that does not hold, in words without its content."""
    if len(text) > MAX_JWT:
        raise Unauthorized("the JWT is too long")
    try:
        claims: dict[str, Any] = jwt.decode(
            text,
            key,
            algorithms=["RS256"],
            audience=AUDIENCE,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        body = msgspec.convert(claims, _Body)
        allow = None if body.allow is None else allowed(body.allow)
    except (jwt.PyJWTError, msgspec.ValidationError, Invalid, ValueError, TypeError, RecursionError) as error:
        raise Unauthorized(f"the JWT does not hold ({type(error).__name__})") from None
    if not (math.isfinite(body.exp) and now < body.exp <= now + MAX_LIFE + SKEW):
        raise Unauthorized("the JWT has expired, or lives longer than a day")
    if body.nbf is not None and not body.nbf <= now + SKEW:
        raise Unauthorized("the JWT does not hold yet")
    if not _TENANT.fullmatch(body.tenant):
        raise Unauthorized("the JWT names no tenant")
    return Claims(
        tenant=body.tenant,
        role=body.role,
        subject=body.sub if body.sub and _SUBJECT.fullmatch(body.sub) else None,
        agent_id=body.agent_id or None,
        call_id=body.call_id or None,
        allow=allow,
    )
