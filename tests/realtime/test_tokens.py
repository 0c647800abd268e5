"""A browser's token says what it may do, and nobody but us can write one."""

from __future__ import annotations

import base64
import hmac
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import Invalid, Unauthorized, UsageError
from invorto.realtime.protocol import CLIENT_KINDS
from invorto.realtime.tokens import DEFAULT_ALLOW, MAX_TOKEN, PREFIX, Grant, allowed, mint, verify
from invorto.subkeys import SecretKeys


def keys(*seeds: bytes) -> SecretKeys:
    """Make the installation's keys."""
    return SecretKeys.parse([base64.b64encode(seed * 32).decode() for seed in seeds])


KEYS = keys(b"a")
GRANT = Grant(tenant_id="t_1", call_id="c_1", agent_id="a_1", key_id="k_1", expires_at=1_733_000_300)


def test_a_token_gives_back_what_was_granted():
    """Tenant, call, agent, key, expiry and allowed messages come through unchanged."""
    assert verify(KEYS, mint(KEYS, GRANT)) == GRANT
    assert GRANT.allow == {"audio", "text", "mark", "tool.result", "pause", "resume", "end"}
    more = Grant(tenant_id="t", call_id="c", agent_id="ä", key_id=None, expires_at=0, allow=frozenset({"config"}))
    assert verify(KEYS, mint(KEYS, more)) == more


def test_a_token_can_be_a_subprotocol():
    """Browsers send it as a subprotocol, so it is made of the characters that RFC 9110 allows there."""
    longest = Grant(
        tenant_id="t_" + "0" * 32, call_id="c" * 64, agent_id="a_" + "0" * 32, key_id="k_" + "0" * 32,
        expires_at=2**40, allow=CLIENT_KINDS,
    )  # fmt: skip
    for grant in (GRANT, longest):
        token = mint(KEYS, grant)
        assert re.fullmatch(r"inv_tok_[A-Za-z0-9._-]+", token)
        assert len(token) <= MAX_TOKEN


def test_keys_rotate():
    """The first key signs; tokens of every key that is still listed count, those of others do not."""
    token = mint(keys(b"a"), GRANT)
    assert verify(keys(b"b", b"a"), token) == GRANT
    assert mint(keys(b"b", b"a"), GRANT) == mint(keys(b"b"), GRANT)
    with pytest.raises(Unauthorized):
        verify(keys(b"b"), token)


def test_without_a_key_there_are_no_tokens():
    """An installation without a secret mints none and believes none."""
    with pytest.raises(UsageError, match="INVORTO_SECRET_KEYS"):
        mint(SecretKeys(), GRANT)
    with pytest.raises(Unauthorized):
        verify(SecretKeys(), mint(KEYS, GRANT))


def test_no_changed_token_counts():
    """Each single character matters: signature, content, prefix, and the spare bits of the last one."""
    token = mint(KEYS, GRANT)
    for place in range(len(token)):
        for other in {"A", "B", "_", ".", "=", "\0"} - {token[place]}:
            with pytest.raises(Unauthorized):
                verify(KEYS, token[:place] + other + token[place + 1 :])
    for spoilt in (token + "A", token + "=", " " + token, token[:-1], token.replace(".", ""), token + "." + token):
        with pytest.raises(Unauthorized):
            verify(KEYS, spoilt)


def test_another_version_is_refused():
    """What we signed once in another shape is refused and does not crash."""
    for content in (
        b"[]",
        b"{}",
        b"\xff",
        b'["t","c","a",null,"soon",[]]',
        json.dumps(["t", "c", "a", None, 1, [], 2]).encode(),
    ):
        signed = PREFIX + base64.urlsafe_b64encode(content).decode().rstrip("=")
        mac = hmac.digest(KEYS.newest("browser-tokens"), signed.encode(), "sha256")
        with pytest.raises(Unauthorized):
            verify(KEYS, f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}")


@given(st.text(st.characters(exclude_categories=())) | st.text().map(lambda text: PREFIX + text))
def test_garbage_is_nobody(text):
    """Whatever is shown as a token is refused and nothing else."""
    with pytest.raises(Unauthorized):
        verify(KEYS, text)


def test_what_a_token_may_allow():
    """A token allows messages that there are; the default leaves out what costs money or changes the agent."""
    assert allowed(["config", "end", "end"]) == {"config", "end"}
    assert allowed([]) == frozenset()
    with pytest.raises(Invalid) as error:
        allowed(["audio", "everything", ""])
    assert [fault.path for fault in error.value.faults] == ["$.allow[1]", "$.allow[2]"]
    assert DEFAULT_ALLOW <= CLIENT_KINDS
    assert not DEFAULT_ALLOW & {"config", "transfer", "dtmf.send"}
