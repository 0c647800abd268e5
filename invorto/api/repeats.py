"""`Idempotency-Key`: a POST that is sent again is answered again, and not done again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import cast

import attrs
import trio
from quart import Request, Response
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Caller
from invorto.api.problems import BadRequest
from invorto.errors import Conflict
from invorto.storage import idempotency
from invorto.storage.idempotency import Kept
from invorto.storage.postgres import Database

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_TOLD = ("Content-Type", "Location")
_PUT_AWAY = 2.0
"""Seconds for keeping an answer, or giving back the right to act."""


@attrs.frozen
class Repeats:
    """Remembers answers by tenant and key for a day."""

    database: Database

    async def answer(
        self, asked: Request, caller: Caller, act: Callable[[], Awaitable[Response]], *, secret: bool
    ) -> Response:
        """
        Give the answer of *act*, or the one that was given to the same request before.

        Refusals are not kept: nothing was done. A *secret* answer is not kept either: its repeat is `Conflict`
        (``secret_already_shown``).
        """
        key = asked.headers.get("Idempotency-Key")
        if key is None:
            return await act()
        if not _KEY.fullmatch(key):
            raise BadRequest("an Idempotency-Key is 1 to 255 visible ASCII characters")
        digest = hashlib.sha256(f"{caller.actor}\n{key}".encode()).digest()
        body = cast("bytes", await asked.get_data(as_text=False))
        request = hashlib.sha256(f"{asked.method} {asked.full_path}\n".encode() + body).digest()
        claimed = await idempotency.claim(self.database, caller.tenant_id, digest, request)
        if isinstance(claimed, Kept):
            return _again(claimed)
        done = False
        try:
            response = await act()
            done = response.status_code < 400
            kept = None if secret else await response.get_data(as_text=False)
            headers = {name: response.headers[name] for name in _TOLD if name in response.headers}
        except Exception:
            with trio.move_on_after(_PUT_AWAY, shield=True):
                await idempotency.give_back(self.database, claimed)
            raise
        with trio.move_on_after(_PUT_AWAY, shield=True):
            if done:
                await idempotency.keep(self.database, claimed, Kept(response.status_code, headers, kept))
            else:
                await idempotency.give_back(self.database, claimed)
        return response


def _again(kept: Kept) -> Response:
    if kept.body is None:
        raise Conflict("this was done, and what it answered was shown once", "secret_already_shown")
    return TrioResponse(kept.body, kept.status, {**kept.headers, "Idempotency-Replayed": "true"})
