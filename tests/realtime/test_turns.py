"""Who has the floor: a table of conversations, and a machine that tries all others; long, since they are one table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from invorto.model.agent import AgentConfig, Endpointing, Interruption, Silence
from invorto.model.call import EndReason
from invorto.realtime.turns import (
    Act,
    AudioBegan,
    Beeped,
    CallerLeft,
    Cancel,
    Event,
    Floor,
    Goodbye,
    HangUp,
    Held,
    Hush,
    Interject,
    Leave,
    LeaveMessage,
    Listen,
    MachineAnswered,
    Nudge,
    PlayedOut,
    Recite,
    Reply,
    Resume,
    Rules,
    Say,
    Speak,
    TurnTaker,
    Typed,
    Working,
)
from invorto.speech.ports import Final, GoesOn, Partial, SpeechBegan, SpeechPaused


def taker(**changes: object) -> TurnTaker:
    """Make a turn taker whose agent differs from the default in *changes*."""
    return TurnTaker(Rules.of(AgentConfig(**changes)))  # type: ignore[arg-type]


def play(turns: TurnTaker, script: Sequence[tuple[float, Event | None]]) -> list[tuple[float, Act]]:
    """Tell what is scripted, let time pass in between, and give all that was to be done, and when."""
    acts: list[tuple[float, Act]] = []
    now = -math.inf
    for at, event in script:
        while turns.deadline < at:
            now = due = max(turns.deadline, now)
            acts += [(round(due, 3), act) for act in turns.step(None, due)]
        now = at
        acts += [(round(at, 3), act) for act in turns.step(event, at)]
    return acts


def said(turns: TurnTaker, text: str, began: float, ended: float) -> list[tuple[float, Act]]:
    """Have the caller say *text*, with the transcript 100 ms after the pause."""
    return play(
        turns,
        [(began, SpeechBegan(began)), (ended + 0.096, SpeechPaused(ended)), (ended + 0.1, Final(text))],
    )


def answering(turns: TurnTaker) -> TurnTaker:
    """Bring a turn taker to where the agent is heard to answer its first question, at 3.0."""
    play(turns, [(0.0, Listen())])
    said(turns, "What are your opening hours?", 1.0, 2.0)
    play(turns, [(2.5, AudioBegan(0))])
    assert turns.floor is Floor.AGENT
    return turns


def test_answers_after_the_pause() -> None:
    """A complete sentence is answered after three quarters of the pause, counted from the last word."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, "I want a table.", 1.0, 2.0)
    assert turns.deadline == pytest.approx(2.165)
    assert play(turns, [(3.0, None)]) == [(2.165, Reply(0, "I want a table."))]


def looking_it_up() -> TurnTaker:
    """Bring a turn taker to where the agent's answer waits for a tool and nothing of it is heard yet."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, "What is my balance?", 1.0, 2.0)
    play(turns, [(2.5, Working(0, on=True))])
    return turns


def test_a_cough_does_not_run_the_tool_again() -> None:
    """While a tool is at work, a sound without a word leaves the answer as it is."""
    turns = looking_it_up()
    assert play(turns, [(2.6, SpeechBegan(2.6)), (2.9, SpeechPaused(2.8)), (3.0, Final(""))]) == []
    assert turns.floor is Floor.AGENT


def test_a_word_stops_a_tool_s_turn() -> None:
    """While a tool is at work, a word that counts takes the floor; nothing is hushed, since nothing was heard."""
    turns = looking_it_up()
    assert play(turns, [(2.6, SpeechBegan(2.6)), (2.8, Partial("Stop that"))]) == [(2.8, Cancel(0))]
    assert turns.floor is Floor.CALLER


def test_the_tool_of_an_older_turn_is_no_matter() -> None:
    """Once the tool has answered, or where it was another turn's, the caller takes the floor by speaking."""
    for working in (Working(0, on=False), Working(7, on=True)):
        turns = looking_it_up()
        assert play(turns, [(2.6, working), (2.7, SpeechBegan(2.7))]) == [(2.7, Cancel(0))]


