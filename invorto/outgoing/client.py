"""The one client: resolves a name once, checks what it gave, connects to just that; no redirects, no proxies."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from typing import cast

import attrs
import httpcore2
import trio

from invorto.errors import Invalid, InvortoError
from invorto.outgoing.addresses import Address, AddressRules, Target, address_of, check_address, check_url, read_url

KEPT = 16_384
"""Bytes of an answer that are kept unless somebody wants more."""
_IDLE_EACH = 10
"""Connections kept open to one origin: as many as are in flight to it."""
_IDLE_ALL = 200
_IDLE_SECONDS = 15.0
"""Servers commonly close after 60 s at the earliest; one that has closed is noticed before it is used."""
_HEADERS = 64
"""Lines of an answer's head that are kept."""

type Resolve = Callable[[str], Awaitable[Sequence[Address]]]


class OutgoingFailed(InvortoError):
    """No whole answer came: *reason* is one of ``name``, ``connect``, ``tls``, ``protocol``, ``lost``."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@attrs.frozen(kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name; of several of one name, the last."""
    body: bytes = b""
    truncated: bool = False
    """Whether more came than was kept."""


@attrs.frozen
class Streamed:
    """An answer whose body is still coming."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncGenerator[bytes]


async def resolve(host: str) -> Sequence[Address]:
    """Ask the system for a name's addresses, each once, in its order; `OutgoingFailed` where there are none."""
    try:
        found = await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise OutgoingFailed("name", f"{host} has no address: {error}") from error
    return list(dict.fromkeys(address_of(str(each[4][0])) for each in found))


@attrs.define(eq=False)
class Client:
    """Makes requests; `open_client` gives one. Who calls bounds the time of each request."""

    rules: AddressRules | None
    """None: addresses of the installation's own settings, which may be anywhere."""
    connect_seconds: float
    tls: ssl.SSLContext
    resolve: Resolve = resolve
    _idle: dict[tuple[str, str, int], list[tuple[httpcore2.AsyncHTTP11Connection, float]]] = attrs.field(factory=dict)
    _kept: int = 0

    def check(self, url: str) -> Target:
        """Read a URL and hold it to the rules; `Invalid`."""
        return read_url(url) if self.rules is None else check_url(url, self.rules)

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes = b"", most: int = KEPT
    ) -> Answer:
        """
        Make a request; give the answer with at most *most* bytes of its body.

        `Invalid` for a URL or an address that the rules refuse, `OutgoingFailed` where no whole answer comes. The
        rest of a longer body is not waited for.
        """
        async with self.stream(method, url, headers=headers, content=content) as streamed:
            kept, truncated = bytearray(), False
            async for chunk in streamed.chunks:
                kept += chunk[: most + 1 - len(kept)]
                if len(kept) > most:
                    truncated = True
                    break
        return Answer(
            status=streamed.status, headers=streamed.headers, body=bytes(kept[:most]), truncated=truncated
        )  # fmt: skip

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> AsyncGenerator[Streamed]:
        """Make a request and give its answer as it comes; leaving the block early drops the connection."""
        target = self.check(url)
        request = httpcore2.Request(
            method.encode(),
            httpcore2.URL(
                scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
            ),
            headers=_head(target, method, headers or {}, content),
            content=content,
        )
        connection = await self._connection(target)
        try:
            with _failures():
                response = await connection.handle_async_request(request)
            kept = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers[:_HEADERS]
            }
            body = cast("AsyncGenerator[bytes]", response.stream.__aiter__())  # type: ignore[union-attr]
            async with aclosing(_chunks(body)) as chunks:
                yield Streamed(response.status, kept, chunks)
            await response.aclose()
        finally:
            with trio.CancelScope(shield=True):  # a local close: it waits for nobody
                await self._put_away(target, connection)

    async def _connection(self, target: Target) -> httpcore2.AsyncHTTP11Connection:
        """Take one that is open and idle, or connect."""
        idle = self._idle.get(_key(target), [])
        while idle:
            connection, since = idle.pop()
            self._kept -= 1
            if trio.current_time() - since < _IDLE_SECONDS and not connection.has_expired():
                return connection
            await connection.aclose()
        return await self._connect(target)

    async def _connect(self, target: Target) -> httpcore2.AsyncHTTP11Connection:
        addresses = [target.address] if target.address else await self._resolved(target.host)
        if self.rules is not None:
            for address in addresses:
                check_address(address, self.rules)
        origin = httpcore2.Origin(target.scheme.encode(), target.host.encode(), target.port)
        backend = cast("httpcore2.AsyncNetworkBackend", httpcore2.TrioBackend())
        failure: OutgoingFailed | None = None
        with trio.move_on_after(self.connect_seconds):
            await trio.lowlevel.checkpoint()
            for address in addresses:
                try:
                    with _failures():
                        stream = await backend.connect_tcp(str(address), target.port)
                        if target.scheme == "https":
                            stream = await self._secured(stream, target)
                    return httpcore2.AsyncHTTP11Connection(origin, stream)
                except OutgoingFailed as error:
                    failure = error
        raise failure or OutgoingFailed("connect", f"{target.host} did not answer within {self.connect_seconds:g} s")

    async def _secured(self, stream: httpcore2.AsyncNetworkStream, target: Target) -> httpcore2.AsyncNetworkStream:
        async with AsyncExitStack() as undo:
            undo.push_async_callback(_drop, stream)
            try:
                secured = await stream.start_tls(self.tls, server_hostname=target.host)
            except (ssl.SSLError, httpcore2.ConnectError) as error:
                raise OutgoingFailed("tls", f"{target.host}: {_said(error)}") from error
            undo.pop_all()
        return secured

    async def _resolved(self, host: str) -> Sequence[Address]:
        with trio.move_on_after(self.connect_seconds):
            return await self.resolve(host)
        raise OutgoingFailed("name", f"{host} could not be looked up within {self.connect_seconds:g} s")

    async def _put_away(self, target: Target, connection: httpcore2.AsyncHTTP11Connection) -> None:
        idle = self._idle.setdefault(_key(target), [])
        if connection.is_idle() and len(idle) < _IDLE_EACH and self._kept < _IDLE_ALL:
            idle.append((connection, trio.current_time()))
            self._kept += 1
        else:
            await connection.aclose()
            await self._sweep()

    async def _sweep(self) -> None:
        """Close what has been idle for long."""
        for connection in self._stale():
            await connection.aclose()

    def _stale(self) -> list[httpcore2.AsyncHTTP11Connection]:
        """Take out what has been idle for long, and forget whom nobody writes to; in one step."""
        old = trio.current_time() - _IDLE_SECONDS
        stale: list[httpcore2.AsyncHTTP11Connection] = []
        for key, idle in list(self._idle.items()):
            stale += [connection for connection, since in idle if since < old]
            idle[:] = [each for each in idle if each[1] >= old]
            if not idle:
                del self._idle[key]
        self._kept -= len(stale)
        return stale

    async def aclose(self) -> None:
        """Close what is idle."""
        for idle in self._idle.values():
            for connection, _ in idle:
                await connection.aclose()
        self._idle.clear()
        self._kept = 0


