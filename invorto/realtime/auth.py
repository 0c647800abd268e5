"""Who is at the door of a voice socket: of all the ways to say it, the first that is used decides."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from datetime import datetime
from typing import Literal, Protocol, Self

import attrs
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from invorto.config import Config
from invorto.errors import PeerError, Unauthorized, UsageError
from invorto.realtime import tokens
from invorto.realtime.bearer import Claims, read_jwt
from invorto.realtime.handshake import Handshake
from invorto.realtime.head import Request
from invorto.realtime.protocol import CLIENT_KINDS, SUBPROTOCOL
from invorto.subkeys import SecretKeys

log = structlog.get_logger(__name__)

type Role = Literal["operator", "admin", "dev", "analyst"]
type Way = Literal["subprotocol", "bearer", "token", "api_key", "sig"]

MAX_KEY = 256
"""Characters of an API key: what is longer is not looked up."""
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
_TS = re.compile(r"[0-9]{1,12}")
_salt = os.urandom(16)


class KnownKey(Protocol):
    """An API key as it is kept."""

    @property
    def id(self) -> str:
        """Its ``k_…``."""
        ...

    @property
    def tenant_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def role(self) -> Role:
        """What it may do."""
        ...

    @property
    def revoked_at(self) -> datetime | None:
        """None while it counts."""
        ...


class Keys(Protocol):
    """Where API keys are looked up; `StoreUnavailable` when they cannot be."""

    async def find(self, key: str) -> KnownKey | None:
        """Look up a key by itself, hashed."""
        ...

    async def get(self, tenant_id: str, key_id: str) -> KnownKey | None:
        """Look up a tenant's key by its id, as a token names it."""
        ...


@attrs.frozen(kw_only=True)
class Trust:
    """What the installation trusts besides the keys in its store."""

    default_tenant: str
    secret_keys: SecretKeys = attrs.field(factory=SecretKeys)
    static_key: str | None = attrs.field(default=None, repr=False)
    """`REALTIME_API_KEY`: a key of the default tenant, as the original had."""
    ws_secret: str | None = attrs.field(default=None, repr=False)
    ws_ttl: int = 60
    """Seconds that a signed URL is good for, before and after its `ts`."""
    jwt_key: RSAPublicKey | None = None

    @classmethod
    def of(cls, config: Config, default_tenant: str) -> Self:
        """Take what the settings say; `UsageError` for a key that is none."""
        secrets = config.secrets
        return cls(
            default_tenant=default_tenant,
            secret_keys=SecretKeys.parse(secrets.secret_keys),
            static_key=secrets.realtime_api_key,
            ws_secret=secrets.realtime_ws_secret,
            ws_ttl=secrets.realtime_ws_ttl,
            jwt_key=_public_key(secrets.jwt_public_key) if secrets.jwt_public_key else None,
        )


@attrs.frozen(kw_only=True)
class Credential:
    """Somebody we know, and what they may do on a voice socket. Holds no secret."""

    tenant_id: str
    role: Role
    way: Way
    fingerprint: str
    """The same for the same secret, within this process; nothing of the secret follows from it."""
    key_id: str | None = None
    """The API key it hangs on: revoking that ends it."""
    call_id: str | None = None
    """The only call it is good for; None: any of the tenant's."""
    agent_id: str | None = None
    """The only agent it is good for, by id or name; None: any of the tenant's."""
    allow: frozenset[str] = CLIENT_KINDS
    """Messages that it may send."""
    expired: bool = False
    """Good for coming back to a call that lives, and for nothing else."""


@attrs.frozen
class Shown:
    """What somebody showed, and in which way."""

    way: Way
    secret: str = attrs.field(repr=False)


def choose_subprotocol(request: Request) -> str | None:
    """
    Choose what to select of the subprotocols that were offered.

    ``invorto.v1`` where it is there; else the first, which is the key of the original's clients: browsers fail a
    handshake whose offers are all ignored.
    """
    offered = request.subprotocols
    return SUBPROTOCOL if SUBPROTOCOL in offered else next(iter(offered), None)


def shown(request: Request) -> Shown | None:
    """Find the first credential that is there; one without a value is not."""
    for offered in request.subprotocols:
        if offered and offered != SUBPROTOCOL:
            return Shown("subprotocol", offered)
    if bearer := _BEARER.fullmatch(request.headers.get("authorization", "").strip()):
        return Shown("bearer", bearer[1])
    for way in ("token", "api_key", "sig"):
        if value := request.query.get(way):
            return Shown(way, value)
    return None


