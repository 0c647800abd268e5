"""All ways of saying who one is, their order, and each way of failing: one answer for all, and no secret in a log."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from typing import Any

import attrs
import jwt
import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from invorto import config
from invorto.errors import PeerError, StoreUnavailable, Unauthorized, UsageError
from invorto.realtime import tokens
from invorto.realtime.auth import Credential, Trust, authenticate, choose_subprotocol, shown
from invorto.realtime.bearer import read_jwt
from invorto.realtime.handshake import read_handshake
from invorto.realtime.protocol import CLIENT_KINDS
from invorto.realtime.tokens import DEFAULT_ALLOW, Grant
from invorto.subkeys import SecretKeys
from tests.realtime.doors import NOW, FakeKeys, keys, request

PRIVATE = rsa.generate_private_key(65537, 2048)
FOREIGN = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
type How = dict[str, Any]

TRUST = Trust(
    default_tenant="t_default",
    secret_keys=SecretKeys.parse([base64.b64encode(b"s" * 32).decode()]),
    static_key="static-key-of-old",
    ws_secret="ws-secret",
    jwt_key=PRIVATE.public_key(),
)
BROWSER = DEFAULT_ALLOW | {"start", "ping", "pong"}
GRANT = Grant(tenant_id="t_1", call_id="c_1", agent_id="a_1", key_id="k_dev", expires_at=int(NOW) + 60)
CLAIMS: dict[str, Any] = {"aud": "invorto", "exp": NOW + 3600, "tenant": "t_9", "role": "dev"}


def token(**changes: Any) -> str:
    """Mint a browser's token."""
    return tokens.mint(TRUST.secret_keys, attrs.evolve(GRANT, **changes))


def signed(claims: dict[str, Any], key: Any = PRIVATE, algorithm: str = "RS256", **headers: Any) -> str:
    """Write a JWT."""
    return jwt.encode(claims, key, algorithm, headers=headers or None)


def sig(message: str, secret: str = "ws-secret") -> str:
    """Sign a URL."""
    return hmac.new(secret.encode(), message.encode(), hashlib.sha256).hexdigest()


async def who(query: Any = "callId=c_1", trust: Trust = TRUST, store: FakeKeys | None = None, **how: Any) -> Credential:
    """Show something at the door."""
    asked = request(query, **how)
    return await authenticate(asked, read_handshake(asked), trust, store or keys(), NOW)


async def refused(query: Any = "callId=c_1", **how: Any) -> None:
    """See that what is shown is nobody's."""
    with pytest.raises(PeerError) as error:
        await who(query, **how)
    assert (error.value.close_code, error.value.reason) == (4003, "unauthorized")
    assert error.value.__cause__ is None


# -- each way in ----------------------------------------------------------------------------------


async def test_a_key_as_subprotocol():
    """Ours offers the protocol and the key, the original's clients the key alone; each gets what browsers need."""
    for offered, selected in (
        (["invorto.v1", "inv_live_dev"], "invorto.v1"),
        (["inv_live_dev", "invorto.v1"], "invorto.v1"),
        (["inv_live_dev"], "inv_live_dev"),
    ):
        credential = await who(subprotocols=offered)
        assert (credential.tenant_id, credential.role, credential.key_id) == ("t_1", "dev", "k_dev")
        assert (credential.way, credential.allow, credential.call_id) == ("subprotocol", CLIENT_KINDS, None)
        assert choose_subprotocol(request(subprotocols=offered)) == selected


def test_the_protocol_alone_is_selected_and_shows_nothing():
    """`invorto.v1` alone is no credential; nothing offered, nothing selected."""
    assert choose_subprotocol(request(subprotocols=["invorto.v1"])) == "invorto.v1"
    assert shown(request(subprotocols=["invorto.v1"])) is None
    assert choose_subprotocol(request()) is None


async def test_a_key_as_bearer_and_in_the_query():
    """The other two ways of a key mean the same."""
    ways: list[How] = [
        {"authorization": "Bearer inv_live_admin"},
        {"authorization": "bearer   inv_live_admin "},
        {"query": "callId=c_1&api_key=inv_live_admin"},
    ]
    for how in ways:
        credential = await who(**how)
        assert (credential.tenant_id, credential.role, credential.key_id) == ("t_1", "admin", "k_admin")
        assert credential.allow == CLIENT_KINDS


