"""Machines that answer: how they are told from people, and what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from invorto.model.agent import Voicemail
from invorto.model.call import CallStatus, EndReason
from invorto.realtime.beep import LONGEST, BeepDetector
from invorto.realtime.turns import (
    AudioBegan,
    Beeped,
    Cancel,
    Floor,
    HangUp,
    Held,
    Hush,
    LeaveMessage,
    Listen,
    MachineAnswered,
    PlayedOut,
    Speak,
    TurnTaker,
    Typed,
)
from invorto.realtime.voicemail import Screen, Screening, sounds_recorded
from invorto.speech.ports import Final, Partial, Samples, SpeechBegan, SpeechPaused
from tests.realtime.stage import open_stage
from tests.realtime.test_turns import play, taker
from tests.speech.sound import NAMES, noise, recorded, silence

RECORDED = [
    "Hi, you've reached the Miller family.", "Please leave a message after the tone.", "Leave your name and number",
    "The person you are trying to reach is not available.", "I can't come to the phone right now",
    "Your call has been forwarded to an automated voice mail system", "the mailbox is full and cannot accept",
    "The number you have dialled is switched off", "The subscriber you have called is not reachable at the moment",
    "We are unable to take your call", "Kripya beep ke baad apna sandesh chhode", "कृपया बीप के बाद संदेश छोड़ें",
    "Please record your message", "I'm currently unavailable right now", "please wait for the beep",
]  # fmt: skip
SPOKEN = [
    "Hello?", "Yes, speaking.", "Who is this?", "Can I leave a message for the doctor?", "I want to leave a message",
    "Haan ji, boliye.", "No, she is not at home.", "You have reached me, what is it about?", "I'll call you back",
    "What number are you calling from?", "I am not available on Monday", "Hold on a moment please", "Miller family",
    "Could I leave my number?", "My phone was switched on all day",
]  # fmt: skip


@pytest.mark.parametrize("text", RECORDED)
def test_what_machines_say(text: str) -> None:
    """The phrases of machines are known, in English and Hindi."""
    assert sounds_recorded(text)


@pytest.mark.parametrize("text", SPOKEN)
def test_what_people_say(text: str) -> None:
    """What people say when they answer, or of messages and telephones, is no machine's."""
    assert not sounds_recorded(text)


def screened(*events: tuple[float, object]) -> list[tuple[float, str]]:
    """Tell a screening what is heard, and give what it made of it, and when."""
    screening = Screening()
    return [(at, by) for at, event in events if (by := screening.step(event, at)) is not None]


def test_words_that_come_in_pieces() -> None:
    """A phrase counts across transcripts, once."""
    assert screened(
        (1.0, SpeechBegan(0.9)), (2.0, Final("Please leave")), (2.5, Partial("a message")), (3.0, Final("a message"))
    ) == [(2.5, "words")]


def test_a_long_greeting_of_which_nothing_is_understood_yet() -> None:
    """Guesses at words tell how long somebody has been speaking; and words may come in pieces."""
    assert screened((0.0, SpeechBegan(0.0)), (1.0, Partial("hello")), (9.0, Partial("hello this is"))) == [
        (9.0, "long")
    ]
    said = "please leave a message after the tone"
    assert screened((0.0, SpeechBegan(0.0)), (1.0, Final("Hello,")), (2.0, Partial(said))) == [(2.0, "words")]


def test_a_tone_is_a_machine() -> None:
    """Nobody whistles at a thousand hertz who has just picked up; what is none of its business changes nothing."""
    assert screened((0.0, SpeechBegan(0.0)), (0.5, None), (1.0, Beeped())) == [(1.0, "beep")]
    final = Final("please leave a message after the tone")
    assert screened((0.0, SpeechBegan(0.0)), (2.0, final)) == [(2.0, "words")]


def test_a_message_begins_at_the_tone() -> None:
    """An agent that leaves a message is told of the machine, and at once of the tone by which it was known."""
    told = list[object]()
    screen = Screen(
        settings=Voicemail(detect=True, action="message", message="Call us."), pass_on=told.append,
        note=lambda kind, _: told.append(kind), clock=lambda: 2.0, began=0.0,
    )  # fmt: skip
    screen.beep()
    assert told == [Beeped(), "voicemail", MachineAnswered(), Beeped()]


def test_a_long_first_utterance() -> None:
    """Seven seconds with nothing but breaths are no person's answer, told while they last or when they end."""
    breaths = [(float(n), event) for n in range(8) for event in (SpeechBegan(n), SpeechPaused(n + 0.7))]
    assert screened(*breaths) == [(7.0, "long")]
    assert screened((0.1, SpeechBegan(0.0)), (7.5, Partial("and so on"))) == [(7.5, "long")]


