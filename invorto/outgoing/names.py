"""Names looked up in threads apart: one whose servers are silent holds up no other, nor the rest of the process."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial

import trio

from invorto.outgoing.addresses import Address, address_of
from invorto.outgoing.client import OutgoingFailed, Resolve

EACH = 4
"""Threads that one name takes at most."""


def apart(each: int = EACH) -> Resolve:
    """
    Make what looks names up, each name in up to *each* threads of its own; `OutgoingFailed` where there are none.

    A question that is given up keeps its thread until the system answers, which may take half a minute.
    """
    names: dict[str, trio.CapacityLimiter] = {}

    async def resolve(host: str) -> Sequence[Address]:
        mine = names.setdefault(host, trio.CapacityLimiter(each))
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        try:
            found = await trio.to_thread.run_sync(ask, abandon_on_cancel=True, limiter=mine)
        except (OSError, UnicodeError) as error:
            raise OutgoingFailed("name", f"{host} has no address: {error}") from error
        finally:
            for name in [name for name, limiter in names.items() if not limiter.borrowed_tokens]:
                if not names[name].statistics().tasks_waiting:
                    del names[name]
        return list(dict.fromkeys(address_of(str(one[4][0])) for one in found))

    return resolve
