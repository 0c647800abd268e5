"""
Who has the floor: longer than most, since it is one table of rules that are read together.

A pure state machine: no clock, no I/O, nothing to await. Tell `TurnTaker.step` what was heard, and when (Trio
time, seconds); it answers with what to do. `TurnTaker.deadline` is when it next wants to be asked, should nothing
be heard by then.

The floor passes like this::

    OPEN ── speech ──▶ CALLER ── long enough a pause ──▶ AGENT ── played out ──▶ OPEN
                         ▲                               │   ▲
                         │                        speech │   │ no word that counts: resume
                         └──── a word that counts ─── HUSHED ┘

MACHINE is an answering machine's greeting, after which the agent leaves its message. Any of them is HELD while the
client pauses the conversation, and CLOSED for good once somebody hangs up.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

import attrs

from invorto.model.agent import AgentConfig, Endpointing, Interruption, Silence
from invorto.model.call import EndReason
from invorto.realtime.endpointing import patience, wait_function, words_of
from invorto.speech.ports import Final, GoesOn, Partial, SpeechBegan, SpeechPaused


class Floor(enum.Enum):
    """Whose turn it is."""

    OPEN = enum.auto()
    CALLER = enum.auto()
    AGENT = enum.auto()
    HUSHED = enum.auto()
    MACHINE = enum.auto()
    HELD = enum.auto()
    CLOSED = enum.auto()


# -- what is told ---------------------------------------------------------------------------------


@attrs.frozen
class Typed:
    """The caller wrote something, or keyed digits; empty text ends a turn where the client says when it ends."""

    text: str


@attrs.frozen
class Speak:
    """The agent has something to say of its own accord: the greeting, the consent prompt."""

    interruptible: bool = True


@attrs.frozen
class Interject:
    """
    The agent is to say *text* when nobody has the floor; an *urgent* one ends what the agent is saying.

    It speaks into nobody: a caller who is speaking is heard and answered first.
    """

    text: str
    interruptible: bool = True
    urgent: bool = False


@attrs.frozen
class Listen:
    """The conversation begins, and the caller speaks first."""


@attrs.frozen
class AudioBegan:
    """The first audio of the agent's turn went out."""

    turn: int


@attrs.frozen
class Working:
    """The agent's turn waits for a tool (True) or no longer does (False)."""

    turn: int
    on: bool


@attrs.frozen
class News:
    """A tool that took its time has answered: the agent has something to say of its own accord."""


@attrs.frozen
class PlayedOut:
    """The agent's turn was played to its end; *asked*: it ended in a question; *leave*: it was the last."""

    turn: int
    asked: bool = False
    leave: EndReason | None = None
    goodbye: bool = True


@attrs.frozen
class Held:
    """The client paused the conversation (True) or goes on with it (False)."""

    on: bool


@attrs.frozen
class Leave:
    """The agent is to hang up, saying goodbye first or not."""

    reason: EndReason
    goodbye: bool = True


@attrs.frozen
class MachineAnswered:
    """A machine answers: hear its greeting out, then leave the agent's message and hang up."""


@attrs.frozen
class Beeped:
    """A tone is over: a machine that answers records from here on."""


@attrs.frozen
class CallerLeft:
    """The far end is gone."""

    reason: EndReason = EndReason.HANGUP


type Event = (
    SpeechBegan
    | SpeechPaused
    | Partial
    | Final
    | Typed
    | Speak
    | Interject
    | Listen
    | AudioBegan
    | Working
    | News
    | PlayedOut
    | Held
    | Leave
    | CallerLeft
    | GoesOn
    | MachineAnswered
    | Beeped
)

# -- what is to be done ---------------------------------------------------------------------------


@attrs.frozen
class Reply:
    """Answer what the caller said; empty text: what was said before has not been answered yet."""

    turn: int
    text: str


@attrs.frozen
class Say:
    """Say what `Speak` was told for."""

    turn: int


