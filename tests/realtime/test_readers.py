"""One wait for many sockets: nobody misses bytes, whatever the crowd, and nothing waits for one that is gone."""

from __future__ import annotations

import socket as stdlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from invorto.realtime.readers import CROWD, Readers
from invorto.realtime.wire import CHUNK, Gone, Wire, wire_of


@asynccontextmanager
async def crowd(readers: Readers, size: int) -> AsyncGenerator[list[tuple[Wire, stdlib.socket]]]:
    """Open wires among *readers*, with their far ends."""
    pairs = [stdlib.socketpair() for _ in range(size)]
    wires = [wire_of(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), readers) for ours, _ in pairs]
    try:
        yield [(wire, far) for wire, (_, far) in zip(wires, pairs, strict=True)]
    finally:
        for wire, (_, far) in zip(wires, pairs, strict=True):
            far.close()
            with trio.CancelScope(shield=True):
                await wire.cut()


@pytest.mark.parametrize("size", [1, CROWD, 3 * CROWD])
async def test_everybody_reads_what_was_sent(size: int) -> None:
    """Alone or in a crowd: all bytes arrive, in order, also those that came before anybody waited."""
    readers, heard = Readers(), dict[int, bytes]()

    async def read(number: int, wire: Wire) -> None:
        while data := await wire.read():
            heard[number] = heard.get(number, b"") + data

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(readers.run)
            async with crowd(readers, size) as wires, trio.open_nursery() as reading:
                for number, (wire, far) in enumerate(wires):
                    far.sendall(b"a%d " % number)
                    reading.start_soon(read, number, wire)
                for part in (b"b", b"c" * (2 * CHUNK), b"d"):
                    await trio.sleep(0.01)
                    for _, far in wires:
                        far.sendall(part)
                for _, far in wires:
                    far.shutdown(stdlib.SHUT_WR)
            nursery.cancel_scope.cancel()
    assert heard == {number: b"a%d b" % number + b"c" * (2 * CHUNK) + b"d" for number in range(size)}


async def test_cutting_wakes_whoever_reads() -> None:
    """A task that waits among others learns that its socket is gone, and the others go on waiting."""
    readers = Readers()
    async with trio.open_nursery() as nursery:
        await nursery.start(readers.run)
        async with crowd(readers, CROWD) as wires, trio.open_nursery() as reading:

            async def read(wire: Wire) -> None:
                with pytest.raises(Gone):
                    await wire.read()

            for wire, _ in wires:
                reading.start_soon(read, wire)
            await wait_all_tasks_blocked()
            await wires[0][0].cut()
            await wait_all_tasks_blocked()
            assert len(reading.child_tasks) == CROWD - 1
            for wire, _ in wires:
                await wire.cut()
        nursery.cancel_scope.cancel()


async def test_a_reader_that_is_cancelled_misses_nothing() -> None:
    """What comes while nobody waits is there for the next who does."""
    readers = Readers()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(readers.run)
            async with crowd(readers, 1) as wires:
                wire, far = wires[0]
                with trio.move_on_after(0.01):
                    await wire.read()
                far.sendall(b"late")
                await trio.sleep(0.01)
                assert await wire.read() == b"late"
            nursery.cancel_scope.cancel()


async def test_without_the_service_everybody_waits_alone() -> None:
    """Sockets that were opened before it ran are read, and so are those that outlive it."""
    readers = Readers()
    with trio.fail_after(5):
        async with crowd(readers, 1) as early, trio.open_nursery() as nursery:
            await nursery.start(readers.run)
            async with crowd(readers, 1) as late, trio.open_nursery() as reading:

                async def read(wire: Wire) -> None:
                    assert await wire.read() == b"x"

                for wire, _ in (*early, *late):
                    reading.start_soon(read, wire)
                await wait_all_tasks_blocked()
                reading.cancel_scope.shield = True
                nursery.cancel_scope.cancel()
                with trio.CancelScope(shield=True):
                    await wait_all_tasks_blocked()
                    for _, far in (*early, *late):
                        far.sendall(b"x")
                    while reading.child_tasks:
                        await trio.sleep(0.001)
