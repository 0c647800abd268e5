"""WebSockets of whichever library runs the caller's loop: trio-websocket on Trio, websockets on asyncio."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

from sniffio import current_async_library

from invorto_sdk.errors import CallRefused, InvortoError, SocketClosed, Unreachable

PATIENCE = 20.0
"""Seconds to connect, and to be answered."""
LARGEST = 1 << 20
"""Bytes of the longest message taken."""


class Socket(Protocol):
    """A voice socket; `SocketClosed` from every verb once it is over."""

    async def send(self, message: str | bytes) -> None:
        """Send a message."""
        ...

    async def receive(self) -> str | bytes:
        """Wait for a message."""
        ...


def open_socket(
    url: str, subprotocols: Sequence[str], headers: Mapping[str, str]
) -> AbstractAsyncContextManager[Socket]:
    """Open a socket for the length of the block; `Unreachable` and `CallRefused` say why there is none."""
    if current_async_library() == "trio":
        return _on_trio(url, subprotocols, headers)
    return _on_asyncio(url, subprotocols, headers)


@asynccontextmanager
async def _on_trio(url: str, subprotocols: Sequence[str], headers: Mapping[str, str]) -> AsyncGenerator[Socket]:
    import trio
    import trio_websocket as ws

    class TrioSocket:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        async def send(self, message: str | bytes) -> None:
            try:
                await self._connection.send_message(message)
            except ws.ConnectionClosed as closed:
                raise _closed(closed) from None

        async def receive(self) -> str | bytes:
            try:
                return await self._connection.get_message()
            except ws.ConnectionClosed as closed:
                raise _closed(closed) from None

    def _closed(closed: Any) -> SocketClosed:
        reason = closed.reason
        return SocketClosed(1006) if reason is None else SocketClosed(reason.code, reason.reason or "")

    parts = urlsplit(url)
    secure, host = parts.scheme == "wss", parts.hostname or ""
    port = parts.port or (443 if secure else 80)
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    try:
        with trio.fail_after(PATIENCE):
            if secure:
                stream: Any = await trio.open_ssl_over_tcp_stream(host, port, https_compatible=True)
            else:
                stream = await trio.open_tcp_stream(host, port)
    except (OSError, trio.TooSlowError) as error:
        raise Unreachable(f"{host}:{port}: {error or 'no answer'}") from error
    refusal: InvortoError | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                with trio.fail_after(PATIENCE):
                    connection = await ws.wrap_client_stream(
                        nursery, stream, parts.netloc, path, subprotocols=list(subprotocols), max_message_size=LARGEST,
                        extra_headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                    )  # fmt: skip
            except (ws.HandshakeError, OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
                refusal = Unreachable(f"{host}:{port}: {error or type(error).__name__}")
            else:
                try:
                    yield TrioSocket(connection)
                finally:
                    with trio.move_on_after(2, shield=True):
                        await connection.aclose()
            nursery.cancel_scope.cancel()
    except* ws.ConnectionRejected as group:
        (rejected,) = group.exceptions
        refusal = CallRefused(getattr(rejected, "status_code", 0), "not a voice socket")
    finally:
        await trio.aclose_forcefully(stream)
    if refusal is not None:
        raise refusal  # outside the nursery, which would wrap it


@asynccontextmanager
async def _on_asyncio(url: str, subprotocols: Sequence[str], headers: Mapping[str, str]) -> AsyncGenerator[Socket]:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
    from websockets.typing import Subprotocol

    class AsyncioSocket:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        async def send(self, message: str | bytes) -> None:
            try:
                await self._connection.send(message)
            except ConnectionClosed as closed:
                raise _closed(closed) from None

        async def receive(self) -> str | bytes:
            try:
                return await self._connection.recv()
            except ConnectionClosed as closed:
                raise _closed(closed) from None

    def _closed(closed: ConnectionClosed) -> SocketClosed:
        close = closed.rcvd or closed.sent
        return SocketClosed(1006) if close is None else SocketClosed(close.code, close.reason)

    try:
        connection = await connect(
            url, subprotocols=[Subprotocol(name) for name in subprotocols], additional_headers=dict(headers),
            compression=None, max_size=LARGEST, close_timeout=2, open_timeout=PATIENCE, proxy=None,
        )  # fmt: skip
    except InvalidStatus as rejected:
        raise CallRefused(rejected.response.status_code, "not a voice socket") from None
    except (InvalidHandshake, OSError) as error:
        raise Unreachable(f"{url.partition('?')[0]}: {error or type(error).__name__}") from error
    try:
        yield AsyncioSocket(connection)
    finally:
        await connection.close()
