"""The analyst: has models make something of calls that are over, writes it down and tells of it, once for each call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, nullcontext
from functools import partial
from typing import Any, NoReturn

import attrs
import structlog
import trio

from invorto.errors import InvortoError, ProviderFailed, StoreUnavailable, UsageError
from invorto.model.agent import AgentConfig, LlmSettings
from invorto.model.record import OutboxEvent, Summary, Utterance
from invorto.realtime.analysis import LONGEST, Order, Unusable, fact_with, prompt_of, read_answer, read_order
from invorto.speech.plugins import Engines
from invorto.speech.ports import Delta, Llm, Prompt
from invorto.storage import analyses, calls
from invorto.storage.analyses import Claimed
from invorto.storage.postgres import Database

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""Analyses of this node at a time."""
TRIES = 2
"""How often a model is asked about one call."""
ATTEMPTS = 3
"""How often a call is claimed: whoever claims it for the last time asks nobody, and tells what rules make of it."""


@attrs.frozen(kw_only=True)
class Patience:
    """Seconds."""

    answer: float = 45.0
    """For one answer of a model."""
    lease: float = 150.0
    """Until somebody else may take over: more than all tries of one call take."""
    poll: float = 5.0
    """Between two looks at the queue when nothing was heard: what others left undone."""
    away: float = 2.0
    """While PostgreSQL is away."""


type Claim = Callable[[int, float], Awaitable[list[Claimed]]]
type Read = Callable[[str, str], Awaitable[Sequence[Utterance]]]
"""Gives a call's transcript, of tenant and id."""
type Settle = Callable[[Claimed, Summary, dict[str, Any], OutboxEvent], Awaitable[bool]]
type Minds = Callable[[LlmSettings], Awaitable[Sequence[Llm]]]
"""Gives the engines that can be asked, the first choice first."""


def can_analyse(mind: Llm) -> bool:
    """Tell whether an engine can answer questions, or only holds a dialogue that was laid out for it."""
    return bool(getattr(mind, "analyses", True))


@attrs.define(kw_only=True)
class Analyst:
    """One process's; any number of them share the queue."""

    claim: Claim
    read: Read
    settle: Settle
    minds: Minds
    knows: Callable[[AgentConfig], bool]
    """Whether there is an engine for an agent's calls, as far as is known without asking."""
    patience: Patience = attrs.field(factory=Patience)
    _stirred: trio.Event = attrs.field(factory=trio.Event, init=False)

    def wanted(self, agent: AgentConfig) -> bool:
        """Tell whether a model is to look at an agent's calls."""
        return agent.summary.enabled and self.knows(agent)

    def stir(self) -> None:
        """Look at the queue at once: a call has been written."""
        self._stirred.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Empty the queue, for ever; what is cut short is taken up when its lease is over, here or elsewhere."""
        task_status.started()
        while True:
            try:
                claims = await self.claim(AT_ONCE, self.patience.lease)
            except StoreUnavailable:
                await trio.sleep(self.patience.away)
                continue
            async with trio.open_nursery() as nursery:
                for claimed in claims:
                    nursery.start_soon(self._analyse, claimed)
            if len(claims) < AT_ONCE:
                with trio.move_on_after(self.patience.poll):
                    await self._stirred.wait()
                self._stirred = trio.Event()

    async def _analyse(self, claimed: Claimed) -> None:
        """Analyse one call; whatever goes wrong, its `agent.summary` is told, and other calls are not held up."""
        with structlog.contextvars.bound_contextvars(call_id=claimed.call_id, tenant_id=claimed.tenant_id):
            try:
                order = read_order(claimed.asked)
                summary, analysis = await self._ask(claimed, order)
                fact = fact_with(order.fact, summary, analysis)
                if not await self.settle(claimed, summary, analysis, fact):
                    log.info("analysis_was_settled_already")
            except StoreUnavailable as error:
                log.warning("analysis_put_off", error=str(error))  # its lease ends, and it is claimed again
            except Exception:
                log.exception("analysis_failed")

    async def _ask(self, claimed: Claimed, order: Order) -> tuple[Summary, dict[str, Any]]:
        ruled = order.made, dict(order.ruled)
        if claimed.attempts > ATTEMPTS:
            log.warning("analysis_given_up", attempts=claimed.attempts)
            return ruled
        transcript = await self.read(claimed.tenant_id, claimed.call_id)
        try:
            minds = await self.minds(order.llm)
        except InvortoError as error:
            log.warning("no_analyst", error=str(error))
            return ruled
        wrong: tuple[str, str] | None = None
        for attempt in range(TRIES):
            mind = minds[min(attempt, len(minds) - 1)] if minds else None
            if mind is None:
                break
            answer = ""
            try:
                answer = await self._answer(mind, prompt_of(order, transcript, wrong))
                return read_answer(answer, order, order.llm.model or mind.version)
            except Unusable as error:
                log.info("analysis_unusable", engine=mind.name, error=str(error))
                wrong = answer, str(error)
            except (ProviderFailed, trio.TooSlowError) as error:
                log.warning("analysis_engine_failed", engine=mind.name, error=str(error) or "it took too long")
        return ruled

    async def _answer(self, mind: Llm, prompt: Prompt) -> str:
        pieces: list[str] = []
        length = 0
        with trio.fail_after(self.patience.answer):
            async with mind.answer(prompt) as thoughts, _closing(thoughts):
                async for thought in thoughts:
                    if isinstance(thought, Delta):
                        pieces.append(thought.text)
                        length += len(thought.text)
                        if length > LONGEST:
                            break
        return "".join(pieces)


def make_analyst(database: Database, engines: Engines) -> Analyst:
    """Make the analyst of a process, on its stores and engines."""

    async def minds(settings: LlmSettings) -> Sequence[Llm]:
        opened: list[Llm] = []
        for name in dict.fromkeys(settings.providers):
            try:
                await engines.open("llm", name)
            except UsageError as error:
                log.warning("engine_missing", kind="llm", engine=name, error=str(error))
            else:
                opened.append(engines.llm(name))
        return [mind for mind in opened if can_analyse(mind)]

    def knows(agent: AgentConfig) -> bool:
        return any(can_analyse(mind) for mind in engines.open_minds(agent.llm.providers))

    async def settle(claimed: Claimed, summary: Summary, analysis: dict[str, Any], fact: OutboxEvent) -> bool:
        return await analyses.settle(database, claimed, summary=summary, analysis=analysis, fact=fact)

    return Analyst(
        claim=partial(analyses.claim, database), read=partial(calls.transcript, database), settle=settle, minds=minds,
        knows=knows,
    )  # fmt: skip


def _closing(thoughts: Any) -> Any:
    """Close what is an async generator in the end; other iterators need nothing."""
    return aclosing(thoughts) if hasattr(thoughts, "aclose") else nullcontext()