def test_words_may_come_before_the_detector_hears_them() -> None:
    """A transcript takes an open floor, whether the detector has heard speech since or not."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, Partial("Hello there"))])
    assert turns.floor is Floor.CALLER
    assert turns.paused_at == 1.0


def test_a_word_of_somebody_who_was_speaking_already_takes_the_floor() -> None:
    """Whoever began to speak while the agent was held has the floor with the next word, and is not cut short."""
    turns = taker()
    play(turns, [(0.0, Listen()), (0.6, Held(on=True)), (0.7, SpeechBegan(0.7)), (0.8, Held(on=False))])
    assert turns.floor is Floor.OPEN
    play(turns, [(0.9, Partial("Hello there"))])
    assert turns.floor is Floor.CALLER
    assert turns.deadline > 60


def test_waits_for_the_transcript() -> None:
    """However long the pause, the answer waits for the words; four seconds, and what is there must do."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, SpeechBegan(1.0)), (1.5, Partial("I want")), (2.1, SpeechPaused(2.0))])
    assert play(turns, [(5.9, None)]) == []
    assert play(turns, [(7.0, None)]) == [(6.0, Reply(0, "I want"))]


def test_goes_on_after_a_short_pause() -> None:
    """What is said before and after a breath is one turn."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    assert said(turns, "I want a table,", 1.0, 2.0) == []
    assert said(turns, "for two people.", 2.3, 3.0) == []
    assert play(turns, [(4.0, None)]) == [(3.165, Reply(0, "I want a table, for two people."))]


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("I want a table for two", 0.22),
        ("I want a table for two.", 0.165),
        ("Yes.", 0.47),
        ("nine eight two", 1.02),
        ("I want to", 0.82),
        ("I was thinking, um", 0.82),
        ("हाँ, बुक कर दीजिए।", 0.165),
    ],
)
def test_patience_follows_the_words(text: str, pause: float) -> None:
    """Complete sentences are answered sooner; single words, digits and hesitations are waited for."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, text, 1.0, 2.0)
    assert turns.deadline == pytest.approx(2.0 + pause)


@pytest.mark.parametrize(("goes_on", "deadline"), [(0.9, 2.72), (0.5, 2.22), (0.1, 2.165)])
def test_a_hint_moves_the_end_of_a_turn(goes_on: float, deadline: float) -> None:
    """Whoever sounds like going on is waited for, whoever sounds finished is answered sooner; in doubt, neither."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, "I want a table for two", 1.0, 2.0)
    play(turns, [(2.12, GoesOn(goes_on, 2.0))])
    assert turns.deadline == pytest.approx(deadline)


def test_a_hint_about_another_pause_counts_for_nothing() -> None:
    """What is said about a pause that is over moves nothing, nor what comes while the caller speaks."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, "I want a table for two", 1.0, 2.0)
    play(turns, [(2.1, GoesOn(0.9, 1.5))])
    assert turns.deadline == pytest.approx(2.22)
    play(turns, [(2.12, GoesOn(0.9, 2.0)), (2.3, SpeechBegan(2.25)), (2.32, GoesOn(0.9, 2.0))])
    play(turns, [(2.9, SpeechPaused(2.8)), (2.9, Final("at eight"))])
    assert turns.deadline == pytest.approx(3.02)


def test_livekit_waits_as_its_function_says() -> None:
    """With the provider `livekit` the wait is the function of how likely the speaker goes on."""
    turns = taker(endpointing=Endpointing(provider="livekit", wait_function="100 + 1000 * x"))
    play(turns, [(0.0, Listen())])
    said(turns, "A table for two.", 1.0, 2.0)
    assert turns.deadline == pytest.approx(2.2)


def test_off_waits_for_the_client() -> None:
    """With the provider `off` nothing but an empty text ends the caller's turn."""
    turns = taker(endpointing=Endpointing(provider="off"))
    play(turns, [(0.0, Listen())])
    said(turns, "One.", 1.0, 2.0)
    said(turns, "Two.", 9.0, 10.0)
    assert play(turns, [(15.0, None)]) == []
    assert play(turns, [(16.0, Typed(""))]) == [(16.0, Reply(0, "One. Two."))]


def test_noise_is_not_answered() -> None:
    """Speech without a word leaves the floor open."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    assert said(turns, "", 1.0, 1.3) == []
    assert play(turns, [(2.0, None)]) == []
    assert turns.floor is Floor.OPEN


def test_speech_hushes_and_a_word_takes_the_floor() -> None:
    """The agent is silent at the first sound, and gives way at the first word that counts."""
    turns = answering(taker())
    assert play(turns, [(3.0, SpeechBegan(2.94))]) == [(3.0, Hush(0))]
    assert play(turns, [(3.3, Partial("stop"))]) == [(3.3, Cancel(0))]
    assert said(turns, "Stop, I want to book.", 3.3, 4.0) == []
    assert play(turns, [(5.0, None)]) == [(4.165, Reply(1, "Stop, I want to book."))]


def test_a_backchannel_is_talked_over() -> None:
    """After "mm-hm" the agent goes on where it was, and the word is in nobody's way later."""
    turns = answering(taker())
    acts = said(turns, "mm-hm", 3.0, 3.2)
    assert acts == [(3.0, Hush(0)), (3.3, Resume(0))]
    assert play(turns, [(6.0, PlayedOut(0))]) == []
    assert turns.floor is Floor.OPEN
    assert turns.text == ""


