"""Drives one conversation: the one place where turns meet time, engines and the line."""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs
import structlog
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import AgentConfig
from invorto.model.call import EndReason
from invorto.model.record import TurnMetrics
from invorto.realtime import turns as t
from invorto.realtime.consent import judge
from invorto.realtime.deadlines import Deadlines
from invorto.realtime.endpointing import words_of
from invorto.realtime.line import Line
from invorto.realtime.meter import Meter
from invorto.realtime.playout import Playout
from invorto.realtime.protocol import (
    BargeIn,
    ControlResume,
    ErrorMessage,
    SttFinal,
    SttPartial,
    TtsDone,
    TurnMetricsMessage,
)
from invorto.realtime.recording import Recording
from invorto.realtime.reply import Mind, recite, reply
from invorto.realtime.teller import Teller
from invorto.realtime.tools import Toolbox
from invorto.realtime.transcript import Transcript
from invorto.realtime.turn import Turn
from invorto.speech.ports import EngineFailed, Final, Llm, Partial, Samples, SpeechBegan, Tts, Usage, Word

log = structlog.get_logger(__name__)

INBOX = 256
"""Events a call may leave unread: seconds of the busiest conversation. One that has more is stuck, and ends."""
SORRY = "Sorry, I am having some trouble just now."
FAILURES = 3
"""Turns in a row that may fail before the agent gives up."""
CONSENT_TRIES = 2

