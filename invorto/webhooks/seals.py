"""What is secret of an endpoint, sealed and opened: bound to its endpoint and its use, so that none can be moved."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping

import attrs

from invorto.errors import NotSupported
from invorto.storage.webhook_queue import Receiver
from invorto.vault import Vault

_PURPOSE = "webhook-secrets"
_REMEMBERED = 1000
"""Endpoints whose secrets are kept open: opening costs as much as signing."""


@attrs.frozen
class Opened:
    """What signs and goes with requests to one endpoint."""

    secrets: tuple[str, ...] = attrs.field(repr=False)
    """The newest first."""
    headers: Mapping[str, str] = attrs.field(repr=False)


@attrs.frozen
class Seals:
    """Seals and opens by the installation's keys."""

    vault: Vault
    _opened: OrderedDict[tuple[bytes | None, ...], Opened] = attrs.field(factory=OrderedDict, init=False, repr=False)

    def secret(self, id: str, secret: str) -> bytes:
        """Seal the secret of an endpoint; `NotSupported` where the installation has no keys."""
        return self._seal(secret.encode(), f"{id}/secret")

    def headers(self, id: str, headers: Mapping[str, str]) -> bytes | None:
        """Seal the headers of an endpoint; None for none."""
        return self._seal(json.dumps(dict(headers)).encode(), f"{id}/headers") if headers else None

    def read_secret(self, id: str, sealed: bytes) -> str:
        """Open a secret; `UsageError` where no key of the installation does."""
        return self.vault.unseal(_PURPOSE, sealed, bound=f"{id}/secret").decode()

    def open(self, receiver: Receiver) -> Opened:
        """Open all of an endpoint; `UsageError` where no key of the installation does."""
        key = (receiver.id.encode(), receiver.secret, receiver.previous, receiver.headers)
        found = self._opened.get(key)
        if found is None:
            found = self._opened[key] = self._open(receiver)
            if len(self._opened) > _REMEMBERED:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return found

    def _open(self, receiver: Receiver) -> Opened:
        every = [receiver.secret] if receiver.previous is None else [receiver.secret, receiver.previous]
        headers: dict[str, str] = {}
        if receiver.headers is not None:
            headers = json.loads(self.vault.unseal(_PURPOSE, receiver.headers, bound=f"{receiver.id}/headers"))
        return Opened(tuple(self.read_secret(receiver.id, one) for one in every), headers)

    def _seal(self, plain: bytes, bound: str) -> bytes:
        if not self.vault:
            raise NotSupported("webhooks need INVORTO_SECRET_KEYS: their secrets are kept encrypted")
        return self.vault.seal(_PURPOSE, plain, bound=bound)
