"""The route that erases a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import trio

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps
from invorto.api.recordings import locate
from invorto.api.routing import Routes
from invorto.errors import Fault, NotFound, NotSupported
from invorto.plain import invalid
from invorto.storage import erasure
from invorto.storage.erasure import Erased

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the route."""
    routes = Routes("callers", gate, "/v1/callers")

    async def elsewhere(ids: Sequence[str], recordings: Sequence[str]) -> None:
        await deps.timeline.forget(ids)
        await trio.to_thread.run_sync(_remove, deps.recordings, recordings)

    @routes.delete("/<e164>", needs="admin", errors=["conflict", "not_supported", "validation_failed"])
    async def erase(caller: Caller, e164: str) -> Erased:
        """
        Erase everything of the person who has a number: calls, words, timelines, recordings, events and deliveries.

        The answer is a receipt. `409` while a call with the person is under way.
        """
        if not _E164.fullmatch(e164):
            raise invalid([Fault("$.e164", "expected a number such as +919876543210")])
        return await erasure.erase(deps.database, caller.tenant_id, e164, caller.actor, elsewhere)

    return routes


def _remove(folder: Path, recordings: Sequence[str]) -> None:
    """Delete files; those that are gone are no error, `NotSupported` for one that is not here."""
    for kept in recordings:
        try:
            path, _ = locate(folder, kept)
        except NotFound:
            continue
        except NotSupported:
            raise NotSupported("a recording of this person is not on this host, and cannot be erased here") from None
        path.unlink(missing_ok=True)
