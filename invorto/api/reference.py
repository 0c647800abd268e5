"""The documents that the code writes about itself, and the page that shows them; nothing of it comes from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources

from quart import Quart, Response, request
from quart_trio.wrappers import TrioResponse

from invorto.api.auth import Gate
from invorto.api.openapi import document
from invorto.api.routing import JSON, Routes
from invorto.api.socket_page import page as page_of_socket
from invorto.errors import NotFound
from invorto.realtime import asyncapi
from invorto.storage.json_text import json_text

_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page talks with its own host alone, whatever its scripts would like."""
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Invorto REST</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<body>
<main id="reference"></main>
<script src="/docs/swagger-ui.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = b"""SwaggerUIBundle({
  url: "/v1/openapi.json", dom_id: "#reference", deepLinking: true, validatorUrl: null, docExpansion: "none",
  presets: [SwaggerUIBundle.presets.apis], persistAuthorization: false, queryConfigEnabled: false
});
"""


class Written:
    """A document that is written once, when it is first asked for, and then only asked about."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._data: bytes | None = None
        self._tag = ""

    def answer(self, write: object) -> Response:
        """Answer it, or that it has not changed."""
        if self._data is None:
            self._data = json_text(write() if callable(write) else write)
            self._tag = f'"{hashlib.blake2b(self._data, digest_size=8).hexdigest()}"'
        headers = {"Content-Type": self.kind, "ETag": self._tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == self._tag:
            return TrioResponse(b"", 304, headers)
        return TrioResponse(self._data, 200, headers)


def blueprint(app: Quart, gate: Gate) -> Routes:
    """Make the routes; the documents are those of the whole *app*."""
    routes = Routes("reference", gate, "")
    openapi, voice = Written(JSON), Written(JSON)
    files = resources.files("invorto.api") / "reference_page"

    @routes.get("/v1/openapi.json", needs=None, gives=dict[str, object], also=[304])
    async def rest() -> Response:
        """Give this document: every route, what it reads and what it answers."""
        return openapi.answer(lambda: document(app))

    @routes.get("/v1/asyncapi.json", needs=None, gives=dict[str, object], also=[304])
    async def socket() -> Response:
        """Give the voice socket's document: every message, the handshake, and why sockets close."""
        return voice.answer(asyncapi.document)

    @routes.get("/docs/socket", needs=None, gives=str, kinds=["text/html"])
    async def socket_page() -> Response:
        """Show the voice socket's document."""
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _POLICY}
        return TrioResponse(page_of_socket(asyncapi.document()), 200, headers | {"Cache-Control": "no-cache"})

    @routes.get("/docs", needs=None, gives=str, kinds=["text/html"])
    async def page() -> Response:
        """Show this document."""
        headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": _POLICY}
        return TrioResponse(_PAGE, 200, headers | {"Cache-Control": "no-cache", "Referrer-Policy": "no-referrer"})

    @routes.get("/docs/<name>", needs=None, gives=str, kinds=["text/javascript", "text/css"])
    async def part(name: str) -> Response:
        """Give a file of the page."""
        kind = _KINDS.get(name.rpartition(".")[2])
        packed = files / f"{name}.gz"
        headers = {"Content-Type": kind or "", "Cache-Control": "public, max-age=3600", "Vary": "Accept-Encoding"}
        if name == "start.js":
            return TrioResponse(_START, 200, headers)
        if kind is None or not name.replace("-", "").replace(".", "").isalnum() or not packed.is_file():
            raise NotFound("the page has no such file")
        data = packed.read_bytes()
        if "gzip" not in request.headers.get("Accept-Encoding", ""):
            return TrioResponse(gzip.decompress(data), 200, headers)
        return TrioResponse(data, 200, {**headers, "Content-Encoding": "gzip"})

    return routes
