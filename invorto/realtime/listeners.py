"""Sockets that listen, bound before anything else is started, so that a taken port is known at once."""

from __future__ import annotations

import errno
import socket as stdlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from invorto.errors import UsageError

_BACKLOG = 1024
# Connections that the kernel holds for us: a burst of clients after a restart.

type Address = tuple[str, int]


@asynccontextmanager
async def open_listeners(
    host: str, port: int, *, shared: bool = False, setting: str = "API_PORT"
) -> AsyncGenerator[list[trio.SocketListener]]:
    """Listen on every address of *host*; port 0 takes a free one, the same for all. Closed at the end.

    *shared* lets other processes that say so too listen on the same port (SO_REUSEPORT), and the kernel deals out the
    connections. What cannot be bound raises `UsageError`, in a sentence that names the port and *setting*.
    """
    listeners: list[trio.SocketListener] = []
    try:
        for family, _, _, _, place in await _addresses(host, port):
            address = (place[0], port, *place[2:])
            listeners.append(trio.SocketListener(await _bound(family, address, shared=shared, setting=setting)))
            port = address_of(listeners[-1].socket)[1]
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()


async def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        return await trio.socket.getaddrinfo(host, port, type=stdlib.SOCK_STREAM, flags=stdlib.AI_PASSIVE)
    except OSError as error:
        raise UsageError(
            f"BIND_HOST {host!r} is no address of this machine ({error.strerror}); try 127.0.0.1"
        ) from None


async def _bound(
    family: stdlib.AddressFamily, address: tuple[Any, ...], *, shared: bool, setting: str
) -> trio.socket.SocketType:
    bound = trio.socket.socket(family, stdlib.SOCK_STREAM)
    try:
        bound.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
        if family == stdlib.AF_INET6:
            bound.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 1)
        await bound.bind(address)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise UsageError(refusal(error, address, setting)) from None
    except BaseException:
        bound.close()
        raise
    return bound


def unknown(error: OSError, host: str) -> str:
    """Say that *host* is no address, and what to do."""
    return f"BIND_HOST {host!r} is no address of this machine ({error.strerror}); try 127.0.0.1"


def refusal(error: OSError, address: tuple[Any, ...], setting: str) -> str:
    """Say why *address*, which *setting* names, cannot be listened on, and what to do."""
    host, port = address[0], address[1]
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is taken: stop what listens there, or set {setting} to another port (0: any)"
        case errno.EACCES:
            return f"port {port} needs more rights than we have: set {setting} to 1024 or more"
        case errno.EADDRNOTAVAIL:
            return f"BIND_HOST {host} is no address of this machine: try 127.0.0.1 or 0.0.0.0"
        case _:
            return f"port {port} on {host} cannot be listened on: {error.strerror}"


def address_of(socket: trio.socket.SocketType) -> Address:
    """Give the address that *socket* is bound to."""
    host, port = socket.getsockname()[:2]
    return host, port


def peer_of(socket: trio.socket.SocketType) -> str:
    """Give the address that *socket* is connected to, without its port; empty if it is gone already."""
    try:
        name = socket.getpeername()
    except OSError:
        return ""
    return str(name[0]) if name else ""
