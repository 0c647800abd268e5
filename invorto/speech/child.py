"""The process of a heavy engine: reads orders in one thread, works in another, dies with its parent.

Run as ``python -m invorto.speech.child PARENT DESCRIPTOR NICE module:factory``. It imports nothing of the server. The
factory gives a `Worker`; whatever it prints goes to the standard error.
"""

from __future__ import annotations

import ctypes
import heapq
import importlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, Protocol

from invorto.speech.frames import ORDERS, Ask, Drop, Failed, Order, Piece, Ready, Report, Unpacker, pack

_PR_SET_PDEATHSIG = 1


class Worker(Protocol):
    """An engine as its process sees it."""

    about: Any
    """What there is to know of it, sent when it is loaded."""

    def work(self, what: str, body: Any) -> Iterator[Any]:
        """Do something, giving the answer piece by piece; between two pieces it may be told to stop."""
        ...


class Orders:
    """What is to be done, most urgent first; filled by the reading thread, emptied by the working one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heap: list[tuple[int, int, Ask]] = []
        self._dropped: set[int] = set()
        self._current: int | None = None

    def add(self, order: Order) -> None:
        """Take in an order."""
        with self._changed:
            match order:
                case Ask():
                    heapq.heappush(self._heap, (order.urgent, order.id, order))
                    self._changed.notify()
                case Drop(id=number):
                    if number == self._current or any(ask.id == number for _, _, ask in self._heap):
                        self._dropped.add(number)

    def take(self) -> Ask:
        """Wait for the next thing to do."""
        with self._changed:
            self._dropped.discard(self._current or 0)
            self._current = None
            while True:
                while self._heap:
                    _, _, ask = heapq.heappop(self._heap)
                    if ask.id not in self._dropped:
                        self._current = ask.id
                        return ask
                    self._dropped.discard(ask.id)
                self._changed.wait()

    def dropped(self, number: int) -> bool:
        """Tell whether the answer is no longer wanted."""
        return number in self._dropped


def read(wire: socket.socket, orders: Orders) -> None:
    """Read orders until the parent closes the pipe or is gone, then end the process at once."""
    unpacker: Unpacker[Order] = Unpacker(ORDERS)
    try:
        while data := wire.recv(1 << 20):
            for order in unpacker.feed(data):
                orders.add(order)
    finally:
        os._exit(0)  # the other thread may be deep in a model: nothing of it is worth waiting for


def work(wire: socket.socket, worker: Worker, orders: Orders) -> None:
    """Do what is ordered, for ever; an order that fails is answered with why."""
    while True:
        ask = orders.take()
        try:
            for body in worker.work(ask.what, ask.body):
                if orders.dropped(ask.id):
                    break
                send(wire, Piece(ask.id, body, last=False))
            send(wire, Piece(ask.id, None, last=True))
        except Exception as error:  # noqa: BLE001  # whatever a model raises is the answer to this one order
            send(wire, Failed(ask.id, f"{type(error).__name__}: {error}"))


def send(wire: socket.socket, report: Report) -> None:
    """Send a report; a parent that is gone is the reading thread's business."""
    try:
        wire.sendall(pack(report))
    except OSError:
        os._exit(0)


def settle(parent: int, nice: int) -> None:
    """Be a quiet child: low priority, deaf to the terminal's signals, never outliving *parent*."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(nice)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the signal was set
        os._exit(0)


def main(argv: list[str]) -> None:
    """Load the engine and serve its parent."""
    parent, descriptor, nice, name = argv
    settle(int(parent), int(nice))
    wire = socket.socket(fileno=int(descriptor))
    orders = Orders()
    threading.Thread(target=read, args=(wire, orders), daemon=True).start()
    module, _, factory = name.partition(":")
    try:
        worker: Worker = getattr(importlib.import_module(module), factory)()
    except Exception as error:  # noqa: BLE001  # said to the parent, who tells the operator
        send(wire, Failed(0, f"{type(error).__name__}: {error}"))
        return
    send(wire, Ready(worker.about))
    work(wire, worker, orders)


if __name__ == "__main__":
    main(sys.argv[1:])