@attrs.frozen
class Recite:
    """Say what was asked for by `Interject`."""

    turn: int
    text: str


@attrs.frozen
class Nudge:
    """Ask whether the caller is still there."""

    turn: int


@attrs.frozen
class Goodbye:
    """Say goodbye; `HangUp` follows when it has been played."""

    turn: int
    reason: EndReason


@attrs.frozen
class LeaveMessage:
    """Say the message for a machine that answered; `HangUp` follows when it has been played."""

    turn: int


@attrs.frozen
class Hush:
    """Fall silent at once, ready to go on."""

    turn: int


@attrs.frozen
class Resume:
    """It was no interruption: go on where the agent was hushed."""

    turn: int


@attrs.frozen
class Cancel:
    """The agent's turn is over before its end."""

    turn: int


@attrs.frozen
class HangUp:
    """End the call."""

    reason: EndReason


type Act = Reply | Say | Recite | Nudge | Goodbye | LeaveMessage | Hush | Resume | Cancel | HangUp

FINAL_WAIT = 4.0
"""Seconds after a pause that a transcript is waited for; then the partial one counts, of which the end is missing."""
VERDICT_WAIT = 0.7
"""Seconds more that a hush lasts while the caller is still speaking and no word has come yet."""
GOODBYE_LIMIT = 5.0
"""Seconds that a goodbye may take."""
MACHINE_SILENCE = 2.0
"""Seconds of silence after a machine's greeting that count as its tone, where none was heard."""
MACHINE_LIMIT = 40.0
"""Seconds after which a machine that goes on and on is spoken over."""
MESSAGE_LIMIT = 120.0
"""Seconds that a message for a machine may take."""
EARLY_ANSWER = 1.5
"""A word said this long before the end of the agent's question answers it, backchannel or not."""


@attrs.frozen
class Rules:
    """What of the agent's configuration decides who speaks."""

    endpointing: Endpointing
    interruption: Interruption
    silence: Silence
    wait: Callable[[float], float] = attrs.field(repr=False)
    ignored: frozenset[tuple[str, ...]] = attrs.field(repr=False)

    @classmethod
    def of(cls, agent: AgentConfig) -> Rules:
        """Take the rules from an agent; `Invalid` where its ``waitFunction`` is not arithmetic."""
        ignored = frozenset(tuple(words_of(phrase)) for phrase in agent.interruption.ignore)
        wait = wait_function(agent.endpointing.wait_function)
        return cls(agent.endpointing, agent.interruption, agent.silence, wait, ignored)

    def counts(self, text: str, *, more: bool = False) -> bool:
        """Tell whether *text* takes the floor, or only shows that somebody listens; *more*: it may not be all yet."""
        said = tuple(words_of(text))
        if not said or len(said) < self.interruption.min_words:
            return False
        place = 0
        while place < len(said):
            for end in range(len(said), place, -1):
                if said[place:end] in self.ignored:
                    place = end
                    break
            else:
                return not more or not any(phrase[: len(said) - place] == said[place:] for phrase in self.ignored)
        return False