def test_a_cough_is_released_after_half_a_second() -> None:
    """A sound without words stops the agent for `resumeAfterMs`, no longer, once the caller is silent."""
    turns = answering(taker())
    acts = play(turns, [(3.0, SpeechBegan(2.94)), (3.2, SpeechPaused(3.1)), (3.3, Final("")), (4.0, None)])
    assert acts == [(3.0, Hush(0)), (3.3, Resume(0))]


def test_speech_that_goes_on_gets_a_little_longer() -> None:
    """While the caller is still speaking and no word has come, the agent waits 0.7 s more, then goes on."""
    turns = answering(taker())
    acts = play(turns, [(3.0, SpeechBegan(2.94)), (5.0, None)])
    assert acts == [(3.0, Hush(0)), (4.2, Resume(0))]
    assert play(turns, [(5.1, Partial("please stop"))]) == [(5.1, Hush(0)), (5.1, Cancel(0))]


def test_more_words_may_be_asked_for() -> None:
    """With `minWords` 2 one word does not interrupt, two do."""
    turns = answering(taker(interruption=Interruption(min_words=2)))
    assert play(turns, [(3.0, SpeechBegan(2.94)), (3.2, Partial("stop"))]) == [(3.0, Hush(0))]
    assert play(turns, [(3.3, Partial("stop now"))]) == [(3.3, Cancel(0))]


def test_interruption_can_be_off() -> None:
    """An agent that may not be interrupted plays on, and answers what was said meanwhile."""
    turns = answering(taker(interruption=Interruption(enabled=False)))
    assert said(turns, "Can I bring my dog?", 3.0, 4.0) == []
    assert play(turns, [(6.0, PlayedOut(0))]) == []
    assert play(turns, [(6.1, None)])[0][1] == Reply(1, "Can I bring my dog?")


def test_an_early_yes_answers_the_question() -> None:
    """A "yes" over the end of a question is its answer, though "yes" alone never interrupts."""
    turns = answering(taker())
    said(turns, "yes", 3.0, 3.3)
    assert play(turns, [(3.6, PlayedOut(0, asked=True))]) == []
    assert play(turns, [(4.5, None)])[0][1] == Reply(1, "yes")


def test_speech_while_the_agent_thinks_joins_the_question() -> None:
    """Nothing was heard yet: the answer is thrown away, and a new one is to everything that was said."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, "I want a table.", 1.0, 2.0)
    assert play(turns, [(2.2, None)]) == [(2.165, Reply(0, "I want a table."))]
    assert play(turns, [(2.4, SpeechBegan(2.35))]) == [(2.4, Cancel(0))]
    assert play(turns, [(3.1, SpeechPaused(3.0)), (3.2, Final("For two."))]) == []
    assert play(turns, [(4.0, None)])[0][1] == Reply(1, "For two.")


def test_a_cough_while_the_agent_thinks_loses_nothing() -> None:
    """The answer that a cough threw away is made again, though nothing more was said."""
    turns = taker()
    play(turns, [(0.0, Listen())])
    said(turns, "I want a table.", 1.0, 2.0)
    play(turns, [(2.2, None), (2.4, SpeechBegan(2.35)), (2.6, SpeechPaused(2.5)), (2.7, Final(""))])
    assert play(turns, [(3.0, None)])[-1][1] == Reply(1, "")


def test_silence_is_nudged_once_and_then_ends() -> None:
    """A nudge after 12 s, goodbye after 60, counted from the last who spoke and meant it."""
    turns = taker()
    acts = play(turns, [(0.0, Listen()), (12.5, AudioBegan(0)), (14.0, PlayedOut(0)), (59.0, None)])
    assert acts == [(12.0, Nudge(0))]
    acts = play(turns, [(60.5, None)])
    assert acts == [(60.0, Goodbye(1, EndReason.SILENCE))]
    assert play(turns, [(62.0, PlayedOut(1))]) == [(62.0, HangUp(EndReason.SILENCE))]
    assert turns.floor is Floor.CLOSED


def test_silence_counts_from_the_end_of_the_answer() -> None:
    """A long answer is not the caller's silence."""
    turns = answering(taker(silence=Silence(nudge_after=500, hang_up_after=60)))
    play(turns, [(80.0, PlayedOut(0))])
    assert turns.deadline == pytest.approx(140.0)