async def test_a_token_in_each_way():
    """A browser's token counts as subprotocol, as bearer and in the query, and brings its bounds."""
    text = token()
    ways: dict[str, How] = {
        "subprotocol": {"subprotocols": ["invorto.v1", text]},
        "bearer": {"authorization": f"Bearer {text}"},
        "token": {"query": f"callId=c_1&token={text}"},
    }
    for way, how in ways.items():
        credential = await who(**how)
        assert attrs.asdict(credential) == {
            "tenant_id": "t_1", "role": "dev", "way": way, "key_id": "k_dev", "call_id": "c_1", "agent_id": "a_1",
            "allow": BROWSER, "expired": False, "fingerprint": credential.fingerprint,
        }  # fmt: skip
    more = await who(subprotocols=[token(allow=frozenset({"config"}))])
    assert more.allow == {"config", "start", "ping", "pong"}


async def test_an_expired_token_is_known_as_such():
    """Its expiry bounds the first handshake only, so whoever knows the call decides."""
    assert not (await who(subprotocols=[token(expires_at=int(NOW) + 1)])).expired
    assert (await who(subprotocols=[token(expires_at=int(NOW))])).expired


async def test_a_token_of_the_static_key_hangs_on_no_key():
    """An installation without stored keys can mint tokens, too."""
    assert (await who(subprotocols=[token(key_id=None, tenant_id="t_default")])).key_id is None


async def test_the_static_key_of_the_original():
    """`REALTIME_API_KEY` opens sockets of the default tenant in each way of a key, without a look-up."""
    ways: list[How] = [
        {"subprotocols": ["static-key-of-old"]},
        {"authorization": "Bearer static-key-of-old"},
        {"query": "callId=c_1&api_key=static-key-of-old"},
    ]
    for how in ways:
        store = keys()
        credential = await who(store=store, **how)
        assert (credential.tenant_id, credential.role, credential.key_id) == ("t_default", "dev", None)
        assert store.asked == []


async def test_a_jwt():
    """A JWT brings its tenant, role and bounds; it may do what browsers may unless it says more."""
    plain = await who(authorization=f"Bearer {signed(CLAIMS)}")
    assert (plain.tenant_id, plain.role, plain.way, plain.key_id) == ("t_9", "dev", "bearer", None)
    assert (plain.allow, plain.agent_id, plain.call_id) == (BROWSER, None, None)
    bound = signed(
        CLAIMS | {"role": "admin", "agentId": "a_7", "callId": "c_1", "allow": ["transfer"], "aud": ["x", "invorto"]}
    )
    credential = await who(authorization=f"Bearer {bound}")
    assert (credential.role, credential.agent_id, credential.call_id) == ("admin", "a_7", "c_1")
    assert credential.allow == {"transfer", "start", "ping", "pong"}


async def test_a_signed_url():
    """A URL signed for the call, or for call and agent, opens a socket of the default tenant."""
    ts = int(NOW)
    old = await who(f"callId=c_1&agentId=a_1&sig={sig(f'c_1:{ts}')}&ts={ts}")
    new = await who(f"callId=c_1&agentId=a_1&sig={sig(f'c_1:a_1:{ts}').upper()}&ts={ts}")
    assert (old.tenant_id, old.role, old.way, old.call_id) == ("t_default", "dev", "sig", "c_1")
    assert (old.agent_id, new.agent_id) == (None, "a_1")
    assert old.allow == new.allow == BROWSER
    for ts in (int(NOW) - 60, int(NOW) + 60):
        assert await who(f"callId=c_1&sig={sig(f'c_1:{ts}')}&ts={ts}")


# -- the order ------------------------------------------------------------------------------------

TS = int(NOW)
WAYS = [
    ("subprotocol", {"subprotocols": ["invorto.v1", "inv_live_dev"]}, {"subprotocols": ["wrong"]}),
    ("bearer", {"authorization": "Bearer inv_live_admin"}, {"authorization": "Bearer wrong"}),
    ("token", {"token": token()}, {"token": "wrong"}),
    ("api_key", {"api_key": "inv_live_operator"}, {"api_key": "wrong"}),
    ("sig", {"sig": sig(f"c_1:{TS}"), "ts": str(TS)}, {"sig": "wrong", "ts": str(TS)}),
]


