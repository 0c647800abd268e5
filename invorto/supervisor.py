"""
The task tree.

Read it top to bottom for the order of starting, and bottom to top for the order of stopping.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol

import attrs
import structlog
import trio

from invorto.config import Config
from invorto.errors import InvortoError, StartFailed, first_of
from invorto.model.agent import LOCALE
from invorto.model.call import EndReason
from invorto.model.pii import Redactor
from invorto.observability.logs import set_up_logs
from invorto.realtime.door import serve_door
from invorto.realtime.listeners import open_listeners
from invorto.realtime.live import LiveCalls
from invorto.resources import Resources, open_resources
from invorto.speech.opening import Progress, silent

log = structlog.get_logger(__name__)

GOODBYE = 4.5
"""Seconds that live calls get to say goodbye when the drain is over, before they are cut: five in all are promised,
and what they leave is still to be written."""
INTERRUPTED = 130
"""The exit code when a signal ended the start."""
HTTP_GRACE = 4.0
"""Seconds that requests, and webhooks in flight, get to finish, beside the goodbyes."""


class Service(Protocol):
    """Something of the back that runs until cancelled, and says when it is ready."""

    async def __call__(self, *, task_status: trio.TaskStatus[None] = ...) -> None:
        """Run."""
        ...


@attrs.define
class Stop:
    """That the process is to stop: in order, then without waiting for calls to end, then without a goodbye."""

    asked: trio.Event = attrs.field(factory=trio.Event)
    hurried: trio.Event = attrs.field(factory=trio.Event)
    """Asked again: live calls are waited for no longer, and hear their goodbye."""
    cut: trio.Event = attrs.field(factory=trio.Event)
    """And again: nothing is waited for but what calls leave."""
    failed: str | None = None
    """The service whose failure made it stop."""
    serving: bool = False
    """Whether the start is over."""

    def ask(self) -> None:
        """Stop; asked a second time, skip the wait for live calls, and a third time their goodbye."""
        if self.hurried.is_set():
            self.cut.set()
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    def fail(self, service: str) -> None:
        """Stop in order for the failure of a service, which is told in the end."""
        self.failed = self.failed or service
        self.asked.set()


type Ready = Callable[[Resources, list[tuple[str, int]], Stop], Awaitable[None]]
"""What to do once it serves: told the addresses, and may ask for the stop."""
type Prepare = Callable[[AsyncExitStack, Config], Awaitable[Config]]
"""Opens what has to be there before the resources are, and gives the settings that lead to it."""

PARTS = frozenset({"api", "realtime", "telephony", "webhooks"})


async def serve(
    config: Config,
    parts: frozenset[str] = PARTS,
    *,
    shared: bool = False,
    prepare: Prepare | None = None,
    ready: Ready | None = None,
    progress: Progress = silent,
) -> int:
    """
    Serve until a signal; gives the exit code. *shared* lets other processes listen on the same ports.

    `UsageError` and `StartFailed` say what keeps it from starting, or what made it stop.
    """
    scrub = Redactor.of((), LOCALE).text if config.conversation.pii_redaction else None
    set_up_logs(config.observing.log_level, config.observing.log_format, scrub=scrub)
    stop = Stop()
    async with trio.open_nursery() as nursery:
        starting = trio.CancelScope()
        await nursery.start(listen_for_signals, stop, starting)
        with starting:
            async with AsyncExitStack() as stack:
                doors = await bind(stack, config, shared=shared)
                if prepare is not None:
                    config = await prepare(stack, config)
                resources = await stack.enter_async_context(open_resources(config, progress))
                gc.collect()
                gc.freeze()  # what was loaded to start with stays: looking it through again would hold every call up
                await supervise(resources, doors, parts, stop, ready)
        nursery.cancel_scope.cancel()
    if starting.cancelled_caught:
        return INTERRUPTED
    if stop.failed is not None:
        raise StartFailed(f"{stop.failed} failed, see the log")
    return 0


async def listen_for_signals(
    stop: Stop, starting: trio.CancelScope, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Ask for the stop at SIGTERM, SIGINT and SIGHUP; more of them hurry it, and one during the start ends that."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # else we are to outlive the terminal: nohup
        numbers.append(signal.SIGHUP)
    with trio.open_signal_receiver(*numbers) as signals:
        task_status.started()
        async for number in signals:
            log.info("signal", number=number, second=stop.asked.is_set())
            if not stop.serving:
                starting.cancel()
            stop.ask()


@attrs.frozen
class Doors:
    """Where the process listens: one port for all, and maybe one for sockets alone."""

    all: list[trio.SocketListener]
    sockets: list[trio.SocketListener]


async def bind(stack: AsyncExitStack, config: Config, *, shared: bool = False) -> Doors:
    """Take the ports before anything else, so that a taken one is known at once."""
    net = config.network
    everything = await stack.enter_async_context(open_listeners(net.bind_host, net.api_port, shared=shared))
    sockets: list[trio.SocketListener] = []
    if net.realtime_port is not None:
        sockets = await stack.enter_async_context(
            open_listeners(net.bind_host, net.realtime_port, shared=shared, setting="REALTIME_PORT")
        )
    return Doors(everything, sockets)


async def supervise(
    resources: Resources, doors: Doors, parts: frozenset[str], stop: Stop, ready: Ready | None = None
) -> None:
    """Start the back, then the front; wait for *stop*; stop the front, then the back, the last first."""
    async with trio.open_nursery() as back:
        services = [
            _Service(name, service)
            for name, service in resources.services().items()
            if name not in PARTS or name in parts
        ]
        for service in services:
            await back.start(service.run, stop)
        async with trio.open_nursery() as front:
            async with trio.open_nursery() as calls:
                reception = resources.reception(calls) if "realtime" in parts else None
                voice = reception.answer if reception else resources.no_voice
                door = partial(serve_door, voice=voice, readers=resources.readers)
                http = resources.http if "api" in parts else None
                addresses = await front.start(partial(door, doors.all, http_handler=http))
                if doors.sockets:
                    await front.start(partial(door, doors.sockets, http_handler=None))
                resources.health.ready = stop.serving = True
                log.info("ready", addresses=[f"{host}:{port}" for host, port in addresses])
                if ready is not None:
                    front.start_soon(ready, resources, addresses, stop)
                await stop.asked.wait()
                await _drain(resources, resources.config.limits.drain_timeout, stop)
                grace = trio.current_time() + HTTP_GRACE
                resources.dispatcher.hush()
                async with trio.open_nursery() as last:
                    resources.http.drain()
                    last.start_soon(_wait, resources.http.wait_idle, HTTP_GRACE, stop.cut)
                    await _say_goodbye(resources.live, stop)
                calls.cancel_scope.cancel()
            front.cancel_scope.cancel()
        await _wait(resources.dispatcher.finish, max(0.0, grace - trio.current_time()), stop.cut)
        for service in reversed(services):
            await service.end()
        back.cancel_scope.cancel()
    log.info("stopped")


@attrs.define
class _Service:
    """A service that the house cannot do without: when it ends, live calls end in order, and the process too."""

    name: str
    body: Service
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    over: trio.Event = attrs.field(factory=trio.Event)
    _status: trio.TaskStatus[None] = attrs.field(default=trio.TASK_STATUS_IGNORED)
    _started: bool = False

    async def run(  # noqa: ASYNC128 - what it runs says when it is ready
        self, stop: Stop, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run it; what keeps it from starting is raised, what happens later is logged and stops the process."""
        self._status = task_status
        try:
            with self.scope:
                await self.body(task_status=self)
                log.critical("service_ended", service=self.name)
        except* InvortoError as group:
            if not self._started:
                raise
            log.critical("service_failed", service=self.name, error=str(first_of(group)))
        except* Exception as group:
            log.critical("service_failed", service=self.name, exc_info=group)
        finally:
            self.over.set()
        if not self._started:
            raise StartFailed(f"{self.name} does not start, see the log")
        if not self.scope.cancelled_caught:
            stop.fail(self.name)

    def started(self, value: None = None) -> None:
        """Pass on that it can be relied on."""
        self._started = True
        self._status.started(value)

    async def end(self) -> None:
        """Stop it, and wait until it has put away what it holds."""
        self.scope.cancel()
        await self.over.wait()


async def _drain(resources: Resources, patience: float, stop: Stop) -> None:
    """Let no new calls in, and let live ones end by themselves."""
    live = resources.live
    live.draining = True
    resources.health.ready = False
    log.info("draining", calls=live.held, patience=patience)
    await _wait(live.wait_empty, patience, stop.hurried)


async def _say_goodbye(live: LiveCalls, stop: Stop) -> None:
    """Have the calls that are left end with a goodbye."""
    if live.held:
        log.info("saying_goodbye", calls=live.held)
        live.leave(EndReason.DRAINED)
        await _wait(live.wait_empty, GOODBYE, stop.cut)
    if live.held:
        log.warning("calls_cut", calls=live.held)


async def _wait(what: Callable[[], Awaitable[None]], seconds: float, skip: trio.Event) -> None:
    """Wait until *what* returns, but not longer than *seconds*, and not after *skip*."""

    async def skipped(scope: trio.CancelScope) -> None:
        await skip.wait()
        scope.cancel()

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(skipped, nursery.cancel_scope)
            await what()
            nursery.cancel_scope.cancel()
