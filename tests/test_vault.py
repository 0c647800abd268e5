"""What is sealed opens with the installation's keys, for its purpose and in its place, and nowhere else."""

from __future__ import annotations

import base64

import pytest

from invorto.errors import UsageError
from invorto.subkeys import SecretKeys
from invorto.vault import Vault

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def vault(*keys: str) -> Vault:
    """Open a vault."""
    return Vault(SecretKeys.parse(keys))


def test_what_is_sealed_opens() -> None:
    """The same text sealed twice looks different, says nothing of itself, and comes back whole."""
    ours = vault(NEW)
    sealed = [ours.seal("webhook-secrets", b"whsec_1", bound="wh_1") for _ in range(2)]
    assert sealed[0] != sealed[1]
    assert all(b"whsec" not in each for each in sealed)
    assert [ours.unseal("webhook-secrets", each, bound="wh_1") for each in sealed] == [b"whsec_1"] * 2


def test_it_opens_nowhere_else() -> None:
    """Neither for another row, nor for another purpose, nor with another key, nor when a bit of it has changed."""
    ours = vault(NEW)
    sealed = ours.seal("webhook-secrets", b"x", bound="wh_1")
    with pytest.raises(UsageError):
        ours.unseal("webhook-secrets", sealed, bound="wh_2")
    with pytest.raises(UsageError):
        ours.unseal("tool-secrets", sealed, bound="wh_1")
    with pytest.raises(UsageError):
        vault(OLD).unseal("webhook-secrets", sealed, bound="wh_1")
    for place in range(len(sealed)):
        with pytest.raises(UsageError):
            ours.unseal(
                "webhook-secrets", sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :], bound="wh_1"
            )
    with pytest.raises(UsageError):
        ours.unseal("webhook-secrets", b"", bound="wh_1")


def test_rotated_keys_open_what_is_old() -> None:
    """After a new key is put in front, old secrets open and are known to be stale."""
    sealed = vault(OLD).seal("webhook-secrets", b"x", bound="a")
    rotated = vault(NEW, OLD)
    assert rotated.unseal("webhook-secrets", sealed, bound="a") == b"x"
    assert rotated.stale("webhook-secrets", sealed, bound="a")
    assert not rotated.stale("webhook-secrets", rotated.seal("webhook-secrets", b"x", bound="a"), bound="a")


def test_without_keys_nothing_is_sealed() -> None:
    """An installation without keys says which setting it needs."""
    assert not vault()
    with pytest.raises(UsageError, match="INVORTO_SECRET_KEYS"):
        vault().seal("webhook-secrets", b"x", bound="a")