def test_typed_text_is_answered_at_once() -> None:
    """What is typed needs no pause, and interrupts like a word."""
    turns = answering(taker())
    assert play(turns, [(3.0, Typed("book a table"))]) == [
        (3.0, Hush(0)),
        (3.0, Cancel(0)),
        (3.0, Reply(1, "book a table")),
    ]


def test_holding_stops_the_agent_and_going_on_resumes_it() -> None:
    """Paused, the agent neither speaks nor times out; then it goes on where it was."""
    turns = answering(taker())
    assert play(turns, [(3.0, Held(on=True))]) == [(3.0, Hush(0))]
    assert play(turns, [(3.1, SpeechBegan(3.0)), (500.0, None)]) == []
    assert play(turns, [(500.0, Held(on=False))]) == [(500.0, Resume(0))]


def test_goodbye_is_said_whatever_goes_on() -> None:
    """Told to leave, the agent stops what it says, says goodbye, cannot be interrupted, and hangs up."""
    turns = answering(taker())
    acts = play(turns, [(3.0, Leave(EndReason.DRAINED))])
    assert acts == [(3.0, Hush(0)), (3.0, Cancel(0)), (3.0, Goodbye(1, EndReason.DRAINED))]
    assert play(turns, [(3.5, SpeechBegan(3.4)), (3.6, Partial("wait")), (3.7, Typed("wait"))]) == []
    assert play(turns, [(4.0, PlayedOut(1))]) == [(4.0, HangUp(EndReason.DRAINED))]


def test_a_goodbye_that_never_ends_is_cut() -> None:
    """Five seconds, and the call is over without it."""
    turns = answering(taker())
    play(turns, [(3.0, Leave(EndReason.API))])
    assert play(turns, [(9.0, None)]) == [(8.0, Cancel(1)), (8.0, HangUp(EndReason.API))]


def test_the_longest_call_ends_with_goodbye() -> None:
    """At the longest duration the agent says goodbye, whoever speaks."""
    turns = answering(taker())
    turns.ends_at = 10.0
    acts = play(turns, [(11.0, None)])
    assert acts == [(10.0, Hush(0)), (10.0, Cancel(0)), (10.0, Goodbye(1, EndReason.TIMEOUT))]


def test_consent_is_not_interrupted() -> None:
    """An uninterruptible prompt is played to its end, and what was said over it answers it."""
    turns = taker()
    assert play(turns, [(0.0, Speak(interruptible=False)), (0.1, AudioBegan(0))]) == [(0.0, Say(0))]
    assert said(turns, "Yes, I agree.", 1.0, 2.0) == []
    play(turns, [(3.0, PlayedOut(0))])
    assert play(turns, [(3.1, None)])[-1][1] == Reply(1, "Yes, I agree.")


def test_last_turn_hangs_up() -> None:
    """A turn that was the last ends the call when it has been played, with a goodbye where none was said."""
    turns = answering(taker())
    assert play(turns, [(4.0, PlayedOut(0, leave=EndReason.AGENT, goodbye=False))]) == [(4.0, HangUp(EndReason.AGENT))]
    turns = answering(taker())
    assert play(turns, [(4.0, PlayedOut(0, leave=EndReason.AGENT))]) == [(4.0, Goodbye(1, EndReason.AGENT))]


def test_words_without_a_detector_count_too() -> None:
    """An engine that only sends words has the caller's turn begin and end with them."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, Partial("I want")), (1.1, Final("I want a table."))])
    assert play(turns, [(3.0, None)])[0][1] == Reply(0, "I want a table.")


def test_empty_text_with_nothing_said_is_nothing() -> None:
    """There is no turn to end."""
    turns = taker()
    assert play(turns, [(0.0, Listen()), (1.0, Typed(""))]) == []
    assert turns.floor is Floor.OPEN


def test_typed_while_held_waits() -> None:
    """What is typed while the conversation is paused is answered when it goes on."""
    turns = answering(taker())
    play(turns, [(3.0, Held(on=True)), (3.1, Held(on=True)), (3.3, Typed(""))])
    assert play(turns, [(3.5, Typed("hello there"))]) == [(3.5, Cancel(0))]
    assert play(turns, [(4.0, Held(on=False))]) == [(4.0, Reply(1, "hello there"))]
    assert play(turns, [(4.1, Held(on=False))]) == []


def test_held_between_turns() -> None:
    """Paused in silence or in the middle of the caller's words, nothing is due, and going on takes up from there."""
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, Held(on=True))])
    assert play(turns, [(400.0, None)]) == []
    play(turns, [(400.0, Held(on=False))])
    assert turns.deadline == pytest.approx(412.0)
    play(turns, [(401.0, SpeechBegan(401.0)), (402.0, Held(on=True)), (402.1, Final("I want a table."))])
    assert not turns.speaking
    play(turns, [(404.0, Held(on=False))])
    assert play(turns, [(405.0, None)]) == [(404.165, Reply(0, "I want a table."))]


