"""One secret of the installation gives independent keys, and old keys go on reading."""

from __future__ import annotations

import base64

import pytest

from invorto.errors import UsageError
from invorto.subkeys import SecretKeys, subkey

OLD, NEW = base64.b64encode(b"o" * 32).decode(), base64.b64encode(b"\xff" * 32).decode()


def test_purposes_have_keys_of_their_own():
    """What is signed for one purpose is worth nothing for another, nor under another key."""
    purposes = ("carrier-credentials", "webhook-secrets", "tool-secrets", "browser-tokens", "media", "artefacts")
    derived = {subkey(key, purpose) for key in (b"o" * 32, b"n" * 32) for purpose in purposes}
    assert len(derived) == 12
    assert {len(key) for key in derived} == {32}


def test_derivation_stays_what_it_was():
    """An upgrade never changes a derived key: what is encrypted stays readable."""
    assert subkey(bytes(32), "media").hex() == "5e94670185d7fa424571154c7cf4b55ccf87248157e4d7d459c145399bcdad73"


def test_the_first_key_makes_and_all_keys_read():
    """Rotation puts a new key first and leaves the old one to read with."""
    keys = SecretKeys.parse([NEW, OLD])
    assert keys.newest("media") == subkey(b"\xff" * 32, "media")
    assert keys.every("media") == (subkey(b"\xff" * 32, "media"), subkey(b"o" * 32, "media"))
    url_safe = SecretKeys.parse([base64.urlsafe_b64encode(b"\xff" * 32).decode()])
    assert url_safe.newest("media") == keys.newest("media")


@pytest.mark.parametrize("text", ["", "short", "!" * 44, base64.b64encode(bytes(31)).decode(), "ü" * 44])
def test_a_key_that_is_none_is_named_by_its_place_alone(text):
    """The message helps, and does not print what might be most of a secret."""
    with pytest.raises(UsageError, match="key 2 is not 32 bytes") as error:
        SecretKeys.parse([OLD, text])
    assert not text or text not in str(error.value)


def test_an_installation_without_keys_signs_nothing():
    """Without a secret there is nothing to sign with, and it says which variable to set."""
    assert not SecretKeys()
    assert SecretKeys().every("media") == ()
    with pytest.raises(UsageError, match="INVORTO_SECRET_KEYS"):
        SecretKeys().newest("media")


def test_keys_do_not_print():
    """A key shows in no log and no traceback."""
    keys = SecretKeys.parse([OLD])
    assert "oooo" not in repr(keys)
    assert OLD not in repr(keys)