@pytest.mark.parametrize("first", range(len(WAYS)), ids=[way for way, _, _ in WAYS])
async def test_the_first_that_is_there_decides(first):
    """Of several credentials the first counts, right or wrong; the others are not looked at."""

    def asked(places: dict[int, dict[str, Any]]) -> dict[str, Any]:
        merged: dict[str, Any] = {"query": {"callId": "c_1"}}
        for how in places.values():
            for name, value in how.items():
                if name in {"subprotocols", "authorization"}:
                    merged[name] = value
                else:
                    merged["query"][name] = value
        return merged

    later = range(first + 1, len(WAYS))
    credential = await who(**asked({first: WAYS[first][1]} | {place: WAYS[place][2] for place in later}))
    assert credential.way == WAYS[first][0]
    await refused(**asked({first: WAYS[first][2]} | {place: WAYS[place][1] for place in later}))


async def test_what_is_empty_is_not_there():
    """A client that adds its parameters without values is asked for the next credential."""
    credential = await who(
        "callId=c_1&token=&api_key=inv_live_dev", subprotocols=["invorto.v1"], authorization="Bearer "
    )
    assert credential.way == "api_key"
    basic = await who("callId=c_1&api_key=inv_live_dev", authorization="Basic aW52OnY=")
    assert basic.way == "api_key"


# -- each way of failing --------------------------------------------------------------------------

BAD_TOKENS = {
    "garbage": "inv_tok_garbage",
    "foreign": tokens.mint(SecretKeys.parse([base64.b64encode(b"x" * 32).decode()]), GRANT),
    "other call": token(call_id="c_2"),
    "key gone": token(key_id="k_none"),
    "key revoked": token(key_id="k_revoked"),
    "key of another tenant": token(key_id="k_other"),
    "no token": "inv_live_dev",
}


@pytest.mark.parametrize("why", BAD_TOKENS)
async def test_bad_tokens(why):
    """A token that is foreign, for another call, or whose key is gone, opens nothing."""
    await refused({"callId": "c_1", "token": BAD_TOKENS[why]})
    if why != "no token":
        await refused(subprotocols=["invorto.v1", BAD_TOKENS[why]])
        await refused(authorization=f"Bearer {BAD_TOKENS[why]}")


NO_KEYS = ["inv_live_nobody", "inv_live_revoked", "inv_live_analyst", "x", "static-key-of-ol", "é" * 20, "k" * 10_000]


@pytest.mark.parametrize("key", NO_KEYS, ids=[k[:20].encode("ascii", "replace").decode() for k in NO_KEYS])
async def test_bad_keys(key):
    """Unknown, revoked and endless keys open nothing, nor does a key that may only read."""
    await refused(subprotocols=["invorto.v1", key])
    await refused(authorization=f"Bearer {key}")
    await refused({"callId": "c_1", "api_key": key})


async def test_an_endless_key_is_not_looked_up():
    """The store is not asked for what cannot be a key."""
    store = keys()
    await refused(subprotocols=["k" * 10_000], store=store)
    assert store.asked == []


async def test_nothing_shown():
    """Without a credential nobody comes in."""
    await refused()
    await refused(subprotocols=["invorto.v1"])
    await refused(authorization="Bearer")
    await refused(f"callId=c_1&ts={TS}")


def without(name: str) -> dict[str, Any]:
    """Leave a claim out."""
    return {key: value for key, value in CLAIMS.items() if key != name}


def forged(header: str, claims: str = "e30", signature: str = "") -> str:
    """Put a JWT together by hand."""
    return f"{base64.urlsafe_b64encode(header.encode()).decode().rstrip('=')}.{claims}.{signature}"


BAD_JWTS = {
    "expired": signed(CLAIMS | {"exp": NOW}),
    "more than a day": signed(CLAIMS | {"exp": NOW + 24 * 3600 + 61}),
    "endless": signed(CLAIMS | {"exp": 1e300}),
    "infinite": signed(CLAIMS | {"exp": float("inf")}),
    "no number": signed(CLAIMS | {"exp": float("nan")}),
    "exp is text": signed(CLAIMS | {"exp": str(NOW + 60)}),
    "exp is true": signed(CLAIMS | {"exp": True}),
    "without exp": signed(without("exp")),
    "without aud": signed(without("aud")),
    "other aud": signed(CLAIMS | {"aud": "other"}),
    "without tenant": signed(without("tenant")),
    "empty tenant": signed(CLAIMS | {"tenant": ""}),
    "strange tenant": signed(CLAIMS | {"tenant": "t\0"}),
    "broken tenant": signed(CLAIMS | {"tenant": "t\ud800"}),
    "tenant is a number": signed(CLAIMS | {"tenant": 1}),
    "without role": signed(without("role")),
    "unknown role": signed(CLAIMS | {"role": "root"}),
    "analyst": signed(CLAIMS | {"role": "analyst"}),
    "not yet": signed(CLAIMS | {"nbf": NOW + 120}),
    "other call": signed(CLAIMS | {"callId": "c_2"}),
    "unknown allow": signed(CLAIMS | {"allow": ["everything"]}),
    "allow is text": signed(CLAIMS | {"allow": "audio"}),
    "foreign key": signed(CLAIMS, FOREIGN),
    "hs256 with the public key": f"{forged('{"alg":"HS256","typ":"JWT"}')}",
    "none": forged('{"alg":"none"}'),
    "rs512": signed(CLAIMS, algorithm="RS512"),
    "ps256": signed(CLAIMS, algorithm="PS256"),
    "es256": signed(CLAIMS, ec.generate_private_key(ec.SECP256R1()), "ES256"),
    "crit": signed(CLAIMS, crit=["x"], x=1),
    "cut": signed(CLAIMS)[:-10],
    "swapped": ".".join([*signed(CLAIMS).split(".")[:2], signed(CLAIMS | {"role": "admin"}).split(".")[2]]),
    "too long": signed(CLAIMS | {"x": "y" * 8192}),
    "dots": "..",
    "deep": forged("[" * 3000, "[" * 3000, "AAAA"),
    "no header": forged("1"),
}


