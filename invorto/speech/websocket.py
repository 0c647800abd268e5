"""A vendor's WebSocket: opened within a deadline, and whatever happens to it is that engine's failure."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, cast, override
from urllib.parse import urlencode, urlsplit

import attrs
import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection, wrap_client_stream
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from invorto.errors import ProviderFailed
from invorto.speech.vendor import Vendor

CONNECT = 5.0
"""Seconds for name, connection, TLS and handshake together."""
FAREWELL = 0.2
"""Seconds for a close frame to be written and answered."""
_LARGEST = 4 * 1024 * 1024
"""Bytes of one message: 20 s of audio at 48 kHz are 2 MB."""
_AHEAD = 64
"""Messages that may wait to be read."""
_BROKEN = (ConnectionRejected, HandshakeError, ConnectionClosed, LocalProtocolError, RemoteProtocolError, OSError,
           trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError)  # fmt: skip


@attrs.define(eq=False)
class _Watched(trio.abc.Stream):
    """A stream that tells when the far end is gone, which the client does not while it waits for the handshake."""

    stream: trio.abc.Stream
    gone: trio.Event = attrs.field(factory=trio.Event)

    @override
    async def send_all(self, data: bytes | bytearray | memoryview[Any]) -> None:
        await self.stream.send_all(data)

    @override
    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    @override
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            data = await self.stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            self.gone.set()
            raise
        if not data:
            self.gone.set()
        return data

    @override
    async def aclose(self) -> None:
        self.gone.set()
        await self.stream.aclose()


@attrs.frozen(eq=False)
class Socket:
    """An open socket; every error is `ProviderFailed`."""

    vendor: Vendor
    connection: WebSocketConnection

    @property
    def open(self) -> bool:
        """Whether nobody has closed it."""
        return self.connection.closed is None

    async def send(self, message: str | bytes) -> None:
        """Send text, or audio."""
        with _told(self.vendor):
            await self.connection.send_message(message)

    async def tell(self, **message: Any) -> None:
        """Send a JSON object."""
        await self.send(msgspec.json.encode(message).decode())

    async def receive(self) -> str | bytes:
        """Wait for the next message."""
        with _told(self.vendor):
            return await self.connection.get_message()

    async def hear(self) -> bytes | dict[str, Any]:
        """Wait for the next message: audio, or a JSON object."""
        message = await self.receive()
        if isinstance(message, bytes):
            return message
        try:
            return msgspec.json.decode(message, type=dict[str, Any])
        except msgspec.MsgspecError:
            raise self.vendor.failed("what came is not JSON") from None


@asynccontextmanager
async def open_socket(
    vendor: Vendor, url: str, query: Mapping[str, Any], headers: Mapping[str, str]
) -> AsyncGenerator[Socket]:
    """
    Open ``url?query`` (http means ws, https wss); leaving the block closes it, within `FAREWELL`.

    `ProviderFailed` where it does not open within `CONNECT`, is refused, or breaks while it is used.
    """
    try:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            with _told(vendor):
                try:
                    with trio.fail_after(CONNECT):
                        socket = await _connect(
                            vendor, stack, nursery, f"{url}?{urlencode(query, doseq=True)}", headers
                        )
                except trio.TooSlowError:
                    raise vendor.failed(f"no connection within {CONNECT:g} s") from None
            try:
                yield socket
            finally:
                with trio.move_on_after(FAREWELL, shield=True):  # noqa: ASYNC912 - it may be closed already
                    with suppress(*_BROKEN):  # it may be broken already
                        await socket.connection.aclose()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise _single(vendor, group) from None


async def _connect(
    vendor: Vendor, stack: AsyncExitStack, nursery: trio.Nursery, url: str, headers: Mapping[str, str]
) -> Socket:
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme in {"https", "wss"}
    port = parts.port or (443 if secure else 80)
    stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
    stack.push_async_callback(trio.aclose_forcefully, stream)
    if secure:
        stream = trio.SSLStream(stream, ssl.create_default_context(), server_hostname=host, https_compatible=True)
        await stream.do_handshake()
    watched = _Watched(stream)
    named = host if parts.port is None else f"{host}:{port}"
    lines = [(name.encode(), value.encode()) for name, value in headers.items()]
    opened: list[WebSocketConnection] = []
    async with trio.open_nursery() as opening:
        opening.start_soon(_give_up, watched.gone, opening.cancel_scope)
        connection = await wrap_client_stream(
            nursery, cast("trio.SocketStream", watched), named, f"{parts.path or '/'}?{parts.query}",
            extra_headers=lines, message_queue_size=_AHEAD, max_message_size=_LARGEST,
        )  # fmt: skip
        opened.append(connection)
        opening.cancel_scope.cancel()
    if not opened:
        raise vendor.failed("it hung up before it answered")
    return Socket(vendor, opened[0])


async def _give_up(gone: trio.Event, scope: trio.CancelScope) -> None:
    await gone.wait()
    scope.cancel()


@contextmanager
def _told(vendor: Vendor) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise _failure(vendor, error) from error


def _failure(vendor: Vendor, error: BaseException) -> ProviderFailed:
    match error:
        case ConnectionRejected():
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in error.headers or ()}
            return vendor.refusal(error.status_code, headers, error.body or b"")
        case ConnectionClosed(reason=reason) if reason is not None:
            said = f", {reason.reason}" if reason.reason else ""
            return vendor.failed(f"the connection was closed ({reason.code}{said})")
        case _:
            return vendor.failed(f"the connection broke: {str(error) or type(error).__name__}")


def _single(vendor: Vendor, group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Give the one error that counts: of the block before the connection's; the group itself where it is a bug."""
    leaves = list(_leaves(group))
    strange = [leaf for leaf in leaves if not isinstance(leaf, (ProviderFailed, trio.Cancelled, *_BROKEN))]
    if strange:
        return strange[0] if len(leaves) == 1 else group
    for leaf in leaves:
        if isinstance(leaf, ProviderFailed):
            return leaf
    broken = next((leaf for leaf in leaves if not isinstance(leaf, trio.Cancelled)), None)
    return _failure(vendor, broken) if broken is not None else leaves[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