def test_speaking_over_the_end_of_an_answer() -> None:
    """Who is still making sounds when the agent has finished has the floor, with nothing said yet."""
    turns = answering(taker())
    play(turns, [(3.0, SpeechBegan(2.94)), (4.5, None)])
    play(turns, [(5.0, PlayedOut(0))])
    assert turns.floor is Floor.CALLER
    assert turns.text == ""


def test_leaving_twice_is_leaving_once() -> None:
    """A goodbye is said once; being told to go at once cuts it."""
    turns = answering(taker())
    play(turns, [(3.0, Leave(EndReason.API))])
    assert play(turns, [(3.5, Leave(EndReason.DRAINED)), (3.6, Held(on=True))]) == []
    acts = play(turns, [(4.0, Leave(EndReason.ERROR, goodbye=False))])
    assert acts == [(4.0, Cancel(1)), (4.0, HangUp(EndReason.ERROR))]


def test_leaving_while_held_cancels_what_was_held() -> None:
    """The agent that was paused says goodbye instead of what it was saying."""
    turns = answering(taker())
    play(turns, [(3.0, Held(on=True))])
    assert play(turns, [(4.0, Leave(EndReason.API))]) == [(4.0, Cancel(0)), (4.0, Goodbye(1, EndReason.API))]


TEXTS = st.sampled_from(["", "yes", "mm-hm", "I want a table.", "nine eight", "stop, I want", "and"])