@pytest.mark.parametrize("why", BAD_JWTS)
async def test_bad_jwts(why):
    """RS256 by the known key, for us, for at most a day, for a role that may speak: anything else opens nothing."""
    await refused(authorization=f"Bearer {BAD_JWTS[why]}")


async def test_hs256_signed_with_the_public_key_is_nobody():
    """The public key is public: a token that uses it as a shared secret is forged."""
    header, claims = (part for part in signed(CLAIMS).split(".")[:2])
    header = forged('{"alg":"HS256","typ":"JWT"}').split(".")[0]
    mac = hmac.digest(PEM.encode(), f"{header}.{claims}".encode(), "sha256")
    await refused(authorization=f"Bearer {header}.{claims}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}")


async def test_a_jwt_a_moment_ahead_of_our_clock():
    """The provider's clock may be a minute ahead."""
    ahead = CLAIMS | {"nbf": NOW + 59, "iat": NOW + 59, "exp": NOW + 24 * 3600 + 59}
    assert await who(authorization=f"Bearer {signed(ahead)}")


async def test_a_jwt_without_a_key_to_check_it():
    """Where `JWT_PUBLIC_KEY` is not set no JWT counts."""
    await refused(authorization=f"Bearer {signed(CLAIMS)}", trust=attrs.evolve(TRUST, jwt_key=None))


@given(st.text(), st.text(), st.text())
def test_any_three_parts_are_a_jwt_that_does_not_hold(header, claims, signature):
    """Garbage between dots is refused and nothing else."""
    parts = [base64.urlsafe_b64encode(part.encode("utf-8", "ignore")).decode().rstrip("=") for part in (header, claims)]
    for text in (f"{header}.{claims}.{signature}", ".".join([*parts, "AAAA"])):
        with pytest.raises(Unauthorized):
            read_jwt(text, PRIVATE.public_key(), NOW)


BAD_SIGNATURES = {
    "wrong": {"sig": "0" * 64, "ts": str(TS)},
    "short": {"sig": sig(f"c_1:{TS}")[:-1], "ts": str(TS)},
    "not ascii": {"sig": "é" * 64, "ts": str(TS)},
    "other call": {"sig": sig(f"c_2:{TS}"), "ts": str(TS)},
    "other secret": {"sig": sig(f"c_1:{TS}", "x"), "ts": str(TS)},
    "other agent": {"sig": sig(f"c_1:a_2:{TS}"), "ts": str(TS), "agentId": "a_1"},
    "no agent": {"sig": sig(f"c_1:None:{TS}"), "ts": str(TS)},
    "too old": {"sig": sig(f"c_1:{TS - 61}"), "ts": str(TS - 61)},
    "too early": {"sig": sig(f"c_1:{TS + 61}"), "ts": str(TS + 61)},
    "without ts": {"sig": sig("c_1:")},
    "ts in ms": {"sig": sig(f"c_1:{TS}000"), "ts": f"{TS}000"},
    "ts with a sign": {"sig": sig(f"c_1:+{TS}"), "ts": f"+{TS}"},
    "ts in other digits": {"sig": sig("c_1:१७"), "ts": "१७"},
    "endless ts": {"sig": sig("c_1:" + "9" * 5000), "ts": "9" * 5000},
    "ts as a float": {"sig": sig(f"c_1:{TS}.0"), "ts": f"{TS}.0"},
}