async def authenticate(request: Request, handshake: Handshake, trust: Trust, keys: Keys, now: float) -> Credential:
    """
    Tell who is there at Unix time *now*; `PeerError` 4003 ``unauthorized`` for nobody we know.

    What the credential is bound to is compared with the call only where the call is known to be it; with the agent by
    the caller, who knows the agent's names. Why somebody is refused goes to the log, never to them.
    """
    offer = shown(request)
    try:
        if offer is None:
            raise Unauthorized("nothing was shown")
        match offer.way:
            case "sig":
                credential = _signed(offer, request.query.get("ts", ""), handshake, trust, now)
            case "token":
                credential = await _token(offer, trust, keys, now)
            case "api_key":
                credential = await _key(offer, trust, keys)
            case "subprotocol" | "bearer" if offer.secret.startswith(tokens.PREFIX):
                credential = await _token(offer, trust, keys, now)
            case "bearer" if offer.secret.count(".") == 2:
                credential = _jwt(offer, trust, now)
            case _:
                credential = await _key(offer, trust, keys)
        if credential.role == "analyst":
            raise Unauthorized("analysts only read")
        if credential.call_id not in {None, handshake.call_id}:
            raise Unauthorized("it is for another call")
    except Unauthorized as error:
        log.info("unauthorized", call_id=handshake.call_id, way=offer.way if offer else None, why=str(error))
        raise PeerError(4003, "unauthorized") from None
    return credential


async def _key(offer: Shown, trust: Trust, keys: Keys) -> Credential:
    if trust.static_key and _same(trust.static_key, offer.secret):
        return Credential(
            tenant_id=trust.default_tenant, role="dev", way=offer.way, fingerprint=_fingerprint(offer.secret)
        )
    if len(offer.secret) > MAX_KEY:
        raise Unauthorized("the key is too long")
    known = await keys.find(offer.secret)
    if known is None or known.revoked_at is not None:
        raise Unauthorized("the key is not known" if known is None else "the key is revoked")
    return Credential(
        tenant_id=known.tenant_id,
        role=known.role,
        way=offer.way,
        key_id=known.id,
        fingerprint=_fingerprint(offer.secret),
    )


async def _token(offer: Shown, trust: Trust, keys: Keys, now: float) -> Credential:
    grant = tokens.verify(trust.secret_keys, offer.secret)
    if grant.key_id is not None:
        minted_with = await keys.get(grant.tenant_id, grant.key_id)
        if minted_with is None or minted_with.revoked_at is not None:
            raise Unauthorized("the key that the token was made with is gone")
    return Credential(
        tenant_id=grant.tenant_id,
        role="dev",
        way=offer.way,
        key_id=grant.key_id,
        call_id=grant.call_id,
        agent_id=grant.agent_id,
        allow=grant.allow | tokens.ALWAYS,
        expired=now >= grant.expires_at,
        fingerprint=_fingerprint(offer.secret),
    )


def _jwt(offer: Shown, trust: Trust, now: float) -> Credential:
    if trust.jwt_key is None:
        raise Unauthorized("JWT_PUBLIC_KEY is not set")
    claims: Claims = read_jwt(offer.secret, trust.jwt_key, now)
    return Credential(
        tenant_id=claims.tenant,
        role=claims.role,
        way=offer.way,
        call_id=claims.call_id,
        agent_id=claims.agent_id,
        allow=(tokens.DEFAULT_ALLOW if claims.allow is None else claims.allow) | tokens.ALWAYS,
        fingerprint=_fingerprint(offer.secret),
    )


def _signed(offer: Shown, ts: str, handshake: Handshake, trust: Trust, now: float) -> Credential:
    if not trust.ws_secret:
        raise Unauthorized("REALTIME_WS_SECRET is not set")
    if not _TS.fullmatch(ts):
        raise Unauthorized("`ts` is not a Unix time in seconds")
    given = offer.secret.lower()
    of_call = _same(_hmac(trust.ws_secret, f"{handshake.call_id}:{ts}"), given)
    of_agent = _same(_hmac(trust.ws_secret, f"{handshake.call_id}:{handshake.agent}:{ts}"), given)
    of_agent = of_agent and handshake.agent is not None
    if not (of_call or of_agent):
        raise Unauthorized("the signature does not match")
    if abs(now - int(ts)) > trust.ws_ttl:
        raise Unauthorized("the signature is too old, or from the future")
    return Credential(
        tenant_id=trust.default_tenant,
        role="dev",
        way="sig",
        call_id=handshake.call_id,
        agent_id=handshake.agent if of_agent else None,
        allow=tokens.DEFAULT_ALLOW | tokens.ALWAYS,
        fingerprint=_fingerprint(given),
    )


def _same(secret: str, given: str) -> bool:
    return hmac.compare_digest(_raw(secret), _raw(given))


def _hmac(secret: str, message: str) -> str:
    return hmac.digest(_raw(secret), _raw(message), "sha256").hex()


def _fingerprint(secret: str) -> str:
    return hashlib.blake2b(_raw(secret), key=_salt, digest_size=12).hexdigest()


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _public_key(pem: str) -> RSAPublicKey:
    try:
        key = load_pem_public_key(pem.replace("\\n", "\n").encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPublicKey):
        raise UsageError("JWT_PUBLIC_KEY: expected the PEM of an RSA public key")
    return key