def test_a_person_who_answers_and_talks() -> None:
    """Whoever says hello, waits, and then tells a long story is a person."""
    assert screened(
        (0.1, SpeechBegan(0.0)), (0.6, SpeechPaused(0.5)), (0.7, Final("Hello?")),
        (3.0, SpeechBegan(2.9)), (13.0, Partial("a long story")), (14.0, SpeechPaused(13.9)),
    ) == []  # fmt: skip


def test_it_is_asked_for_a_while_only() -> None:
    """After half a minute, or two exchanges, a phrase or a tone is taken for what it is."""
    hello = [(0.1, SpeechBegan(0.0)), (0.6, SpeechPaused(0.5)), (31.0, Final("hello"))]
    assert screened(*hello, (31.5, Beeped())) == []
    turns = [(at, event) for at in (0.0, 3.0, 6.0) for event in (SpeechBegan(at), SpeechPaused(at + 0.5))]
    assert screened(*turns, (9.0, Final("leave a message after the tone"))) == []
    assert screened((0.5, Beeped()), (0.6, Beeped())) == [(0.5, "beep")]


# -- the tone -------------------------------------------------------------------------------------


def beeps(samples: Samples, rate: int, cut: int = 160) -> int:
    """Count the tones in *samples*."""
    heard: list[int] = []
    detector = BeepDetector(rate, lambda: heard.append(1))
    for at in range(0, len(samples), cut):
        detector.push(samples[at : at + cut])
    return len(heard)


def tone(rate: int, hertz: float, seconds: float, loudness: float = 6000) -> Samples:
    """Make a tone with a moment of silence around it."""
    wave = loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.concatenate((silence(rate, 0.3), wave.astype(np.int16), silence(rate, 0.3)))


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("hertz", [440, 850, 1000, 1400, 2000])
def test_a_tone_is_heard_to_its_end(rate: int, hertz: float) -> None:
    """A beep of any usual frequency and length is one beep, loud or soft, with some noise on the line."""
    for seconds in (0.25, 0.5, 1.5):
        line = tone(rate, hertz, seconds)
        assert beeps(line, rate) == 1
        assert beeps(tone(rate, hertz, seconds, 900), rate) == 1
        assert beeps((line + noise(rate, len(line) / rate, 60)).astype(np.int16), rate) == 1


@given(cut=st.integers(1, 4000))
def test_however_it_is_cut(cut: int) -> None:
    """The size of the frames makes no difference."""
    assert beeps(tone(8000, 1000, 0.5), 8000, cut) == 1


