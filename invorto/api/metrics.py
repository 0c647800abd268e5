"""The route of Prometheus."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Response
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Gate
from invorto.api.deps import ApiDeps
from invorto.api.routing import Routes


def blueprint(deps: ApiDeps, gate: Gate) -> Routes:
    """Make the route."""
    routes = Routes("metrics", gate, "/metrics")

    @routes.get("", needs="operator", gives=str, kinds=["text/plain"])
    async def read() -> Response:
        """Give Prometheus what this process counts."""
        return TrioResponse(generate_latest(deps.metrics), 200, {"Content-Type": CONTENT_TYPE_LATEST})

    return routes
