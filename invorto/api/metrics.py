"""The route of Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Blueprint, Response
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Caller, Gate
from invorto.api.deps import ApiDeps


def blueprint(deps: ApiDeps, gate: Gate) -> Blueprint:
    """Make the route."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    @gate.needs("operator")
    async def read(_: Caller) -> Response:
        return TrioResponse(generate_latest(deps.metrics), 200, {"Content-Type": CONTENT_TYPE_LATEST})

    return routes