def test_what_is_no_tone() -> None:
    """Speech, noise, ringing, dial tones, chirps and what does not end are none."""
    rate = 8000
    for name in NAMES:
        assert beeps(recorded(name, rate), rate) == 0
    assert beeps(noise(rate, 3, 5000), rate) == 0
    two = (tone(rate, 440, 1.0) // 2 + tone(rate, 480, 1.0) // 2).astype(np.int16)
    assert beeps(two, rate) == 0
    sweep = np.linspace(500, 2000, rate)
    chirp = (6000 * np.sin(2 * np.pi * np.cumsum(sweep) / rate)).astype(np.int16)
    assert beeps(np.concatenate((chirp, silence(rate, 0.3))), rate) == 0
    assert beeps(tone(rate, 1000, LONGEST + 1), rate) == 0
    assert beeps(tone(rate, 1000, 0.1), rate) == 0
    assert beeps(tone(rate, 1000, 0.5, 200), rate) == 0


# -- what is done ---------------------------------------------------------------------------------


def machine(turns: TurnTaker) -> TurnTaker:
    """Bring a turn taker to where the agent's greeting is known to be heard by a machine, at 1.5."""
    play(turns, [(0.0, Speak()), (0.1, AudioBegan(0)), (1.0, SpeechBegan(0.94))])
    assert play(turns, [(1.5, MachineAnswered())]) == [(1.5, Cancel(0))]
    assert turns.floor is Floor.MACHINE
    return turns


def test_a_machine_is_heard_out_to_its_tone() -> None:
    """Nothing the machine says is answered; at its tone the message is left, and then the agent hangs up."""
    turns = machine(taker())
    assert play(turns, [(2.0, Final("Please leave a message")), (2.1, Typed("hello")), (5.0, MachineAnswered())]) == []
    assert play(turns, [(6.0, Beeped())]) == [(6.0, LeaveMessage(1))]
    assert play(turns, [(6.1, AudioBegan(1)), (6.5, SpeechBegan(6.4)), (9.0, PlayedOut(1))]) == [
        (9.0, HangUp(EndReason.VOICEMAIL))
    ]


def test_silence_stands_for_a_tone() -> None:
    """Two seconds of silence are as good as a tone, and a machine that never stops is spoken over."""
    turns = machine(taker())
    play(turns, [(4.0, SpeechPaused(3.9))])
    assert play(turns, [(8.0, None)]) == [(5.9, LeaveMessage(1))]
    turns = machine(taker())
    assert play(turns, [(60.0, None)]) == [(41.5, LeaveMessage(1))]


def test_a_machine_that_interrupts_nothing_hushes_nobody() -> None:
    """Found out while the agent speaks, the machine stops it; while the conversation is held, after it."""
    turns = taker()
    play(turns, [(0.0, Speak()), (0.1, AudioBegan(0))])
    assert play(turns, [(1.0, MachineAnswered())]) == [(1.0, Hush(0)), (1.0, Cancel(0))]
    turns = taker()
    play(turns, [(0.0, Listen()), (1.0, Held(on=True)), (1.1, MachineAnswered()), (1.2, Held(on=False))])
    assert turns.floor is Floor.MACHINE
    assert play(turns, [(1.3, Beeped()), (1.4, MachineAnswered()), (1.5, Beeped())]) == [(1.3, LeaveMessage(0))]


# -- whole calls ----------------------------------------------------------------------------------

GREETING = "Hello, you have reached Anna, please leave a message after the tone."
SCRIPT: dict[str, Any] = {"sttMs": 100, "heard": [GREETING, "one more thing"], "replies": ["What can I do for you?"]}


def agent(action: str, message: str = "Please call us back.") -> dict[str, Any]:
    """Make an agent that looks out for machines."""
    return {"greeting": "Hello.", "voicemail": {"detect": True, "action": action, "message": message}}


async def test_an_agent_hangs_up_on_a_machine(autojump_clock: MockClock) -> None:
    """At the first telling words the call ends as `voicemail`, and the timeline says how it was known."""
    async with open_stage(agent("hangup"), SCRIPT) as stage:
        await stage.line.wait(1.0)
        await stage.line.speak(3.0)
        await stage.over.wait()
    assert stage.record.reason is EndReason.VOICEMAIL
    assert stage.record.status is CallStatus.COMPLETED
    (told,) = [event.payload for event in stage.books.events if event.kind == "voicemail"]
    assert (told["by"], told["action"]) == ("words", "hangup")
    assert stage.transcript()[-1] == ("user", "Hello, you have reached Anna, please")
    assert stage.record.summary is not None
    assert stage.record.summary.outcome == "voicemail"


async def test_an_agent_leaves_a_message(autojump_clock: MockClock) -> None:
    """The greeting is heard out, the tone too; the message is said whole, and the call is over."""
    async with open_stage(agent("message"), SCRIPT) as stage:
        await stage.line.wait(1.0)
        await stage.line.speak(4.0)
        for piece in np.array_split(tone(8000, 1000, 0.5), 55):
            stage.line.hear(piece)
        await stage.over.wait()
        spoken = [turn for _, turn, _ in stage.line.played if turn == 1]
    assert spoken
    assert stage.record.reason is EndReason.VOICEMAIL
    assert stage.transcript()[-1] == ("assistant", "Please call us back.")
    assert not any(text == "What can I do for you?" for _, text in stage.transcript())


async def test_a_message_of_nothing_hangs_up(autojump_clock: MockClock) -> None:
    """An agent without a message has nothing to say to a machine."""
    async with open_stage(agent("message", ""), SCRIPT) as stage:
        await stage.line.wait(1.0)
        await stage.line.speak(3.0)
        await stage.line.wait(4.0)
        await stage.over.wait()
    assert stage.record.reason is EndReason.VOICEMAIL


async def test_an_agent_may_go_on(autojump_clock: MockClock) -> None:
    """With `continue` it is only noted."""
    async with open_stage(agent("continue"), SCRIPT) as stage:
        await stage.line.wait(1.0)
        await stage.line.speak(3.0)
        await stage.line.wait(3.0)
    assert stage.record.reason is EndReason.HANGUP
    assert stage.books.kinds().count("voicemail") == 1
    assert ("assistant", "What can I do for you?") in stage.transcript()


async def test_nobody_looks_unless_asked_to(autojump_clock: MockClock) -> None:
    """Without `detect` a machine is talked to like anybody."""
    async with open_stage({"greeting": "Hello."}, SCRIPT) as stage:
        await stage.line.wait(1.0)
        await stage.line.speak(3.0)
        await stage.line.wait(1.0)
    assert "voicemail" not in stage.books.kinds()