@attrs.define
class TurnTaker:
    """The rules of the conversation, and nothing else."""

    rules: Rules
    ends_at: float = math.inf
    """When the longest call is over."""
    floor: Floor = attrs.field(default=Floor.OPEN, init=False)
    turn: int = attrs.field(default=-1, init=False)
    """The agent's current or last turn; the caller's next one has the number after it."""
    paused_at: float = attrs.field(default=0.0, init=False)
    """When the caller last stopped speaking; 0: not yet."""
    speaking: bool = attrs.field(default=False, init=False)
    """Whether the caller is speaking."""
    _owed: int = attrs.field(default=0, init=False)
    _goes_on: float | None = attrs.field(default=None, init=False)
    _machine_since: float = attrs.field(default=math.inf, init=False)
    _words: list[str] = attrs.field(factory=list, init=False)
    _partial: str = attrs.field(default="", init=False)
    _unanswered: bool = attrs.field(default=False, init=False)
    _answering: bool = attrs.field(default=False, init=False)
    _working: bool = attrs.field(default=False, init=False)
    _news: bool = attrs.field(default=False, init=False)
    _asked: bool = attrs.field(default=False, init=False)
    _audible: bool = attrs.field(default=False, init=False)
    _interruptible: bool = attrs.field(default=True, init=False)
    _hushed_at: float = attrs.field(default=0.0, init=False)
    _held_from: Floor = attrs.field(default=Floor.OPEN, init=False)
    _typed_in_hold: bool = attrs.field(default=False, init=False)
    _quiet_since: float = attrs.field(default=math.inf, init=False)
    _alone_since: float = attrs.field(default=math.inf, init=False)
    _nudged: bool = attrs.field(default=False, init=False)
    _leaving: EndReason | None = attrs.field(default=None, init=False)
    _leave_by: float = attrs.field(default=math.inf, init=False)
    _waiting: list[Interject] = attrs.field(factory=list[Interject], init=False)

    @property
    def waiting(self) -> int:
        """How many texts the agent has still to say."""
        return len(self._waiting)

    @property
    def deadline(self) -> float:
        """When to be asked again if nothing is heard; infinite when only an event can change anything."""
        match self.floor:
            case Floor.CLOSED:
                return math.inf
            case Floor.OPEN:
                nudge_at = math.inf if self._nudged else self._quiet_since + self.rules.silence.nudge_after
                due = min(nudge_at, self._given_up())
            case Floor.CALLER:
                due = min(self._end_of_turn(), self._given_up())
            case Floor.HUSHED:
                due = self._verdict_due()
            case Floor.MACHINE:
                due = self._message_due()
            case Floor.AGENT | Floor.HELD:  # pragma: no branch - there is no other
                due = self._leave_by
        return due if self._leaving else min(due, self.ends_at)

    @property
    def text(self) -> str:
        """What the caller has said in this turn so far, with what is not final yet."""
        return " ".join(part for part in (*self._words, self._partial) if part)

    @property
    def expected(self) -> str | None:
        """What is going to be answered if nothing more is heard; None: nothing, or the caller is still speaking."""
        quiet = self.floor is Floor.CALLER and not self.speaking and not self._owed and self._leaving is None
        return self.text if quiet and self.text and not math.isinf(self._end_of_turn()) else None

    def take_text(self) -> str:
        """Give what the caller has said and nobody has answered, and forget it."""
        text = self.text
        self._forget_words()
        return text

    def step(self, event: Event | None, now: float) -> tuple[Act, ...]:  # noqa: C901, PLR0912 - it is the table of events
        """Take in *event*, or, for None, the passing of time."""
        if self.floor is Floor.CLOSED:
            return ()
        match event:
            case None:
                return self._time_passed(now)
            case CallerLeft(reason):
                return (*self._drop_reply(), *self._close(reason))
            case Leave(reason, goodbye):
                return self._leave(reason, now, goodbye=goodbye)
            case SpeechBegan():
                return self._began(now)
            case SpeechPaused(at):
                return self._paused(at)
            case Partial(text):
                self._partial = text
                return self._weigh(self.text, now, more=True)
            case Final(text):
                self._owed, self._partial = max(self._owed - 1, 0), ""
                if text.strip():
                    self._words.append(text.strip())
                return self._weigh(self.text, now)
            case Typed(text):
                return self._typed(text.strip(), now)
            case Speak(interruptible):
                return self._take(Say, interruptible=interruptible) if self.floor is Floor.OPEN else ()
            case Interject():
                return self._interject(event, now)
            case Listen():
                return self._open(now)
            case AudioBegan() | Working():
                return self._progress(event)
            case News():
                self._news = True
                return self._tell_news(now)
            case PlayedOut() as played:
                return self._played_out(played, now)
            case Held(on):
                return self._hold(now) if on else self._unhold(now)
            case GoesOn() | MachineAnswered() | Beeped():  # pragma: no branch - there is no other
                return self._surmised(event, now)

    # -- the caller -------------------------------------------------------------------------------

    def _began(self, now: float) -> tuple[Act, ...]:
        self.speaking, self._goes_on = True, None
        match self.floor:
            case Floor.OPEN:
                self._listen()
            case Floor.AGENT if self._working and not self._audible and self._may_interrupt:
                self._forget_words()  # a word that counts takes the floor; a cough does not make the tool run again
            case Floor.AGENT if self._answering and not self._audible and self._may_interrupt:
                self._unanswered = True
                return self._yield_floor()
            case Floor.AGENT if self._audible and self._may_interrupt:
                self._forget_words()
                self.floor, self._hushed_at = Floor.HUSHED, now
                return (Hush(self.turn),)
            case _:
                pass
        return ()

    def _paused(self, at: float) -> tuple[Act, ...]:
        self._owed += self.speaking
        self.speaking, self.paused_at, self._goes_on = False, at, None
        return ()

    def _weigh(self, text: str, now: float, *, more: bool = False) -> tuple[Act, ...]:
        if text:
            self._alone_since = now
        match self.floor:
            case Floor.OPEN if text:
                self.floor = Floor.CALLER
                if not self.speaking:
                    self.paused_at = now
            case Floor.HUSHED if self.rules.counts(text, more=more):
                return self._yield_floor()
            case Floor.HUSHED if not self.speaking and not self._owed:
                return self._release()
            case Floor.HELD if self.rules.counts(text, more=more):
                return self._take_from_held()
            case Floor.AGENT if self._interrupted_by(text, more=more):
                hush = (Hush(self.turn),) if self._audible else ()
                return (*hush, *self._yield_floor())
            case _:
                pass
        return ()

    def _typed(self, text: str, now: float) -> tuple[Act, ...]:
        if text:
            self._words.append(text)
        if self.floor is Floor.HELD:
            self._typed_in_hold = self._typed_in_hold or bool(text)
            return self._take_from_held() if text else ()
        if self.floor is Floor.MACHINE or (self.floor is Floor.AGENT and not self._may_interrupt):
            return ()
        if not text and not (self.text or self._unanswered):
            return ()
        hush = (Hush(self.turn),) if self.floor is Floor.AGENT and self._audible else ()
        return (*hush, *self._drop_reply(), *self._answer(now))

    # -- the agent --------------------------------------------------------------------------------

    def _progress(self, event: AudioBegan | Working) -> tuple[Act, ...]:
        match event:
            case AudioBegan(turn):
                self._audible = self._audible or turn == self.turn
            case Working(turn, on):  # pragma: no branch - there is no other
                self._working = on and turn == self.turn
        return ()

    def _played_out(self, played: PlayedOut, now: float) -> tuple[Act, ...]:
        if played.turn != self.turn or self.floor is not Floor.AGENT:
            return ()
        if self._leaving is not None:
            return self._close(self._leaving)
        if played.leave is not None:
            if not played.goodbye:
                return self._close(played.leave)
            self.floor = Floor.OPEN
            return self._leave(played.leave, now, goodbye=True)
        answered = not self._may_interrupt or (played.asked and now - self.paused_at <= EARLY_ANSWER)
        self._asked = played.asked
        if not self._nudged:
            self._alone_since = now
        if self.speaking or self._owed or (answered and self._words):
            if not (self._owed or answered):
                self._forget_words()
            self.floor = Floor.CALLER
            return ()
        return self._open(now)

    def _interject(self, wish: Interject, now: float) -> tuple[Act, ...]:
        if self._leaving is not None:
            return ()
        match self.floor:
            case Floor.OPEN:
                self._waiting.append(wish)
                return self._open(now)
            case Floor.AGENT | Floor.HUSHED if wish.urgent:
                hush = (Hush(self.turn),) if self.floor is Floor.AGENT and self._audible else ()
                self._waiting.insert(0, wish)
                return (*hush, *self._drop_reply(), *self._next())
            case _:
                self._waiting.insert(0 if wish.urgent else len(self._waiting), wish)
                return ()

    def _next(self) -> tuple[Act, ...]:
        wish = self._waiting.pop(0)
        return self._take(lambda turn: Recite(turn, wish.text), interruptible=wish.interruptible)

    def _tell_news(self, now: float) -> tuple[Act, ...]:
        """Tell what a tool has answered since, once nobody has the floor."""
        return self._answer(now) if self._news and self.floor is Floor.OPEN and self._leaving is None else ()

    def _take(self, act: Callable[[int], Act], *, interruptible: bool = True) -> tuple[Act, ...]:
        self.turn += 1
        self.floor, self._interruptible = Floor.AGENT, interruptible
        self._audible = self._answering = self._working = False
        return (act(self.turn),)

    def _answer(self, now: float) -> tuple[Act, ...]:
        text = self.take_text()
        self._unanswered, self._nudged, self._news, self._alone_since = False, False, False, now
        acts = self._take(lambda turn: Reply(turn, text))
        self._answering = True
        return acts

    def _drop_reply(self) -> tuple[Act, ...]:
        talking = self.floor in {Floor.AGENT, Floor.HUSHED}
        talking = talking or (self.floor is Floor.HELD and self._held_from in {Floor.AGENT, Floor.HUSHED})
        return (Cancel(self.turn),) if talking else ()

    def _yield_floor(self) -> tuple[Act, ...]:
        self.floor = Floor.CALLER
        self._asked = False
        return (Cancel(self.turn),)

    def _release(self) -> tuple[Act, ...]:
        self.floor = Floor.AGENT
        return (Resume(self.turn),)

    # -- time -------------------------------------------------------------------------------------

    def _time_passed(self, now: float) -> tuple[Act, ...]:
        if now < self.deadline:
            return ()
        if self._leaving is not None:
            return (*self._drop_reply(), *self._close(self._leaving))
        if now >= self.ends_at:
            return self._leave(EndReason.TIMEOUT, now, goodbye=True)
        match self.floor:
            case Floor.HUSHED:
                return self._release()
            case Floor.MACHINE:
                return self._leave_message(now)
            case Floor.CALLER if now >= self._end_of_turn():
                self._owed = 0
                if self.text or self._unanswered:
                    return self._answer(now)
                return self._open(now)
            case _ if now >= self._given_up():
                return self._leave(EndReason.SILENCE, now, goodbye=True)
            case _:
                self._nudged = True
                return self._take(Nudge)

    def _end_of_turn(self) -> float:
        if self.speaking:
            return math.inf
        rules = self.rules.endpointing
        if rules.provider == "off" and self.text:
            return math.inf
        if self._owed:
            return self.paused_at + FINAL_WAIT
        if not self.text:
            return self.paused_at
        return self.paused_at + patience(
            rules, self.text, goes_on=self._goes_on, asked=self._asked, wait=self.rules.wait
        )

    def _given_up(self) -> float:
        if self.speaking:
            return math.inf
        return max(self._alone_since + self.rules.silence.hang_up_after, self.paused_at + FINAL_WAIT)

    def _verdict_due(self) -> float:
        due = self._hushed_at + self.rules.interruption.resume_after_ms / 1000
        undecided = (self.speaking or self._owed) and not self.text
        return due + VERDICT_WAIT if undecided else due

    # -- holding and leaving ----------------------------------------------------------------------

    def _hold(self, now: float) -> tuple[Act, ...]:
        if self.floor is Floor.HELD or self._leaving is not None:
            return ()
        hush = (Hush(self.turn),) if self.floor is Floor.AGENT else ()
        self._held_from = Floor.AGENT if self.floor is Floor.HUSHED else self.floor
        if self.speaking:
            self.speaking, self.paused_at = False, now
        self.floor = Floor.HELD
        return hush

    def _unhold(self, now: float) -> tuple[Act, ...]:
        if self.floor is not Floor.HELD:
            return ()
        self.floor, self._alone_since = self._held_from, now
        typed, self._typed_in_hold = self._typed_in_hold, False
        match self.floor:
            case Floor.AGENT:
                return (Resume(self.turn),)
            case Floor.MACHINE:
                pass
            case _ if typed:
                return self._answer(now)
            case Floor.OPEN if not self._words:
                return self._open(now)
            case _:
                self.floor, self.paused_at = Floor.CALLER, max(self.paused_at, now)
        return ()

    def _take_from_held(self) -> tuple[Act, ...]:
        """Give the caller, who said something in the pause, the floor that the agent would go on with."""
        if self._held_from is not Floor.AGENT or not self._may_interrupt:
            return ()
        self._held_from, self._asked = Floor.CALLER, False
        return (Cancel(self.turn),)

    def _leave(self, reason: EndReason, now: float, *, goodbye: bool) -> tuple[Act, ...]:
        if self._leaving is not None and goodbye:
            self._leave_by = min(self._leave_by, now + GOODBYE_LIMIT)  # a message for a machine may be longer
            return ()
        hush = (Hush(self.turn),) if self.floor is Floor.AGENT and self._audible else ()
        dropped = (*hush, *self._drop_reply())
        if not goodbye:
            return (*dropped, *self._close(reason))
        self._leaving, self._leave_by = reason, now + GOODBYE_LIMIT
        self._waiting.clear()
        return (*dropped, *self._take(lambda turn: Goodbye(turn, reason), interruptible=False))

    def _close(self, reason: EndReason) -> tuple[Act, ...]:
        self.floor = Floor.CLOSED
        return (HangUp(reason),)

    # -- what others make of the sound ------------------------------------------------------------

    def _surmised(self, event: GoesOn | MachineAnswered | Beeped, now: float) -> tuple[Act, ...]:
        match event:
            case GoesOn(probability, at):
                if not self.speaking and at == self.paused_at:
                    self._goes_on = probability
                return ()
            case MachineAnswered():
                return self._hear_machine(now)
            case Beeped():  # pragma: no branch - there is no other
                return self._leave_message(now) if self.floor is Floor.MACHINE else ()

    def _hear_machine(self, now: float) -> tuple[Act, ...]:
        if self._leaving is not None or self.floor is Floor.MACHINE:
            return ()
        hush = (Hush(self.turn),) if self.floor is Floor.AGENT and self._audible else ()
        dropped = self._drop_reply()
        self._machine_since = now
        if self.floor is Floor.HELD:
            self._held_from = Floor.MACHINE
        else:
            self.floor = Floor.MACHINE
        return (*hush, *dropped)

    def _message_due(self) -> float:
        latest = self._machine_since + MACHINE_LIMIT
        return latest if self.speaking else min(latest, max(self.paused_at, self._machine_since) + MACHINE_SILENCE)

    def _leave_message(self, now: float) -> tuple[Act, ...]:
        self._leaving, self._leave_by = EndReason.VOICEMAIL, now + MESSAGE_LIMIT
        return self._take(LeaveMessage, interruptible=False)

    # -- small ones -------------------------------------------------------------------------------

    def _interrupted_by(self, text: str, *, more: bool) -> bool:
        return self._may_interrupt and (self._audible or self._working) and self.rules.counts(text, more=more)

    @property
    def _may_interrupt(self) -> bool:
        return self.rules.interruption.enabled and self._interruptible and self._leaving is None

    def _listen(self) -> None:
        self.floor = Floor.CALLER
        self._forget_words()

    def _open(self, now: float) -> tuple[Act, ...]:
        """Give the floor back; the agent keeps it where it has something to say."""
        self.floor, self._quiet_since = Floor.OPEN, now
        self._forget_words()
        self._alone_since = min(self._alone_since, now)
        return self._next() if self._waiting else self._tell_news(now)

    def _forget_words(self) -> None:
        self._words.clear()
        self._partial = ""
