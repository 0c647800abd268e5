"""Alive, ready, and how each part is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs
import structlog
import trio
from quart import Response

import invorto
from invorto.api.answers import answer
from invorto.api.auth import Gate
from invorto.api.bodies import request_id
from invorto.api.deps import ApiDeps, Part
from invorto.api.routing import Routes
from invorto.errors import InvortoError

log = structlog.get_logger(__name__)

_FRESH = 1.0
"""Seconds that findings hold, so that health, which anybody may ask, costs a store one question a second."""
_PATIENCE = 1.0
"""Seconds that one part may take to answer: load balancers ask again in a few."""
_WHY = {
    "draining": "this node is going away",
    "full": "this node holds as many calls as it can",
    "store_unavailable": "a store cannot be reached for now",
}


@attrs.frozen(kw_only=True)
class Finding:
    """How one part was when it was asked."""

    part: Part
    ok: bool
    latency_ms: float
    details: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    error: str | None = None


class Checkup:
    """Asks all parts at once, and remembers for a moment what they said."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._asking = trio.Lock()
        self._until = float("-inf")
        self._found: list[Finding] = []

    async def look(self) -> list[Finding]:
        """Give a finding for each part, in their order, at most a second old."""
        async with self._asking:
            if trio.current_time() >= self._until:
                found: dict[str, Finding] = {}
                async with trio.open_nursery() as nursery:
                    for part in self._parts:
                        nursery.start_soon(_ask, part, found)
                self._found = [found[part.name] for part in self._parts]
                self._until = trio.current_time() + _FRESH
            return self._found


async def _ask(part: Part, found: dict[str, Finding]) -> None:
    began = trio.current_time()
    details: Mapping[str, Any] = {}
    error: str | None = f"no answer within {_PATIENCE:g} s"
    with trio.move_on_after(_PATIENCE):  # noqa: ASYNC912 - a probe asks something that is elsewhere
        try:
            details, error = await part.probe(), None
        except InvortoError as away:
            error = str(away)
        except Exception as fault:
            # A part that cannot even be asked must not make the rest unknown.
            log.exception("probe_failed", part=part.name)
            error = type(fault).__name__
    taken = round((trio.current_time() - began) * 1000, 2)
    found[part.name] = Finding(part=part, ok=error is None, latency_ms=taken, details=details, error=error)


def _report(finding: Finding) -> dict[str, Any]:
    report: dict[str, Any] = {"status": "ok" if finding.ok else "away", "latencyMs": finding.latency_ms}
    return report | ({"error": finding.error} if finding.error else {}) | dict(finding.details)


@attrs.frozen(kw_only=True)
class Alive:
    """That the process answers."""

    ok: bool
    status: Literal["ok", "degraded"]
    """Degraded: a store is away, and what can go on goes on."""
    version: str


@attrs.frozen(kw_only=True)
class Ready:
    """That calls may be sent here."""

    ready: Literal[True] = True


@attrs.frozen(kw_only=True)
class Detailed(Alive):
    """How each part is."""

    ready: bool
    draining: bool
    parts: Mapping[str, Mapping[str, Any]]
    """By name: status, latencyMs, and what the part says of itself."""


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the routes."""
    routes = Routes("health", gate, "/health")
    checkup = Checkup(deps.parts)

    def why_not(found: Sequence[Finding]) -> str | None:
        if deps.draining():
            return "draining"
        if any(finding.part.needed and not finding.ok for finding in found):
            return "store_unavailable"
        return "full" if deps.full() else None

    def summary(found: Sequence[Finding]) -> Alive:
        well = all(finding.ok for finding in found)
        return Alive(ok=True, status="ok" if well else "degraded", version=invorto.__version__)

    @routes.get("", needs=None)
    async def alive() -> Alive:
        """Tell whether the process answers."""
        return summary(await checkup.look())

    @routes.get("/ready", needs=None, gives=Ready, errors=("draining", "full"))
    async def ready() -> Response:
        """Tell whether calls may be sent here."""
        code = why_not(await checkup.look())
        if code is None:
            return answer(Ready())
        body = {"ready": False, "code": code, "message": _WHY[code], "requestId": request_id()}
        return answer(body, 503, {"Retry-After": "5"})

    @routes.get("/detailed", needs="operator")
    async def detailed() -> Detailed:
        """Tell how each part is, and how long it took to say so."""
        found = await checkup.look()
        parts = {finding.part.name: _report(finding) for finding in found}
        said = summary(found)
        return Detailed(
            ok=said.ok,
            status=said.status,
            version=said.version,
            ready=why_not(found) is None,
            draining=deps.draining(),
            parts=parts,
        )

    return routes
