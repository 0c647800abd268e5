"""`serve --workers K`: a parent that forks K servers on the same ports, passes signals on, and replaces what dies.

The parent does nothing else: no loop, no stores, no thread, so that forking is safe at any time.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket as stdlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import attrs
import structlog

from invorto.config import Config
from invorto.errors import UsageError
from invorto.observability.logs import set_up_logs
from invorto.realtime.listeners import refusal, unknown

log = structlog.get_logger(__name__)

FIRST_PAUSE = 0.5
"""Seconds before a worker that died is replaced; doubled each time it dies early."""
LONGEST_PAUSE = 30.0
SETTLED = 60.0
"""Seconds of serving after which a worker's death is the first again."""
STUBBORN = 60.0
"""Seconds beyond DRAIN_TIMEOUT after which a worker is killed: more than all deadlines of an orderly stop together."""
INTERRUPTED = 130
_STOPS = (signal.SIGTERM, signal.SIGINT)
_HEARD = {*_STOPS, signal.SIGCHLD}
_DEATH_SIGNAL = 1  # of prctl(2)


@attrs.frozen
class Worker:
    """What a forked process knows of its parent."""

    _pipe: int

    async def ready(self, *_: object) -> None:
        """Tell the parent that this process serves."""
        with suppress(OSError):
            os.write(self._pipe, b".")
            os.close(self._pipe)


@attrs.define
class _Seat:
    """One worker's place."""

    number: int
    pid: int = 0
    """0: nobody sits here now."""
    pipe: int = -1
    serves_since: float = 0.0
    """On the monotonic clock; 0: not yet."""
    again_at: float = 0.0
    deaths: int = 0


@contextmanager
def reserved(config: Config) -> Iterator[Config]:
    """Keep the ports for workers of ours alone, free ones where 0 is asked for; gives the settings that name them.

    `UsageError` says which port is taken: the workers would share it with a server that shares it too.
    """
    net, kept = config.network, list[stdlib.socket]()
    try:
        api = _reserve(net.bind_host, net.api_port, "API_PORT", kept)
        sockets = net.realtime_port
        if sockets is not None:
            sockets = _reserve(net.bind_host, sockets, "REALTIME_PORT", kept)
        yield attrs.evolve(config, network=attrs.evolve(net, api_port=api, realtime_port=sockets))
    finally:
        for socket in kept:
            socket.close()


def _reserve(host: str, port: int, setting: str, kept: list[stdlib.socket]) -> int:
    try:
        places = stdlib.getaddrinfo(host, port, type=stdlib.SOCK_STREAM, flags=stdlib.AI_PASSIVE)
    except OSError as error:
        raise UsageError(unknown(error, host)) from None
    for family, _, _, _, place in places:
        address = (place[0], port, *place[2:])
        try:
            for shared in (False, True):  # alone it fails where anybody listens
                socket = stdlib.socket(family, stdlib.SOCK_STREAM)
                kept.append(socket)
                socket.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEADDR, 1)
                if shared:
                    socket.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_REUSEPORT, 1)
                if family == stdlib.AF_INET6:
                    socket.setsockopt(stdlib.IPPROTO_IPV6, stdlib.IPV6_V6ONLY, 1)
                socket.bind(address)
                if not shared:
                    socket.close()
        except OSError as error:
            raise UsageError(refusal(error, address, setting)) from None
        port = kept[-1].getsockname()[1]
    return port


def spread(count: int, config: Config) -> Worker | int:
    """Fork *count* workers: in each of them gives its `Worker`; in the parent, when all have ended, the exit code.

    The first one is waited for before the others are started, so that what keeps it from serving is told once.
    """
    set_up_logs(config.observing.log_level, config.observing.log_format)
    return _Parent([_Seat(number + 1) for number in range(count)], config.limits.drain_timeout).run()