@asynccontextmanager
async def open_client(
    rules: AddressRules | None, *, connect: float = 5.0, tls: ssl.SSLContext | None = None, resolve: Resolve = resolve
) -> AsyncGenerator[Client]:
    """
    Open a client for the length of the block; *connect* bounds looking up and connecting, seconds each.

    With *rules*, each URL and each address that a name gives is checked, and only what was checked is connected to.
    """
    client = Client(rules, connect, tls or ssl.create_default_context(), resolve)
    try:
        yield client
    finally:
        with trio.CancelScope(shield=True):  # local closes: they wait for nobody
            await client.aclose()


def _key(target: Target) -> tuple[str, str, int]:
    return target.scheme, target.host, target.port


def _head(target: Target, method: str, headers: Mapping[str, str], content: bytes) -> list[tuple[bytes, bytes]]:
    """Make a request's header lines; ours win over what is given."""
    ours = {"host": target.authority, "accept-encoding": "identity"}
    if content or method in {"POST", "PUT", "PATCH"}:
        ours["content-length"] = str(len(content))
    given = {name.lower(): value for name, value in headers.items()} | ours
    given.setdefault("user-agent", "Invorto")
    try:
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in given.items()]
    except UnicodeError:
        raise Invalid("a header is written in plain characters") from None


async def _drop(stream: httpcore2.AsyncNetworkStream) -> None:
    with trio.CancelScope(shield=True):  # a local close: it waits for nobody
        await stream.aclose()


async def _chunks(body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:  # noqa: ASYNC900 - `stream` closes it
    async with aclosing(body):
        with _failures():
            async for chunk in body:
                yield chunk  # noqa: ASYNC119 - `stream` closes it


@contextmanager
def _failures() -> Iterator[None]:
    """Turn the library's errors into ours."""
    try:
        yield
    except httpcore2.LocalProtocolError as error:
        raise Invalid(f"the request cannot be written: {_said(error)}") from error
    except httpcore2.RemoteProtocolError as error:
        raise OutgoingFailed("protocol", f"the answer is not HTTP: {_said(error)}") from error
    except httpcore2.ConnectError as error:
        raise OutgoingFailed("connect", f"no connection: {_said(error)}") from error
    except httpcore2.NetworkError as error:
        raise OutgoingFailed("lost", f"the connection was lost: {_said(error)}") from error


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