@pytest.mark.parametrize("why", BAD_SIGNATURES)
async def test_bad_signatures(why):
    """A signature is for one call, one agent where it names one, and a minute on each side."""
    await refused({"callId": "c_1"} | BAD_SIGNATURES[why])


async def test_a_signature_without_a_secret():
    """Where `REALTIME_WS_SECRET` is not set no signature counts, not even one under nothing."""
    for secret in (None, ""):
        message = f"c_1:{TS}"
        empty = {"callId": "c_1", "sig": sig(message, ""), "ts": str(TS)}
        await refused(empty, trust=attrs.evolve(TRUST, ws_secret=secret))


async def test_an_empty_static_key_opens_nothing():
    """A variable that is set to nothing is not set."""
    await refused("callId=c_1&api_key=x", trust=attrs.evolve(TRUST, static_key=""))


async def test_a_store_that_is_away_is_said_as_such():
    """Nobody is called unauthorized because our database is away."""
    with pytest.raises(StoreUnavailable):
        await who(subprotocols=["inv_live_dev"], store=FakeKeys({}, down=StoreUnavailable()))


# -- what is kept to ourselves --------------------------------------------------------------------


async def test_fingerprints_tell_secrets_apart():
    """The same secret has the same fingerprint however it is shown, another one another; neither holds the secret."""
    first = await who(subprotocols=["inv_live_dev"])
    again = await who(authorization="Bearer inv_live_dev")
    other = await who(subprotocols=["inv_live_admin"])
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.fingerprint not in hashlib.sha256(b"inv_live_dev").hexdigest()


async def test_no_secret_is_printed(caplog):
    """Whatever goes wrong, neither log nor repr shows what was shown at the door."""
    secrets: dict[str, How] = {
        "inv_live_nobody_secret": {"subprotocols": ["invorto.v1", "inv_live_nobody_secret"]},
        "inv_tok_secret.secret": {"query": "callId=c_1&token=inv_tok_secret.secret"},
        BAD_JWTS["expired"]: {"authorization": f"Bearer {BAD_JWTS['expired']}"},
        "a1b2c3secret": {"query": f"callId=c_1&sig=a1b2c3secret&ts={TS}"},
    }
    with structlog.testing.capture_logs() as logs, caplog.at_level(logging.DEBUG):
        for secret, how in secrets.items():
            await refused(**how)
            asked = request(**how)
            printed = repr(shown(asked)) + repr(asked) + repr(read_handshake(asked))
            assert secret not in printed
        for text in (
            repr(TRUST),
            repr(await who(subprotocols=["inv_live_dev"])),
            repr(await who(subprotocols=[token()])),
        ):
            assert not any(secret in text for secret in ("static-key", "ws-secret", "inv_live_dev", token(), "ssss"))
    said = repr(logs) + caplog.text
    assert len(logs) == len(secrets)
    assert all(entry["event"] == "unauthorized" and entry["call_id"] == "c_1" and entry["why"] for entry in logs)
    assert not any(secret in said for secret in secrets)


# -- settings -------------------------------------------------------------------------------------


def test_trust_is_made_of_the_settings():
    """The environment's variables arrive, a PEM on one line too."""
    environ = {
        "INVORTO_SECRET_KEYS": base64.b64encode(b"s" * 32).decode(),
        "REALTIME_API_KEY": "static-key-of-old",
        "REALTIME_WS_SECRET": "ws-secret",
        "JWT_PUBLIC_KEY": PEM.replace("\n", "\\n"),
    }
    trust = Trust.of(config.load(environ), "t_default")
    assert trust == attrs.evolve(TRUST, jwt_key=trust.jwt_key)
    assert trust.jwt_key is not None
    assert trust.jwt_key.public_numbers() == PRIVATE.public_key().public_numbers()
    assert Trust.of(config.load({}), "t_default") == Trust(default_tenant="t_default")


EC = ec.generate_private_key(ec.SECP256R1())
NO_PEMS = {
    "garbage": "garbage",
    "elliptic": EC.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    "private": PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    "cut": PEM[:100],
}


@pytest.mark.parametrize("why", NO_PEMS)
def test_a_public_key_that_is_none_stops_the_start(why):
    """A wrong `JWT_PUBLIC_KEY` is a sentence at the start."""
    with pytest.raises(UsageError, match="JWT_PUBLIC_KEY"):
        Trust.of(config.load({"JWT_PUBLIC_KEY": NO_PEMS[why]}), "t_default")
