"""The application: routes by noun, one place for errors, an id for each request."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import unquote_to_bytes

import prometheus_client
import structlog
import trio
from quart import Response, g, request
from quart.wrappers.response import DataBody
from quart_trio import QuartTrio

from invorto.api import (
    agents,
    artifacts,
    audit,
    call_changes,
    callers,
    calls,
    capacity,
    connections,
    deliveries,
    events,
    health,
    keys,
    live,
    metrics,
    recordings,
    reference,
    secrets,
    tenants,
    timelines,
    tokens,
    tools,
    usage,
    webhooks,
)
from invorto.api.auth import Gate
from invorto.api.bodies import MAX_BODY, ApiRequest, request_id
from invorto.api.cors import Cors
from invorto.api.counted import Counter
from invorto.api.counted import sign as sign_standing
from invorto.api.deps import ApiDeps
from invorto.api.problems import BadRequest, problem_answer
from invorto.errors import Forbidden, NotFound
from invorto.observability.traces import Span, parent_of

log = structlog.get_logger(__name__)

PATIENCE = 30.0
"""Seconds from a request's head to the beginning of its answer, its body and both stores included."""
_NOUNS = (
    health,
    metrics,
    agents,
    calls,
    call_changes,
    capacity,
    timelines,
    recordings,
    artifacts,
    callers,
    usage,
    events,
    webhooks,
    deliveries,
    tokens,
    keys,
    live,
    connections,
    tenants,
    audit,
    tools,
    secrets,
)
"""Modules of routes, each with a `blueprint`."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PLACE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_QUIET = ("/health", "/metrics", "/docs")
"""Asked every few seconds by machines: not worth a line of the log."""

_FOR_ALL = ("/health", "/telephony/")
"""What `API_ALLOWED_IPS` is not about: load balancers, and carriers, who have lists and signatures of their own."""


class Api(QuartTrio):
    """Quart-Trio with a bound on each request's body, and on its time."""

    request_class = ApiRequest

    async def full_dispatch_request(self, ctx: Any) -> Any:
        """Serve a request; one that takes too long is answered 503."""
        with trio.move_on_after(PATIENCE):
            return await super().full_dispatch_request(ctx)
        return await self.finalize_request(ctx, problem_answer(trio.TooSlowError(), request_id()))


def make_app(deps: ApiDeps) -> QuartTrio:
    """Make the ASGI application; it holds nothing that has to be closed, and needs no lifespan events."""
    app = Api("invorto.api", static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_BODY, PROPAGATE_EXCEPTIONS=False, TRAP_HTTP_EXCEPTIONS=False)
    app.debug = False
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    gate = Gate.of(deps.config, deps.database, Counter(deps.rates, deps.config.rates) if deps.rates else None)
    for noun in _NOUNS:
        app.register_blueprint(noun.blueprint(deps, gate))
    app.register_blueprint(reference.blueprint(app, gate))
    _frame(app, deps, gate)
    return app


def _frame(app: QuartTrio, deps: ApiDeps, gate: Gate) -> None:
    """Put around every route what all have in common."""
    cors = Cors.of(deps.config.network)
    counter = prometheus_client.Counter(
        "http_requests_total", "HTTP requests answered.", ["method", "path", "status"], registry=deps.metrics
    )

    @app.before_request
    async def look() -> Response | None:
        g.began = time.time_ns()
        structlog.contextvars.bind_contextvars(request_id=request_id())
        _readable()
        if not request.path.startswith(_FOR_ALL) and not gate.proxies.allows(gate.client(request)):
            raise Forbidden("this address may not ask here")
        return cors.preflight(request)

    @app.errorhandler(Exception)
    async def refuse(error: Exception) -> Response:
        # One of the three edges where errors are contained: one request.
        return problem_answer(error, request_id())

    @app.after_request
    async def sign(response: Response) -> Response:
        route = _PLACE.sub(r"{\1}", request.url_rule.rule) if request.url_rule else "unmatched"
        method = request.method if request.method in _METHODS else "other"
        counter.labels(method, route, str(response.status_code)).inc()
        response.headers["X-Request-Id"] = request_id()
        response.headers["X-Content-Type-Options"] = "nosniff"
        sign_standing(response)
        cors.sign(request, response)
        if deps.spans is not None and "began" in g:
            deps.spans.add(_span(method, route, response.status_code))
        if request.method == "HEAD":  # its length is told, it is not read
            response.response = DataBody(b"")
        if not request.path.startswith(_QUIET):
            log.info("http_request", method=method, path=route, status=response.status_code)
        return response


def _span(method: str, route: str, status: int) -> Span:
    """Make the span of the request that was served just now."""
    trace_id, parent = parent_of(request.headers.get("Traceparent"))
    known = structlog.contextvars.get_contextvars()
    return Span(
        name=f"{method} {route}",
        trace_id=trace_id,
        parent=parent,
        kind="server",
        began=g.began,
        ended=time.time_ns(),
        failed=status >= 500,
        attributes={
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "invorto.request_id": request_id(),
            "invorto.tenant_id": str(known.get("tenant_id", "")),
        },
    )


def _readable() -> None:
    """Refuse a URL that is not UTF-8, and whatever is named with a NUL, which nothing is."""
    try:
        for part in (request.scope.get("raw_path", b""), request.query_string.replace(b"+", b" ")):
            unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BadRequest("the URL is not UTF-8") from None
    if "\0" in request.path:
        raise NotFound("there is no such route")
