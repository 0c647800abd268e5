"""One secret of the installation, a key for each purpose: HKDF-SHA256 under `INVORTO_SECRET_KEYS`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Literal, Self

import attrs
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from invorto.errors import UsageError

type Purpose = Literal["carrier-credentials", "webhook-secrets", "tool-secrets", "browser-tokens", "media", "artefacts"]

KEY_BYTES = 32


def subkey(key: bytes, purpose: Purpose) -> bytes:
    """Derive the 32 bytes that serve *purpose*; nothing of *key* or of other purposes follows from them."""
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"invorto/1/" + purpose.encode()).derive(key)


@attrs.frozen
class SecretKeys:
    """The installation's keys: the first one makes what is new, all of them read what is old."""

    _keys: tuple[bytes, ...] = attrs.field(default=(), repr=False)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read keys of 32 bytes in base64; `UsageError` says which one is none, never what it was."""
        return cls(tuple(_key(place, text) for place, text in enumerate(texts, 1)))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def newest(self, purpose: Purpose) -> bytes:
        """Give the key that signs or encrypts for *purpose*; `UsageError` where the installation has none."""
        if not self._keys:
            raise UsageError("INVORTO_SECRET_KEYS is not set: expected a comma list of 32-byte base64 keys")
        return subkey(self._keys[0], purpose)

    def every(self, purpose: Purpose) -> tuple[bytes, ...]:
        """Give the keys that verify or decrypt for *purpose*, newest first."""
        return tuple(subkey(key, purpose) for key in self._keys)


def _key(place: int, text: str) -> bytes:
    try:
        key = base64.b64decode(text.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise UsageError(f"INVORTO_SECRET_KEYS: key {place} is not 32 bytes in base64")
    return key