class AnyConversation(RuleBasedStateMachine):
    """Whatever is heard, in whatever order: replies never overlap, hushes are released or final, and time moves on."""

    @initialize(
        greets=st.booleans(),
        provider=st.sampled_from(["invorto", "livekit", "off"]),
        interruptible=st.booleans(),
        ends_at=st.sampled_from([math.inf, 40.0]),
    )
    def begin(
        self, greets: bool, provider: Literal["invorto", "livekit", "off"], interruptible: bool, ends_at: float
    ) -> None:
        """Begin a conversation."""
        agent = AgentConfig(
            endpointing=Endpointing(provider=provider), interruption=Interruption(enabled=interruptible)
        )
        self.turns, self.now = TurnTaker(Rules.of(agent), ends_at), 0.0
        self.talking: int | None = None
        self.hushed = False
        self.audible = False
        self.gone = False
        self.wishes = list[str]()
        self.tell(Speak() if greets else Listen())

    def tell(self, event: Event | None) -> tuple[Act, ...]:
        """Tell an event, and hold every act to what must be true of it."""
        acts = self.turns.step(event, self.now)
        for act in acts:
            assert not self.gone, "nothing is done after hanging up"
            match act:
                case Reply(turn) | Say(turn) | Recite(turn) | Nudge(turn) | Goodbye(turn) | LeaveMessage(turn):
                    if isinstance(act, Recite):
                        assert act.text == self.wishes.pop(0), "what the agent was told to say is said once, in order"
                    assert self.talking is None, "two turns of the agent overlap"
                    self.talking, self.hushed, self.audible = turn, False, False
                case Hush(turn):
                    assert turn == self.talking
                    assert not self.hushed
                    self.hushed = True
                case Resume(turn):
                    assert turn == self.talking
                    assert self.hushed
                    self.hushed = False
                case Cancel(turn):
                    assert turn == self.talking
                    self.talking, self.hushed = None, False
                case HangUp():
                    self.gone = True
        assert (
            (self.talking is not None) == (self.turns.floor in {Floor.AGENT, Floor.HUSHED})
            or self.gone
            or (self.turns.floor is Floor.HELD)
        )
        return acts

    @rule(goes_on=st.floats(0, 1), late=st.booleans())
    def hint(self, goes_on: float, late: bool) -> None:
        """A model makes something of the last pause, or of one before."""
        assert not self.tell(GoesOn(goes_on, self.turns.paused_at - late))

    @rule(what=st.sampled_from([MachineAnswered(), Beeped()]), dt=st.sampled_from([0.0, 0.5, 3.0]))
    def machine(self, what: Event, dt: float) -> None:
        """A machine is heard, or its tone."""
        self.now += dt
        self.tell(what)

    @rule(text=TEXTS, dt=st.sampled_from([0.0, 0.05, 0.3, 2.0]))
    def speak(self, text: str, dt: float) -> None:
        """The caller says something, or makes a noise."""
        self.now += dt
        self.tell(SpeechBegan(self.now))
        self.now += 0.3
        self.tell(Partial(text))
        self.tell(SpeechPaused(self.now))
        self.tell(Final(text))

    @rule(
        event=st.one_of(
            st.builds(SpeechBegan, st.just(0.0)),
            st.builds(Partial, TEXTS),
            st.builds(Final, TEXTS),
            st.builds(Typed, TEXTS),
            st.builds(Held, st.booleans()),
            st.just(Speak()),
        )
    )
    def hear(self, event: Event) -> None:
        """Anything, out of order."""
        self.tell(event)

    @precondition(lambda self: not self.gone and len(self.wishes) < 5)
    @rule(urgent=st.booleans(), interruptible=st.booleans())
    def interject(self, urgent: bool, interruptible: bool) -> None:
        """The agent is told to say something: it waits for the floor, or is said instead of what was being said."""
        text = f"{self.now} {len(self.wishes)} {self.turns.turn}"
        if not math.isfinite(self.turns._leave_by):  # pyright: ignore[reportPrivateUsage] - nobody is told
            self.wishes.insert(0 if urgent else len(self.wishes), text)
        self.tell(Interject(text, interruptible=interruptible, urgent=urgent))
        if self.turns.floor is Floor.OPEN:
            assert not self.wishes

    @rule()
    def pause(self) -> None:
        """The caller falls silent, or did already."""
        self.tell(SpeechPaused(self.now))

    @rule()
    def sound(self) -> None:
        """The agent's first audio goes out."""
        if self.talking is not None and not self.hushed:
            self.audible = True
            self.tell(AudioBegan(self.talking))

    @rule(asked=st.booleans(), leave=st.sampled_from([None, None, None, EndReason.AGENT]))
    def play_out(self, asked: bool, leave: EndReason | None) -> None:
        """The agent's turn is played to its end, which it cannot be while hushed."""
        if self.talking is not None and not self.hushed and self.turns.floor is Floor.AGENT:
            turn, self.talking = self.talking, None
            self.tell(PlayedOut(turn, asked=asked, leave=leave))

    @rule(turn=st.integers(-2, 30))
    def stale(self, turn: int) -> None:
        """News of a turn that is over changes nothing."""
        if turn != self.turns.turn:
            assert self.tell(PlayedOut(turn)) == ()

    @rule()
    def wait(self) -> None:
        """Time passes until something is due: it is done, or there is a later deadline."""
        due = self.turns.deadline
        if due < math.inf:
            self.now = max(self.now, due)
            before = self.turns.floor
            acts = self.tell(None)
            assert acts or self.turns.floor is not before or self.turns.deadline > due

    @precondition(lambda self: not self.gone)
    @rule(reason=st.sampled_from(list(EndReason)), goodbye=st.booleans())
    def leave(self, reason: EndReason, goodbye: bool) -> None:
        """The agent is told to go: it does, within the time for a goodbye."""
        if reason.value.startswith(("d", "a")):
            self.tell(Leave(reason, goodbye))
            assert self.gone or self.turns.deadline <= self.now + 5.0 + 1e-9

    @invariant()
    def never_stuck(self) -> None:
        """Silence always leads somewhere, but while somebody speaks, holds, or the agent has the floor."""
        if self.turns.floor in {Floor.OPEN, Floor.HUSHED} or (
            self.turns.floor is Floor.CALLER and not self.turns.speaking
        ):
            assert self.turns.deadline < math.inf

    def teardown(self) -> None:
        """The caller leaves: the agent's turn is cancelled, and nothing happens after."""
        if hasattr(self, "turns"):
            self.tell(CallerLeft())
            assert self.gone
            assert self.talking is None
            assert self.turns.step(SpeechBegan(self.now), self.now) == ()
            assert self.turns.deadline == math.inf


AnyConversation.TestCase.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
TestAnyConversation = AnyConversation.TestCase