@attrs.define
class _Parent:
    """Longer than a loop needs to be, since each event may come in each state."""

    seats: list[_Seat]
    patience: float
    _wake: tuple[int, int] = attrs.field(init=False)
    _stopping: bool = False
    _kill_at: float = float("inf")
    _code: int = 0

    def run(self) -> Worker | int:
        """Run until all workers have ended."""
        self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        for number in _HEARD:
            signal.signal(number, lambda *_: None)
        if worker := self._fork(self.seats[0]):
            return worker
        while any(seat.pid for seat in self.seats) or not self._stopping:
            self._listen()
            self._bury()
            if time.monotonic() >= self._kill_at:
                log.error("workers_killed", left=sum(bool(seat.pid) for seat in self.seats))
                self._tell(signal.SIGKILL)
                self._kill_at = float("inf")
            for seat in self._due():
                if worker := self._fork(seat):
                    return worker
        log.info("workers_stopped", code=self._code)
        self._forget()
        return self._code

    def _fork(self, seat: _Seat) -> Worker | None:
        """Put somebody on a seat; gives that process its `Worker`."""
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that came before the child has let go of the pipe would be heard by the parent as its own.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._forget()
            os.setsid()  # or Ctrl-C in a terminal reaches it from there and from the parent, which counts as two
            ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
            if os.getppid() != parent:
                sys.exit(1)
            return Worker(writing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        os.close(writing)
        seat.pid, seat.pipe, seat.serves_since = pid, reading, 0.0
        log.info("worker_started", worker=seat.number, pid=pid)
        return None

    def _forget(self) -> None:
        """Let go of what is the parent's alone."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for handle in (*self._wake, *(seat.pipe for seat in self.seats)):
            with suppress(OSError):
                os.close(handle)

    def _listen(self) -> None:
        """Wait until something happens or is due; take in signals, and who serves."""
        poll = select.poll()
        for handle in (self._wake[0], *(seat.pipe for seat in self.seats if seat.pipe >= 0)):
            poll.register(handle, select.POLLIN)
        due = [seat.again_at for seat in self.seats if not seat.pid and self._open] if not self._stopping else []
        wait = min([self._kill_at, *due]) - time.monotonic()
        poll.poll(None if wait == float("inf") else max(0.0, wait) * 1000 + 1)
        for seat in self.seats:
            self._look(seat)
        with suppress(BlockingIOError):
            for number in os.read(self._wake[0], 64):
                if number in _STOPS:
                    self._stop(signal.Signals(number))

    def _look(self, seat: _Seat) -> None:
        """See whether somebody serves, or never will."""
        with suppress(BlockingIOError):
            if seat.pipe >= 0:
                if os.read(seat.pipe, 1):
                    seat.serves_since = time.monotonic()
                os.close(seat.pipe)
                seat.pipe = -1

    @property
    def _open(self) -> bool:
        """Whether the first worker has served, so that it is worth while to start others."""
        return any(seat.serves_since or seat.deaths for seat in self.seats)

    def _due(self) -> list[_Seat]:
        if self._stopping or not self._open:
            return []
        now = time.monotonic()
        return [seat for seat in self.seats if not seat.pid and seat.again_at <= now]

    def _stop(self, number: signal.Signals) -> None:
        """Pass a signal on; the second one skips the wait in the workers, and so here."""
        log.info("signal", number=int(number), second=self._stopping)
        self._kill_at = time.monotonic() + STUBBORN + (0 if self._stopping else self.patience)
        self._stopping = True
        self._tell(number)

    def _tell(self, number: signal.Signals) -> None:
        for seat in self.seats:
            if seat.pid:
                with suppress(ProcessLookupError):
                    os.kill(seat.pid, number)

    def _bury(self) -> None:
        """Take note of who has ended, and when they are to be replaced."""
        for seat in self.seats:
            if not seat.pid:
                continue
            pid, status = os.waitpid(seat.pid, os.WNOHANG)
            if pid:
                self._look(seat)
                seat.pid = 0
                self._ended(seat, pid, os.waitstatus_to_exitcode(status))

    def _ended(self, seat: _Seat, pid: int, code: int) -> None:
        served, now = seat.serves_since, time.monotonic()
        if -code in _STOPS and not served:
            code = INTERRUPTED
        code = 128 - code if code < 0 else code
        if self._stopping or not self._open:
            # What keeps the first from serving keeps all: it has said why.
            self._code = max(self._code, code)
            self._stopping = True
            log.info("worker_ended", worker=seat.number, pid=pid, code=code)
            return
        early = not served or now - served < SETTLED
        seat.deaths = seat.deaths + 1 if early else 1
        pause = min(FIRST_PAUSE * 2 ** (seat.deaths - 1), LONGEST_PAUSE)
        seat.again_at = now + pause
        log.error("worker_died", worker=seat.number, pid=pid, code=code, again_in=pause)