type Event = t.Event | EngineFailed | None
"""What the inbox carries; None only wakes the driver."""


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
    meter: Meter
    transcript: Transcript = attrs.field(factory=Transcript)
    metrics: list[TurnMetrics] = attrs.field(factory=list)
    usages: list[Usage] = attrs.field(factory=list)
    spoken_characters: int = 0
    consent: dict[str, Any] | None = None
    turns: t.TurnTaker = attrs.field(init=False)
    began_at: float = attrs.field(init=False, factory=trio.current_time)
    marks: dict[str, tuple[Turn, int]] = attrs.field(factory=dict, init=False)
    _turn: Turn | None = attrs.field(default=None, init=False)
    _send: trio.MemorySendChannel[Event] = attrs.field(init=False)
    _inbox: trio.MemoryReceiveChannel[Event] = attrs.field(init=False)
    _stuck: bool = attrs.field(default=False, init=False)
    _transcribed_at: float | None = attrs.field(default=None, init=False)
    _confidence: float | None = attrs.field(default=None, init=False)
    _speech_began: float = attrs.field(default=0.0, init=False)
    _partial_seen: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _consent_left: int = attrs.field(default=0, init=False)
    _marked: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._inbox = trio.open_memory_channel[Event](INBOX)
        self.turns = t.TurnTaker(t.Rules.of(self.agent))

    # -- from outside, at any time ----------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Tell what happened; never blocks, never raises, and does nothing once the conversation is over."""
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            if event is not None and not isinstance(event, Partial):
                self._stuck = True
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    def change(self, agent: AgentConfig) -> None:
        """Go on with another configuration from the next turn on; `Invalid` leaves the old one."""
        self.turns.rules = t.Rules.of(agent)
        self.agent = agent

    def played(self, name: str) -> None:
        """Take in the far end's word that it has played up to a mark; names of dropped audio do not count."""
        if place := self.marks.pop(name, None):
            turn, position = place
            turn.playout.marked(position, trio.current_time())
            self.post(None)

    # -- the driver -------------------------------------------------------------------------------

    async def hold(self, begin: t.Speak | t.Listen | None = None) -> EndReason:
        """Hold the conversation to its end; gives why it ended."""
        async with self._inbox, self._send, trio.open_nursery() as nursery:
            if self.agent.consent is not None:
                self._consent_left = CONSENT_TRIES
            acts = self.turns.step(begin or self._opening(), trio.current_time())
            while (reason := self._do(acts, nursery)) is None:
                event = None
                with trio.move_on_at(self._deadline()):
                    event = await self._inbox.receive()
                acts = self._hear(event, trio.current_time())
            nursery.cancel_scope.cancel()
        return reason

    def _opening(self) -> t.Speak | t.Listen:
        if self.agent.consent is not None:
            return t.Speak(interruptible=False)
        return t.Speak() if isinstance(self.agent.greeting, str) and self.agent.greeting else t.Listen()

    def _deadline(self) -> float:
        playout = self._turn.playout.deadline if self._turn is not None and not self._turn.over else math.inf
        return max(min(self.turns.deadline, playout), 0.0)

    def _hear(self, event: Event, now: float) -> tuple[t.Act, ...]:
        if self._stuck:
            raise RuntimeError("the conversation does not keep up with its events")
        acts = self._pump(now)
        match event:
            case EngineFailed(provider, stage, message):
                raise ProviderFailed(provider, stage, message)
            case SpeechBegan(at):
                if self.turns.floor is not t.Floor.CALLER:
                    self._speech_began = at - self.began_at
            case Partial() | Final():
                self._tell_heard(event, now)
            case _:
                pass
        return (*acts, *self.turns.step(event, now))

    def _tell_heard(self, event: Partial | Final, now: float) -> None:
        if not event.text.strip():
            return
        where = {"text": event.text, "ts": round(now - self.began_at, 3), "turn": self.turns.turn + 1}
        if isinstance(event, Partial):
            self.teller.tell(SttPartial(**where, confidence=event.confidence), keep=not self._partial_seen)
            if not self._partial_seen:
                self.meter.first_partial(max(now - self.began_at - self._speech_began, 0.0))
            self._partial_seen = True
        else:
            self._transcribed_at, self._confidence, self._partial_seen = now, event.confidence, False
            self.teller.tell(SttFinal(**where, confidence=event.confidence))
            self.teller.fact("stt.final", {**where, "confidence": event.confidence})

    # -- doing what the rules say -----------------------------------------------------------------

    def _do(self, acts: tuple[t.Act, ...], nursery: trio.Nursery) -> EndReason | None:
        now = trio.current_time()
        for act in acts:
            match act:
                case t.Reply(number, text):
                    self._answer(number, text, now, nursery)
                case t.Say(number):
                    self._recite(number, self._first_words(), now, nursery)
                case t.Nudge(number):
                    self.teller.note("endpointing.silence", {"turn": number})
                    self._recite(number, self.agent.silence.nudge, now, nursery)
                case t.Goodbye(number):
                    self._recite(number, self.agent.end_call.goodbye, now, nursery)
                case t.Hush(number):
                    self._hush(number, now)
                case t.Resume(number):
                    self._resume(number)
                case t.Cancel():
                    self._finish_turn(now, interrupted=True)
                case t.HangUp(reason):
                    return reason
        return None

    def _first_words(self) -> str:
        if self.agent.consent is not None and self._consent_left:
            return self.agent.consent.prompt
        return self.agent.greeting if isinstance(self.agent.greeting, str) else ""

    def _answer(self, number: int, text: str, now: float, nursery: trio.Nursery) -> None:
        if text:
            ended = max(self.turns.paused_at - self.began_at, 0.0)
            began = min(self._speech_began, ended)
            self.transcript.caller_said(
                text, turn=number, began=round(began, 3), ended=round(ended, 3), confidence=self._confidence
            )
        turn = self._new_turn(number, now)
        if self.turns.paused_at > -math.inf and self._transcribed_at is not None:
            turn.paused_at, turn.transcribed_at = self.turns.paused_at, self._transcribed_at
        self._transcribed_at = None
        if self._consent_left:
            self._after_consent(turn, text, nursery)
            return
        if self._said_goodbye(text):
            turn.leave = EndReason.AGENT
            turn.playout.close()
            self.post(None)
            return
        nursery.start_soon(self._run, turn, None)

    def _after_consent(self, turn: Turn, text: str, nursery: trio.Nursery) -> None:
        consent = self.agent.consent
        assert consent is not None
        answer = judge(text)
        if answer == "unclear" and self._consent_left > 1:
            self._consent_left -= 1
            nursery.start_soon(self._run, turn, consent.prompt)
            return
        granted = answer == "yes" or (answer == "unclear" and not consent.required)
        self._consent_left = 0
        self.consent = {
            "prompt": consent.prompt, "answer": text, "granted": granted,
            "at": round(trio.current_time() - self.began_at, 3),
        }  # fmt: skip
        self.teller.note("consent.answered", self.consent)
        if granted and self.recording is not None:
            self.recording.resume(trio.current_time())
        if not granted and consent.declined == "hangup":
            turn.leave = EndReason.CONSENT_DECLINED
            turn.playout.close()
            self.post(None)
            return
        nursery.start_soon(self._run, turn, self._first_words())

    def _said_goodbye(self, text: str) -> bool:
        said = " ".join(words_of(text))
        return any(" ".join(words_of(phrase)) in said for phrase in self.agent.end_call.phrases if phrase.strip())

    def _recite(self, number: int, text: str, now: float, nursery: trio.Nursery) -> None:
        nursery.start_soon(self._run, self._new_turn(number, now), text)

    def _new_turn(self, number: int, now: float) -> Turn:
        self._turn = Turn(number, Playout(self.rate, self.lead), now)
        return self._turn

    async def _run(self, turn: Turn, text: str | None) -> None:
        mind = Mind(
            llm=self.llm, tts=self.tts, agent=self.agent, transcript=self.transcript, teller=self.teller, outlet=self,
            use_tool=self.toolbox.use, deadlines=self.deadlines, call_id=self.call_id, rate=self.rate,
            used=self.usages.append,
        )  # fmt: skip
        with turn.scope:
            try:
                await (reply(turn, mind) if text is None else recite(turn, mind, text))
                self._failures = 0
            except ProviderFailed as error:
                await self._apologise(turn, mind, error)
            turn.playout.close()
            self.post(None)

    async def _apologise(self, turn: Turn, mind: Mind, error: ProviderFailed) -> None:
        """An engine failed in the middle of a turn: say so, and give up when it happens again and again."""
        log.warning("engine_failed", provider=error.provider, stage=error.stage, error=str(error))
        self.meter.engine_failed(error.provider, error.stage)
        self._failures += 1
        self.teller.tell(ErrorMessage(code="provider_failed", message=f"the {error.stage} engine failed", fatal=False))
        self.teller.note("call.error", {"provider": error.provider, "stage": error.stage, "turn": turn.number})
        if self._failures >= FAILURES:
            raise error
        if error.stage == "llm":
            await recite(turn, mind, SORRY)

    # -- audio out --------------------------------------------------------------------------------

    def begin_sentence(self, turn: Turn, text: str) -> None:
        """Announce a sentence of a turn's audio."""
        turn.playout.begin_sentence(text)
        self.spoken_characters += len(text)

    def add(self, turn: Turn, samples: Samples, words: tuple[Word, ...]) -> None:
        """Take in audio; what is due goes out at once."""
        starved = turn.playout.ahead <= 0
        turn.playout.add(samples, words)
        if starved and turn is self._turn:
            for act in self._pump(trio.current_time()):
                raise AssertionError(f"audio that has just come cannot lead to {act}")
            self.post(None)

    def end_sentence(self, turn: Turn) -> None:
        """Tell that the sentence's audio is complete."""
        turn.playout.end_sentence()

    def _pump(self, now: float) -> tuple[t.Act, ...]:
        """Send the audio that is due, and notice when all of it has been played."""
        turn = self._turn
        if turn is None or turn.over:
            return ()
        playout = turn.playout
        while (piece := playout.take(now)) is not None:
            samples, sentence, plays_at = piece
            if turn.first_audio_at is None:
                self._audio_began(turn, now)
            for line in self.teller.lines:
                if sentence.begins == playout.sent - len(samples):
                    self._mark(turn, line, sentence.begins, sentence.text)
                line.play(samples, turn=turn.number)
            if self.recording is not None:
                self.recording.agent(samples, plays_at)
        if playout.finished(now):
            self._finish_turn(now, interrupted=False)
            asked = playout.text.rstrip().endswith(("?", "?\""))
            return self.turns.step(
                t.PlayedOut(turn.number, asked=asked, leave=turn.leave, goodbye=turn.farewell), now
            )
        return ()

    def _mark(self, turn: Turn, line: Line, position: int, text: str) -> None:
        self._marked += 1
        name = f"{turn.number}.{self._marked}"
        if line.marks and line is self.teller.lines[0]:
            self.marks[name] = (turn, position)
            turn.playout.await_mark(position)
        line.mark(name, turn=turn.number, text=text)

    def _audio_began(self, turn: Turn, now: float) -> None:
        turn.first_audio_at = now
        self.turns.step(t.AudioBegan(turn.number), now)
        metrics = turn.metrics()
        if metrics.voice_to_voice_ms is not None:
            self.metrics.append(metrics)
            self.meter.turn(metrics)
            self.teller.tell(
                TurnMetricsMessage(
                    turn=turn.number, eou_ms=metrics.eou_ms, stt_ms=metrics.stt_ms,
                    llm_first_token_ms=metrics.llm_first_token_ms, tts_first_chunk_ms=metrics.tts_first_chunk_ms,
                    voice_to_voice_ms=metrics.voice_to_voice_ms,
                )
            )  # fmt: skip

    def _hush(self, number: int, now: float) -> None:
        turn = self._turn
        if turn is None or turn.number != number:
            return
        played = turn.playout.hush(now)
        self.marks.clear()
        for line in self.teller.lines:
            line.clear()
        if self.recording is not None:
            self.recording.cut_agent(now)
        held = self.turns.floor is t.Floor.HELD
        played_ms = round(played * 1000 / self.rate)
        self.teller.tell(BargeIn(turn=number, played_ms=played_ms, action="stop-tts"), keep=not held)
        if self.turns.speaking:
            self.meter.barge_in(now - self.began_at - self._speech_began)

    def _resume(self, number: int) -> None:
        turn = self._turn
        if turn is None or turn.number != number:
            return
        turn.playout.resume()
        from_ms = round(turn.playout.sent * 1000 / self.rate)
        self.teller.tell(ControlResume(turn=number, from_ms=from_ms))
        self.post(None)

    def _finish_turn(self, now: float, *, interrupted: bool) -> None:
        """Write down what was heard of the agent's turn, once."""
        turn = self._turn
        if turn is None or turn.over:
            return
        turn.over = True
        turn.scope.cancel()
        playout = turn.playout
        heard = playout.heard(now)
        heard_by: Literal["marks", "timed"] = playout.heard_by
        began = (turn.first_audio_at or now) - self.began_at
        self.transcript.agent_said(
            heard, turn=turn.number, began=round(began, 3), ended=round(now - self.began_at, 3), heard_by=heard_by,
            unheard=playout.text.removeprefix(heard).strip() if interrupted else None,
            state=turn.state if turn.first_audio_at is not None or not interrupted else None,
        )  # fmt: skip
        if playout.sentences or not interrupted:
            self.teller.tell(TtsDone(turn=turn.number, heard=heard, interrupted=interrupted))

    def last_words(self, now: float) -> None:
        """Write down what was heard of a turn that the end of the call cut."""
        self._finish_turn(now, interrupted=True)

