"""Hypercorn's HTTP/1.1, which speaks no other protocol by way of an upgrade, and refuses in the API's shape."""

from __future__ import annotations

import dataclasses

import h11
from hypercorn.events import Closed
from hypercorn.protocol.events import Event, Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import H11SendableEvent

from invorto.realtime.head import HEAD_LIMIT, Refused, problem

_OWN_WORDS = {
    400: ("bad_request", "this is not HTTP/1.1"),
    408: ("request_timeout", "the request did not come in time"),
    431: ("head_too_large", f"the request's head is longer than {HEAD_LIMIT} bytes"),
    501: ("bad_request", "this transfer encoding is not known"),
}


class Http1(H11Protocol):
    """One connection's protocol: bytes and requests in, bytes out."""

    refused = False
    """Whether we have answered in the application's place: what it still says is dropped."""

    async def stream_send(self, event: Event) -> None:
        """Send what the application says; while draining, with the word that the connection is closed after it."""
        if isinstance(event, Response) and self.context.terminated.is_set():
            event = dataclasses.replace(event, headers=[*event.headers, (b"connection", b"close")])
        await super().stream_send(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        if not self.refused:
            await super()._send_h11_event(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Ignore h2c, which a client has to bear."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Start a request, or refuse it."""
        headers = dict(request.headers)
        if "websocket" in headers.get(b"upgrade", b"").decode("latin-1").lower():
            # The door takes sockets; here a proxy has put one on a connection that carried HTTP before.
            message = "a WebSocket needs a connection of its own"
            await self._refuse(Refused(426, "upgrade_required", message, [("Upgrade", "websocket")]))
        elif request.http_version not in {b"1.0", b"1.1"}:
            await self._refuse(Refused(505, "bad_request", "only HTTP/1.1 is spoken here"))
        elif sum(len(name) + len(value) + 4 for name, value in request.headers) + len(request.target) > HEAD_LIMIT:
            await self._send_error_response(431)  # h11 only counts heads that come in pieces
            await self.send(Closed())
        else:
            await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        """Answer what Hypercorn refuses."""
        code, message = _OWN_WORDS.get(status_code, _OWN_WORDS[400])
        await self._answer(Refused(status_code, code, message))

    async def time_out(self) -> None:
        """Answer a request that does not come, if nothing was answered yet."""
        if self.connection.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self._send_error_response(408)
        await self.send(Closed())

    async def _refuse(self, refused: Refused) -> None:
        await self._answer(refused)
        await self.send(Closed())

    async def _answer(self, refused: Refused) -> None:
        body = problem(refused.code, refused.message)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *((name.encode(), value.encode()) for name, value in refused.headers),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=refused.status, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
        self.refused = True
