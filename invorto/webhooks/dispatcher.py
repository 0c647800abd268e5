"""The dispatcher: routes facts, claims deliveries, posts them, writes how it ended, and stops in order."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NoReturn

import attrs
import structlog
import trio

from invorto.config import WebhookSettings
from invorto.errors import StoreUnavailable
from invorto.outgoing.client import Client, open_client
from invorto.outgoing.names import apart
from invorto.outgoing.rules import rules_of
from invorto.storage import webhook_outcomes, webhook_queue, webhook_upkeep
from invorto.storage.listen import listen
from invorto.storage.postgres import Database
from invorto.storage.webhook_outcomes import Outcome
from invorto.storage.webhook_queue import Claim
from invorto.webhooks import attempt
from invorto.webhooks.attempt import Result
from invorto.webhooks.lanes import Flight, Lanes
from invorto.webhooks.measures import Measures
from invorto.webhooks.schedule import Schedule, moment
from invorto.webhooks.seals import Seals

log = structlog.get_logger(__name__)

CHANNEL = "invorto_webhooks"


@attrs.frozen(kw_only=True)
class Pace:
    """How much at once, and how often; seconds."""

    claims: int = 1000
    """That one node holds at most."""
    requests: int = 400
    """In flight from one node."""
    outcomes: int = 500
    """Written in one transaction."""
    poll: float = 1.0
    """Between two looks at the queue when nothing was heard: what became due, and what was not heard."""
    upkeep: float = 10.0
    """Between two looks at its figures."""
    purge: float = 600.0
    """Between two rounds of taking away what was kept long enough."""
    connect: float = 5.0
    hand_back: float = 2.0
    """To write what is known and to give back the rest, when it is cancelled."""
    first_pause: float = 0.1
    """While PostgreSQL is away; it doubles."""
    longest_pause: float = 2.0


@attrs.define(eq=False, kw_only=True)
class Dispatcher:
    """
    Delivers webhooks together with those of other nodes.

    `run` delivers until it is cancelled; `finish` stops claiming and returns when nothing is in flight. Cancelled, it
    writes what it knows and hands back the rest, so that another node goes on at once; killed, its leases end.
    """

    database: Database
    db_url: str
    seals: Seals
    settings: WebhookSettings
    node_id: str
    measures: Measures
    pace: Pace = Pace()
    wall: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    prepare: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    """What is to be there before anything is delivered."""
    healthy: bool = attrs.field(default=True, init=False)
    """Whether PostgreSQL was there at the last try."""
    _lanes: Lanes = attrs.field(factory=Lanes, init=False)
    _held: dict[str, Claim] = attrs.field(factory=dict[str, Claim], init=False)
    _outcomes: list[Outcome] = attrs.field(factory=list[Outcome], init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _told: trio.Event = attrs.field(factory=trio.Event, init=False)
    _finishing: bool = attrs.field(default=False, init=False)
    _idle: trio.Event | None = attrs.field(default=None, init=False)
    """Set when nothing is in flight and nothing more is claimed; None: it does not run."""

    @property
    def lease(self) -> float:
        """Seconds that a claim holds: an attempt is begun only if there is time for the whole of it."""
        return 2 * self.settings.timeout

    @property
    def held(self) -> int:
        """How many deliveries are this node's now."""
        return len(self._held)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Deliver until cancelled."""
        self._lanes, self._held, self._outcomes = Lanes(), {}, []
        idle = self._idle = trio.Event()
        rules = rules_of(self.settings)
        try:
            async with (
                open_client(rules, connect=self.pace.connect, resolve=apart()) as guarded,
                open_client(None, connect=self.pace.connect) as own,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(listen, self.db_url, CHANNEL, self.wake)
                nursery.start_soon(self._write)
                nursery.start_soon(self._keep_up)
                task_status.started()
                async with trio.open_nursery() as flights:
                    await self._dispatch(flights, guarded, own)
                idle.set()
                await trio.sleep_forever()
        finally:
            with trio.move_on_after(self.pace.hand_back, shield=True):
                await self._put_down()
            idle.set()
            self._idle = None
        raise AssertionError  # pragma: no cover

    def hush(self) -> None:
        """Claim no more."""
        self._finishing = True
        self.wake()

    async def finish(self) -> None:
        """Claim no more, and return when nothing is in flight; `run` waits for its end."""
        self.hush()
        if self._idle is not None:
            await self._idle.wait()

    def wake(self) -> None:
        """Look at the queue now."""
        self._wake.set()

    async def _dispatch(self, flights: trio.Nursery, guarded: Client, own: Client) -> None:
        """Claim and launch, until `finish`."""
        requests = trio.CapacityLimiter(self.pace.requests)
        pause, prepared = self.pace.first_pause, False
        while not self._finishing:
            self._wake = trio.Event()
            try:
                if not prepared:
                    await self.prepare()
                    prepared = True
                facts = await webhook_queue.route(self.database)
                began = trio.current_time()
                most = self.pace.claims - len(self._held)
                claimed = await webhook_queue.claim(
                    self.database, self.node_id, lease=self.lease, most=most, full=self._lanes.full
                )
            except StoreUnavailable as error:
                self._away(error)
                await trio.sleep(pause)
                pause = min(2 * pause, self.pace.longest_pause)
                continue
            self.healthy, pause = True, self.pace.first_pause
            self.measures.webhooks_queued(facts)
            for one in claimed.claims:
                receiver = claimed.receivers[one.webhook_id]
                self._held[one.id] = one
                flight = Flight(
                    claim=one, receiver=receiver, lane=self._lanes.take(receiver), until=began + self.lease,
                    client=own if receiver.environment else guarded,
                )  # fmt: skip
                flights.start_soon(self._fly, flight, requests)
            if facts < webhook_queue.ROUTED and len(claimed.claims) < most:
                wait = self.pace.poll if claimed.soon is None else min(self.pace.poll, claimed.soon)
                with trio.move_on_after(wait):
                    await self._wake.wait()
            elif most == len(claimed.claims):
                await self._wake.wait()

    async def _fly(self, flight: Flight, requests: trio.CapacityLimiter) -> None:
        """Make one attempt, when it is its turn; what came of it is written by `_write`."""
        claim = flight.claim
        async with flight.lane.in_flight, requests:
            if trio.current_time() + self.settings.timeout > flight.until:
                await self._give_up(claim)
                return
            now, began = self.wall(), trio.current_time()
            if claim.step == 0:
                self.measures.webhook_first_attempt(max(0.0, now - claim.event.created_at.timestamp()))
            result = await self._post(flight, now)
            seconds = trio.current_time() - began
            flight.lane.ended(ok=result.kind == "delivered")
        self.measures.webhook_attempt(result.kind, seconds)
        self._outcomes.append(self._outcome(claim, result, now, seconds))
        self._told.set()

    async def _post(self, flight: Flight, now: float) -> Result:
        receiver, event = flight.receiver, flight.claim.event
        try:
            opened = self.seals.open(receiver)
            body = attempt.body_of(event)
            headers = attempt.headers_of(opened, event.event_id, body, now, legacy=receiver.legacy)
        except Exception as error:  # a key that was lost, a row that cannot be read: this endpoint's or event's alone
            log.exception("webhook_unreadable", webhook_id=receiver.id, event_id=event.event_id)
            return Result(kind="internal", error=f"it cannot be signed: {type(error).__name__}")
        return await attempt.post(
            flight.client, receiver.url, headers, body, seconds=self.settings.timeout, now=now
        )  # fmt: skip

    def _outcome(self, claim: Claim, result: Result, now: float, seconds: float) -> Outcome:
        again: float | None = None
        if result.kind not in {"delivered", "gone"}:
            schedule = Schedule(self.settings.schedule, self.settings.max_retries)
            first = claim.began_at.timestamp() if claim.began_at else now
            again = schedule.following(claim.step + 1, first, now + seconds, self.chance(), result.asked)
        return Outcome(
            id=claim.id, token=claim.token, webhook_id=claim.webhook_id, at=moment(now), ms=round(seconds * 1000, 3),
            status=result.status, error=result.error, excerpt=result.excerpt,
            again=None if again is None else moment(again), gone=result.kind == "gone",
        )  # fmt: skip

    async def _give_up(self, claim: Claim) -> None:
        """Hand back a delivery for whose attempt the lease leaves no time."""
        try:
            await webhook_queue.hand_back(self.database, [(claim.id, claim.token)])
        except StoreUnavailable as error:  # the lease ends by itself
            self._away(error)
        self._release([claim.id])

    async def _write(self) -> NoReturn:
        """Write outcomes, those that came meanwhile together; while PostgreSQL is away, keep them."""
        pause = self.pace.first_pause
        while True:
            await self._told.wait()
            self._told = trio.Event()
            while self._outcomes:
                try:
                    await self._settle()
                except StoreUnavailable as error:
                    self._away(error)
                    await trio.sleep(pause)
                    pause = min(2 * pause, self.pace.longest_pause)
                else:
                    pause = self.pace.first_pause

    async def _settle(self) -> None:
        batch = self._outcomes[: self.pace.outcomes]
        settled = await webhook_outcomes.settle(self.database, batch)
        del self._outcomes[: len(batch)]
        if settled.refused:
            log.warning("webhook_late", deliveries=sorted(settled.refused))
            self.measures.webhook_late(len(settled.refused))
        for webhook_id in settled.disabled:
            log.warning("webhook_disabled", webhook_id=webhook_id)
        self._release([one.id for one in batch])

    def _release(self, ids: Sequence[str]) -> None:
        """Forget claims that are over; look for more where there is room now."""
        full = len(self._held) >= self.pace.claims
        hungry = [self._lanes.give_back(self._held.pop(name).webhook_id) for name in ids if name in self._held]
        if any(hungry) or (full and hungry):
            self.wake()

    async def _keep_up(self) -> NoReturn:
        """Look at the figures of the queue, and take away what was kept long enough."""
        due = 0.0
        while True:
            try:
                found = await webhook_upkeep.backlog(self.database)
                self.measures.webhook_backlog(
                    facts=found.facts, pending=found.pending, oldest_ready=found.oldest_ready, dead=found.dead
                )
                if trio.current_time() >= due:
                    await webhook_upkeep.sweep(self.database)
                    await webhook_upkeep.purge(self.database, timedelta(days=self.settings.dead_days))
                    due = trio.current_time() + self.pace.purge
            except StoreUnavailable as error:
                self._away(error)
            await trio.sleep(self.pace.upkeep)

    async def _put_down(self) -> None:
        """Write what is known of attempts, and hand back what was not tried to its end."""
        try:
            while self._outcomes:
                await self._settle()
            left = [(claim.id, claim.token) for claim in self._held.values()]
            if await webhook_queue.hand_back(self.database, left):
                log.info("webhooks_handed_back", count=len(left))
        except StoreUnavailable as error:  # the leases end by themselves
            self._away(error)

    def _away(self, error: StoreUnavailable) -> None:
        if self.healthy:
            log.warning("webhooks_wait", error=str(error))
        self.healthy = False
