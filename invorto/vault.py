"""Secrets at rest: sealed with a key of the installation, for one purpose and one place, so that none can be moved."""

from __future__ import annotations

import secrets

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invorto.errors import UsageError
from invorto.subkeys import Purpose, SecretKeys

_VERSION = b"\x01"
_NONCE = 12


@attrs.frozen
class Vault:
    """Seals with the newest of the installation's keys and opens with any of them."""

    _keys: SecretKeys

    def __bool__(self) -> bool:
        return bool(self._keys)

    def seal(self, purpose: Purpose, plain: bytes, *, bound: str) -> bytes:
        """Encrypt *plain*: it opens only for *purpose* and *bound*, such as its row's id. `UsageError` without keys."""
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(self._keys.newest(purpose)).encrypt(nonce, plain, bound.encode())
        return _VERSION + nonce + sealed

    def unseal(self, purpose: Purpose, sealed: bytes, *, bound: str) -> bytes:
        """Decrypt what `seal` made; `UsageError` where none of the installation's keys opens it."""
        nonce, text = sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if sealed[:1] == _VERSION and len(nonce) == _NONCE:
            for key in self._keys.every(purpose):
                try:
                    return AESGCM(key).decrypt(nonce, text, bound.encode())
                except InvalidTag:
                    continue
        raise UsageError(
            "no key of INVORTO_SECRET_KEYS opens this secret: was a key taken away before `secrets rotate`?"
        )

    def stale(self, purpose: Purpose, sealed: bytes, *, bound: str) -> bool:
        """Tell whether it was sealed with an older key than the newest."""
        try:
            AESGCM(self._keys.newest(purpose)).decrypt(sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :], bound.encode())
        except InvalidTag:
            return True
        return False
