"""The head of a request: what was asked for, whether it asks for a socket, and the answers that can be given to it.

A `HeadReader` makes a `Request` of bytes; nothing secret of it (query, credentials, signed paths) is in its ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import parse_qsl, unquote_to_bytes

import attrs
import h11

HEAD_LIMIT = 16_384
"""Bytes of a request's line and headers together."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_QUERY_FIELDS = 64
# More than the protocol has; each one costs memory before anyone is known.
_SHOWN_UP_TO = ("/media/",)
# Paths that go on with a signature: what follows the next segment is not shown.


class Refused(Exception):
    """A request that is answered without being served; *status* and *code* as in every other error of the API."""

    def __init__(self, status: int, code: str, message: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, tuple(headers)


class Headers(Mapping[str, str]):
    """Headers by name in any case; one that came several times is joined with commas."""

    __slots__ = ("_by_name",)

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._by_name: dict[str, str] = {}
        for raw, value in pairs:
            name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
            self._by_name[name] = f"{self._by_name[name]}, {text}" if name in self._by_name else text

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"<Headers {', '.join(self._by_name)}>"  # values may be credentials

    def words(self, name: str) -> list[str]:
        """List what is between the commas of *name*."""
        return [word for part in self.get(name, "").split(",") if (word := part.strip())]


@attrs.frozen(repr=False)
class Request:
    """What one client asks for; *peer* is the address it comes from, without a proxy's word."""

    method: str
    target: str = attrs.field(repr=False)  # for those who print attrs classes field by field
    path: str = attrs.field(repr=False)
    """Percent-decoded, without the query."""
    headers: Headers
    peer: str = ""

    def __repr__(self) -> str:
        return f"<Request {self.method} {shown(self.path)}{' from ' + self.peer if self.peer else ''}>"

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's fields, decoded. A name given twice, bad percent-encoding and bad UTF-8 raise `Refused` 400."""
        return _fields(self.target)

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers, in its order; one of them may be a key."""
        return self.headers.words("Sec-WebSocket-Protocol")

    @property
    def wants_socket(self) -> bool:
        """Whether it asks to become a WebSocket, rightly or not."""
        return "websocket" in self.headers.get("Upgrade", "").lower()


def shown(path: str) -> str:
    """Make of *path* what may be logged."""
    for mark in _SHOWN_UP_TO:
        before, found, after = path.partition(mark)
        if found:
            return f"{before}{mark}{after.partition('/')[0]}/…"
    return path


def _fields(target: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            target.partition("?")[2], keep_blank_values=True, errors="strict", max_num_fields=_QUERY_FIELDS
        )
    except ValueError:
        raise Refused(400, "bad_request", "the query is not UTF-8, percent-encoded, of at most 64 fields") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise Refused(400, "bad_request", f"the query names {twice[:64]!r} more than once")
    return fields


class HeadReader:
    """Reads the head of a connection's first request from its bytes as they come."""

    __slots__ = ("_machine", "raw")

    def __init__(self) -> None:
        self._machine = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self.raw = bytearray()
        """All that was fed."""

    @property
    def residue(self) -> bytes:
        """What came after the head."""
        return self._machine.trailing_data[0]

    def feed(self, data: bytes, peer: str = "") -> Request | None:
        """Take some bytes; the request when its head is whole. Raises `Refused`."""
        if not data:
            return None  # h11 would take it for the end
        self.raw += data
        self._machine.receive_data(data)
        try:
            event = self._machine.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                raise _too_large() from None
            raise Refused(400, "bad_request", f"this is not HTTP/1.1: {error}") from None
        if not isinstance(event, h11.Request):
            return None
        if len(self.raw) - len(self.residue) > HEAD_LIMIT:
            raise _too_large()
        return _request(event, peer)


def _too_large() -> Refused:
    return Refused(431, "head_too_large", f"the request's head is longer than {HEAD_LIMIT} bytes")


def _request(event: h11.Request, peer: str) -> Request:
    target = event.target.decode("ascii")
    # Proxies may send the whole address.
    local = target if target.startswith("/") else "/" + target.partition("://")[2].partition("/")[2]
    try:
        path = unquote_to_bytes(local.partition("?")[0]).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "bad_request", "the path is not UTF-8") from None
    return Request(event.method.decode("ascii"), local, path, Headers(event.headers), peer)


def check_upgrade(request: Request) -> None:
    """Raise `Refused` unless *request* is a handshake of RFC 6455, version 13, with a query that can be read."""
    upgrade, headers = ("Upgrade", "websocket"), request.headers
    if request.method != "GET" or not request.wants_socket:
        raise Refused(426, "upgrade_required", "a WebSocket is needed here", [upgrade])
    if "upgrade" not in (word.lower() for word in headers.words("Connection")):
        raise Refused(400, "bad_request", "Connection does not say Upgrade")
    if headers.get("Sec-WebSocket-Version") != "13":
        version = ("Sec-WebSocket-Version", "13")
        raise Refused(426, "upgrade_required", "only version 13 of WebSocket is spoken here", [upgrade, version])
    try:
        key = base64.b64decode(headers.get("Sec-WebSocket-Key", ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 16:
        raise Refused(400, "bad_request", "Sec-WebSocket-Key is not 16 bytes in base64")
    _fields(request.target)


def accepted(request: Request, subprotocol: str | None = None) -> bytes:
    """Make the answer that turns the connection into a WebSocket; `check_upgrade` has passed."""
    if subprotocol is not None and subprotocol not in request.subprotocols:
        raise ValueError("a subprotocol that was not offered cannot be chosen")
    key = request.headers["Sec-WebSocket-Key"].encode("latin-1")
    # The accept key is what RFC 6455 4.2.2 says; no security rests on SHA-1 here.
    digest = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {digest}")
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def refusal(refused: Refused) -> bytes:
    """Make the whole answer to a request that is not served; the connection is closed after it."""
    body = problem(refused.code, refused.message)
    lines = [
        f"HTTP/1.1 {refused.status} {http.HTTPStatus(refused.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {value}" for name, value in refused.headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def problem(code: str, message: str) -> bytes:
    """Make the body of an error that no route made."""
    return json.dumps({"code": code, "message": message, "requestId": uuid.uuid4().hex}).encode()
