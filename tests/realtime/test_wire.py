"""The bytes under a socket: what is closed stays closed."""

from __future__ import annotations

import os
import socket as stdlib

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from invorto.realtime.wire import Gone, Wire, wire_of


def opened(kind: str) -> tuple[Wire, trio.abc.Stream]:
    """Make a wire of the kind and its far end."""
    if kind == "memory":
        ours, theirs = memory_stream_pair()
        return wire_of(ours), theirs
    left, right = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in stdlib.socketpair())
    return wire_of(left), right


@pytest.mark.parametrize("kind", ["socket", "memory"])
async def test_a_wire_that_was_cut_is_gone(kind: str):
    """Nothing can be read, written, drained or ended any more; cutting again is harmless."""
    wire, far = opened(kind)
    await wire.cut()
    await wire.cut()
    if kind == "socket":
        with pytest.raises(Gone):
            wire.write(b"x")
        with pytest.raises(Gone):
            await wire.end()
    with pytest.raises(Gone):
        await wire.read()
    with pytest.raises(Gone):
        await wire.drain(b"x")
    await far.aclose()


async def test_a_number_that_was_given_away_is_not_ours():
    """Who gets the descriptor of a wire that was cut hears nothing of it."""
    left, right = stdlib.socketpair()
    number = left.fileno()
    wire = wire_of(trio.SocketStream(trio.socket.from_stdlib_socket(left)))
    await wire.cut()
    mine, other = stdlib.socketpair()
    with right, mine, other:
        reused = {mine.fileno(), other.fileno()}
        if number not in reused:
            os.dup2(mine.fileno(), number)
        with pytest.raises(Gone):
            wire.write(b"stray")
        if number not in reused:
            os.close(number)


@pytest.mark.parametrize("kind", ["socket", "memory"])
async def test_cutting_wakes_whoever_reads(kind: str):
    """A task that waits for bytes learns that there will be none."""
    wire, far = opened(kind)

    async def read() -> None:
        with pytest.raises(Gone):
            await wire.read()

    async with far, trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        await wire.cut()


@pytest.mark.parametrize("kind", ["socket", "memory"])
async def test_a_wire_carries_bytes(kind: str):
    """What was not written at once is drained; after the end of ours the peer may still speak."""
    wire, far = opened(kind)
    sent = wire.write(b"ab")
    while sent < 2:
        sent += await wire.drain(b"ab"[sent:])
    await wire.end()
    assert await far.receive_some() == b"ab"
    assert await far.receive_some() == b""
    await far.send_all(b"cd")
    assert await wire.read() == b"cd"
    await wire.cut()
    await far.aclose()


async def test_a_full_socket_takes_nothing_and_a_broken_one_is_gone():
    """Writing never waits: nothing is taken, or `Gone` is raised."""
    wire, far = opened("socket")
    while wire.write(bytes(100_000)):
        pass
    await far.aclose()
    with pytest.raises(Gone):
        wire.write(b"x")
    with pytest.raises(Gone):
        await wire.drain(b"x")
    await wire.cut()
