"""Drives one conversation: the one place where turns meet time, engines and the line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import AgentConfig
from invorto.model.call import EndReason
from invorto.observability.metrics import Metrics
from invorto.realtime import turns as t
from invorto.realtime.consent import Asking
from invorto.realtime.costs import Meter
from invorto.realtime.deadlines import Deadlines
from invorto.realtime.endpointing import says_one_of
from invorto.realtime.guess import Foresight, Guess
from invorto.realtime.holding import Music
from invorto.realtime.inbox import Inbox, News, Question
from invorto.realtime.mood import Mood
from invorto.realtime.mouth import Mouth
from invorto.realtime.protocol import ErrorMessage
from invorto.realtime.recording import Recording
from invorto.realtime.reply import Mind, prompt_of, recite, reply
from invorto.realtime.teller import Teller
from invorto.realtime.tools import Toolbox, Using
from invorto.realtime.transcript import Transcript
from invorto.realtime.turn import Turn
from invorto.realtime.words import Words
from invorto.speech.ports import EngineFailed, Final, Llm, Partial, SpeechBegan, SpeechPaused, ToolCall, Tts

log = structlog.get_logger(__name__)

SORRY = "Sorry, I am having some trouble just now."
FAILURES = 3  # turns in a row that may fail before the agent gives up


@attrs.define(kw_only=True)
class Conversation:
    """Who has the floor in one call, and what comes of it."""

    call_id: str
    agent: AgentConfig
    rate: int
    lead: float
    llm: Llm
    tts: Tts
    teller: Teller
    toolbox: Toolbox
    recording: Recording | None
    deadlines: Deadlines
    measures: Metrics
    speculate: bool = False
    """Whether thinking begins at the first pause, before it is known to be the last."""
    transcript: Transcript = attrs.field(factory=Transcript)
    used: Meter = attrs.field(factory=Meter)
    asking: Asking | None = attrs.field(default=None, init=False)
    """The request for consent, where the agent makes one."""
    turns: t.TurnTaker = attrs.field(init=False)
    mouth: Mouth = attrs.field(init=False)
    words: Words = attrs.field(init=False)
    mood: Mood = attrs.field(init=False)
    began_at: float = attrs.field(init=False, factory=trio.current_time)
    inbox: Inbox = attrs.field(factory=Inbox, init=False)
    music: Music = attrs.field(init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _foresight: Foresight = attrs.field(factory=Foresight, init=False)

    def __attrs_post_init__(self) -> None:
        self.turns = t.TurnTaker(t.Rules.of(self.agent))
        self.mood = Mood(lambda: self.agent, self.turns)
        self.mouth = Mouth(
            rate=self.rate, lead=self.lead, began_at=self.began_at, teller=self.teller, transcript=self.transcript,
            recording=self.recording, measures=self.measures, stir=lambda: self.post(None),
            audio_began=lambda turn, now: self.turns.step(t.AudioBegan(turn), now),
        )  # fmt: skip
        self.music = Music(self.teller.lines, self.rate, self.lead)
        self.words = Words(self.began_at, self.teller, self.transcript, self.measures)

    # -- from outside, at any time ----------------------------------------------------------------

    def post(self, event: News) -> None:
        """Tell what happened; never blocks or raises."""
        self.inbox.post(event)

    async def set_hold(self, *, on: bool, music: bool = False) -> None:
        """Pause the conversation, with music or in silence, or go on with it; harmless twice. `Conflict`."""
        await self.inbox.ask(t.Held(on))
        self.music.stop()
        if on and music and self.turns.floor is t.Floor.HELD and self._nursery is not None:
            self.music.start(self._nursery, self.turns.turn)

    def change(self, agent: AgentConfig) -> None:
        """Go on with another configuration from the next turn on; `Invalid` leaves the old one."""
        self.turns.rules = t.Rules.of(agent)
        self.agent = agent

    # -- the driver -------------------------------------------------------------------------------

    async def hold(self) -> EndReason:
        """Hold the conversation to its end; gives why it ended."""
        if self.agent.consent is not None:
            self.asking = Asking(self.agent.consent)
        async with self.inbox, trio.open_nursery() as nursery:
            self._nursery = nursery
            acts = self.turns.step(self._opening(), trio.current_time())
            while (reason := self._do(acts, nursery)) is None:
                self._foresee(nursery)
                event = None
                with trio.move_on_at(max(min(self.turns.deadline, self.mouth.deadline), 0.0)):
                    event = await self.inbox.receive()
                acts = self._hear(event, trio.current_time())
                if self.turns.floor is not t.Floor.HELD:
                    self.music.stop()
            nursery.cancel_scope.cancel()
        return reason

    def _opening(self) -> t.Speak | t.Listen:
        if self.asking is not None:
            return t.Speak(interruptible=False)
        return t.Speak() if self._greeting else t.Listen()

    @property
    def _greeting(self) -> str:
        return self.agent.greeting if isinstance(self.agent.greeting, str) else ""

    def _hear(self, event: News | Question, now: float) -> tuple[t.Act, ...]:
        if self.inbox.stuck:
            raise RuntimeError("the conversation does not keep up with its events")
        played = self.mouth.pump(now)
        acts = self.turns.step(played, now) if played is not None else ()
        match event:
            case Question():
                if event.withdrawn:
                    return acts
                done = self.turns.step(event.event, now)
                event.answer(done)
                return (*acts, *done)
            case EngineFailed(provider, stage, message):
                raise ProviderFailed(provider, stage, message)
            case SpeechBegan(at) if self.turns.floor is not t.Floor.CALLER:
                self.words.began(at)
            case SpeechPaused(at):
                self.words.ended(at)
            case t.Typed() if self.turns.floor is not t.Floor.CALLER:
                self.words.began(now)
                self.words.ended(now)
            case Partial() | Final():
                self.words.heard(event, now, turn=self.turns.turn + 1)
            case _:
                pass
        return (*acts, *self.turns.step(event, now))

    def _foresee(self, nursery: trio.Nursery) -> None:
        """Begin to think of what will be answered if nothing more is said; drop what will not be."""
        expected = self.turns.expected if self.speculate and (self.asking is None or self.asking.settled) else None
        if self._foresight.changes(expected) and expected and not says_one_of(expected, self.agent.end_call.phrases):
            tools = self.toolbox.offered(self.agent)
            prompt = prompt_of(self.agent, self.transcript.history(expected), self.call_id, tools)
            guess = Guess(prompt, self.llm, partial(self.used.thought, self.agent.llm))
            nursery.start_soon(self._foresight.begin(guess).think)

    # -- doing what the rules say -----------------------------------------------------------------

    def _do(self, acts: tuple[t.Act, ...], nursery: trio.Nursery) -> EndReason | None:
        now = trio.current_time()
        for act in acts:
            match act:
                case t.Reply(number, text):
                    self._answer(number, text, now, nursery)
                case t.Say(number):
                    prompt = self.asking.consent.prompt if self.asking is not None else self._greeting
                    self._recite(self.mouth.open(number, now), prompt, nursery)
                case t.Recite(number, text):
                    self._recite(self.mouth.open(number, now), text, nursery)
                case t.Nudge(number):
                    self.teller.note("endpointing.silence", {"turn": number})
                    self._recite(self.mouth.open(number, now), self.agent.silence.nudge, nursery)
                case t.Goodbye(number):
                    self.words.write_down(self.turns.take_text(), turn=number)
                    self._recite(self.mouth.open(number, now), self.agent.end_call.goodbye, nursery)
                case t.LeaveMessage(number):
                    self.words.write_down(self.turns.take_text(), turn=number)
                    self._recite(self.mouth.open(number, now), self.agent.voicemail.message, nursery)
                case t.Hush(number):
                    self._hush(number, now)
                case t.Resume(number):
                    self.mouth.resume(number)
                case t.Cancel():
                    self.mouth.finish(now, interrupted=True)
                case t.HangUp(reason):
                    return reason
        return None

    def _hush(self, number: int, now: float) -> None:
        held = self.turns.floor is t.Floor.HELD
        if self.mouth.hush(number, now, keep=not held) and self.turns.speaking:
            self.measures.barge_in(now - self.words.began_at)

    def _answer(self, number: int, text: str, now: float, nursery: trio.Nursery) -> None:
        self.words.write_down(text, turn=number)
        turn = self.mouth.open(number, now)
        transcribed_at = self.words.take_time()
        if self.turns.paused_at > 0 and transcribed_at is not None:
            turn.paused_at, turn.transcribed_at = self.turns.paused_at, transcribed_at
        if self.asking is not None and not self.asking.settled:
            self._ask_on(self.asking, turn, text, nursery)
        elif says_one_of(text, self.agent.end_call.phrases):
            self._end_with(turn, EndReason.AGENT)
        else:
            nursery.start_soon(self._run, turn, reply, self._foresight.take())

    def last_words(self, now: float) -> None:
        """Write down what was said and heard up to the end: words nobody answered, and a turn that was cut."""
        self.mouth.finish(now, interrupted=True)
        self.words.write_down(self.turns.take_text(), turn=self.turns.turn + 1)

    def _ask_on(self, asking: Asking, turn: Turn, text: str, nursery: trio.Nursery) -> None:
        """Take an answer to the request for consent: ask once more, go on, or leave."""
        now = trio.current_time()
        asking.answer(text, round(now - self.began_at, 3))
        if not asking.settled:
            self._recite(turn, asking.consent.prompt, nursery)
            return
        self.teller.note("consent.answered", asking.record())
        if asking.granted and self.recording is not None and not self.recording.idle:
            self.recording.resume(now)
            self.teller.note("recording.start", {})
        if not asking.granted and asking.consent.declined == "hangup":
            self._end_with(turn, EndReason.CONSENT_DECLINED)
        else:
            self._recite(turn, self._greeting, nursery)

    def _end_with(self, turn: Turn, reason: EndReason) -> None:
        """Make *turn* the last, with nothing of its own to say: the goodbye follows."""
        turn.leave = reason
        turn.playout.close()
        self.post(None)

    def _recite(self, turn: Turn, text: str, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._run, turn, partial(recite, text=text))

    async def _run(self, turn: Turn, make: Callable[[Turn, Mind], Awaitable[None]], guess: Guess | None = None) -> None:
        """Make a turn's audio in the turn's own scope: cancelling that is all there is to interrupting it."""
        mind = Mind(
            llm=self.llm, tts=self.tts, agent=self.mood.take(), transcript=self.transcript, teller=self.teller,
            outlet=self.mouth, offered=self.toolbox.offered, use_tools=self._use_tools, deadlines=self.deadlines,
            call_id=self.call_id, rate=self.rate, used=partial(self.used.thought, self.agent.llm),
            spoke=partial(self.used.spoke, self.agent.tts), guess=guess,
        )  # fmt: skip
        with turn.scope:
            try:
                await make(turn, mind)
                self._failures = 0
            except ProviderFailed as error:
                await self._apologise(turn, mind, error)
            finally:
                if guess is not None:
                    guess.drop()
            turn.playout.close()
            self.post(None)

    async def _apologise(self, turn: Turn, mind: Mind, error: ProviderFailed) -> None:
        """Say that an engine failed in the middle of a turn, and give up when it happens again and again."""
        log.warning("engine_failed", provider=error.provider, stage=error.stage, error=str(error))
        self.measures.engine_failed(error.provider, error.stage)
        self._failures += 1
        self.teller.tell(ErrorMessage(code="provider_failed", message=f"the {error.stage} engine failed", fatal=False))
        facts: dict[str, Any] = {"provider": error.provider, "stage": error.stage, "turn": turn.number}
        self.teller.note("call.error", facts)
        if self._failures >= FAILURES:
            raise error
        if error.stage == "llm":
            try:
                await recite(turn, mind, SORRY)
            except ProviderFailed as worse:
                log.warning("engine_failed", provider=worse.provider, stage=worse.stage, error=str(worse))

    async def _use_tools(self, calls: tuple[ToolCall, ...], turn: Turn) -> None:
        """Run a round of tools to its end, even if the turn does not see it: what was begun is known to the model."""
        assert self._nursery is not None  # noqa: S101 - a turn lives in it
        self.post(t.Working(turn.number, on=True))
        using = Using(self.toolbox, self.agent, turn, self._nursery, self._tool_told)
        await using.all(calls, partial(self._tools_answered, calls, turn))

    def _tools_answered(self, calls: tuple[ToolCall, ...], turn: Turn, results: list[tuple[str, str]]) -> None:
        self.transcript.tools_answered(calls, results, turn.state)
        self.post(t.Working(turn.number, on=False))

    def _tool_told(self, name: str, text: str) -> None:
        self.transcript.tool_told(name, text)
        self.post(t.News())
