"""Whole dialogues, by their words alone: what the agent says to what it hears."""

from __future__ import annotations

from datetime import date

import attrs
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.model.agent import Faq, Flow, Intent, Slot
from invorto.speech.llm import smalltalk
from invorto.speech.llm.dialogue import Before, Dialogue, Move, State
from invorto.speech.llm.slots import Context
from invorto.speech.llm.smalltalk import completed

FLOW = Flow(
    intents=(
        Intent(
            name="book", examples=("I want to book an appointment", "book a visit"), slots=("day", "time", "name"),
            reply="You are booked for {day} at {time}, {name}. Your number is {result.id}.", then="book_visit",
        ),
        Intent(
            name="call_back", examples=("call me back", "please call me later"), slots=("phone",),
            reply="We will call {phone}.",
        ),
        Intent(name="complain", examples=("I want to complain",), reply="I am sorry.", then="transfer_call"),
    ),
    slots=(
        Slot(name="day", type="date", ask="Which day would you like?", confirm=True),
        Slot(name="time", type="time", ask="At what time on {day}?", confirm=True),
        Slot(name="name", ask="What is your name?"),
        Slot(name="phone", type="phone"),
    ),
    faq=(Faq(q="What are your opening hours?", a="We are open from nine to six."),),
)  # fmt: skip

CLINIC = Dialogue(flow=completed(FLOW), context=Context(date(2026, 11, 22)), goodbye="Goodbye, and take care.")


@attrs.define
class Talk:
    """A conversation with an agent, its state through JSON and back at every turn, as in a history."""

    dialogue: Dialogue = CLINIC
    state: State = attrs.field(factory=State)
    last: Move = attrs.field(factory=Move)

    def say(self, heard: str, *, interrupted: bool = False) -> str:
        before = Before(said=self.last.say, interrupted=interrupted)
        return self._took(self.dialogue.step(heard, self.state, {}, before=before))

    def result(self, result: object) -> str:
        return self._took(self.dialogue.told(self.state, result))

    def _took(self, move: Move) -> str:
        self.last = move
        self.state = State.unpacked(msgspec.json.decode(msgspec.json.encode(move.state.packed())))
        assert self.state == move.state
        return move.say


DAY, NAME = "Which day would you like?", "What is your name?"
RIGHT = "So that is {} and {}. Is that right?"
MORE = "You are welcome. Is there anything else?"
BYE = "Goodbye, and take care."

CONVERSATIONS = {
    "a booking": [
        ("Hello.", "Hello! How can I help you?"),
        ("I'd like to book an appointment.", DAY),
        ("On Tuesday.", "At what time on Tuesday, 24 November?"),
        ("At three thirty in the afternoon.", NAME),
        ("Anna Smith.", RIGHT.format("Tuesday, 24 November", "3:30 PM")),
        ("Yes, please.", ""),
    ],
    "corrections": [
        (
            "I want to book an appointment for Tuesday at 3:30 pm, my name is anna.",
            RIGHT.format("Tuesday, 24 November", "3:30 PM"),
        ),
        ("No, make it Wednesday.", RIGHT.format("Wednesday, 25 November", "3:30 PM")),
        ("No.", "What should I change?"),
        ("The time, at five.", RIGHT.format("Wednesday, 25 November", "5 PM")),
        ("No, that's right.", ""),
    ],
    "asides": [
        ("Book a visit tomorrow", "At what time on Monday, 23 November?"),
        ("What are your opening hours?", "We are open from nine to six. At what time on Monday, 23 November?"),
        ("Actually, make it Friday.", "At what time on Friday, 27 November?"),
        ("Thank you.", f"{MORE} At what time on Friday, 27 November?"),
        ("Sorry, can you repeat that?", f"{MORE} At what time on Friday, 27 November?"),
        ("never mind", "All right. What else can I do for you?"),
        ("please call me back", "What is the phone?"),
        ("double nine eight seven six five four three two one", "We will call 9 9 8 7 6 5 4 3 2 1."),
    ],
    "faq and goodbye": [("What are your opening hours", "We are open from nine to six."), ("bye bye", BYE)],
    "nothing else": [("Thanks.", MORE), ("No.", BYE)],
    "something else": [("Thanks.", MORE), ("Yes.", "Please tell me.")],
    "nonsense twice": [
        ("purple monkey dishwasher", smalltalk.FALLBACK),
        ("colourless green ideas", smalltalk.NOBODY),
        ("zork", smalltalk.FALLBACK),
    ],
    "nonsense apart": [
        ("zork", smalltalk.FALLBACK), ("hello", "Hello! How can I help you?"), ("zork", smalltalk.FALLBACK),
    ],
    "nonsense when asked": [
        ("book a visit", DAY), ("zork", f"{smalltalk.NOT_HEARD} {DAY}"), ("zork", smalltalk.NOBODY),
    ],
    "goodbye is no name": [("book a visit on friday at noon", NAME), ("goodbye", BYE)],
    "another wish": [("book a visit on friday at 3 pm", NAME), ("call me back", "What is the phone?")],
    "complaint": [("I want to complain", "I am sorry.")],
    "silence": [("", smalltalk.FALLBACK)],
    "repeat nothing": [("pardon", smalltalk.FALLBACK)],
}  # fmt: skip


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_conversations(turns: list[tuple[str, str]]) -> None:
    """The agent asks for what it lacks, takes corrections, answers asides, and comes back to its question."""
    talk = Talk()
    for heard, answer in turns:
        assert talk.say(heard) == answer


def booked() -> Talk:
    talk = Talk()
    talk.say("book a visit on tuesday at 3:30 pm, my name is Anna")
    talk.say("yes")
    return talk


def test_a_tool_is_called_with_values_and_its_result_is_told() -> None:
    """A tool gets days and times as machines write them; the reply says them as people do, with what it answered."""
    talk = booked()
    assert (talk.last.tool, talk.last.args) == (
        "book_visit", {"day": "2026-11-24", "time": "15:30", "name": "Anna"},
    )  # fmt: skip
    assert talk.result({"id": 42}) == "You are booked for Tuesday, 24 November at 3:30 PM, Anna. Your number is 42."
    assert talk.state == State()


def test_a_tool_that_failed_can_be_tried_again() -> None:
    """A failure is admitted; a yes tries once more with the same values, a no lets it be changed."""
    talk = booked()
    assert talk.result({"error": "away"}) == smalltalk.TOOL_FAILED
    talk.say("yes")
    assert (talk.last.tool, talk.last.args["day"]) == ("book_visit", "2026-11-24")


@pytest.mark.parametrize("result", [None, [], "done", {"id": None}, {"id": {"a": [1]}}, 7])
def test_any_result_can_be_told(result: object) -> None:
    """Whatever a tool answers, the reply is said, without holes."""
    assert booked().result(result).startswith("You are booked for Tuesday, 24 November at 3:30 PM, Anna.")


def test_a_result_that_was_talked_over_is_told_again() -> None:
    """Who interrupted the reply with a mumble hears it again."""
    talk = booked()
    move = CLINIC.step("mm zork", talk.state, {}, before=Before(interrupted=True, result={"id": 42}))
    assert "Your number is 42." in move.say


def test_an_interrupted_question_is_asked_again() -> None:
    """Whoever spoke over the question did not hear it: it is asked again, and not held against them."""
    talk = Talk()
    talk.say("book a visit")
    for _ in range(4):
        assert talk.say("zork", interrupted=True) == "Which day would you like?"
    assert talk.say("on Tuesday", interrupted=True) == "At what time on Tuesday, 24 November?"


def test_handing_over() -> None:
    """With somebody to pass the caller on to, nonsense twice or the wish for a human does it, in the agent's words."""
    dialogue = attrs.evolve(
        CLINIC, transfer_to="+911234567890", flow=attrs.evolve(CLINIC.flow, handover="One moment.", fallback="Pardon?")
    )
    talk = Talk(dialogue)
    assert talk.say("zork") == "Pardon?"
    assert talk.say("zork") == "One moment."
    assert (talk.last.tool, talk.last.args) == ("transfer_call", {"to": "+911234567890"})
    talk = Talk(dialogue)
    assert talk.say("let me talk to a human") == "One moment."
    assert talk.last.tool == "transfer_call"
    talk = Talk(dialogue)
    assert talk.say("I want to complain") == "I am sorry."
    assert talk.last.tool == "transfer_call"


def test_goodbye_hangs_up_where_it_may() -> None:
    """A goodbye is said, then the call ends, unless the agent is not to end calls."""
    talk = Talk()
    talk.say("okay goodbye then")
    assert talk.last.tool == "end_call"
    talk = Talk(attrs.evolve(CLINIC, may_end=False))
    assert talk.say("goodbye") == "Goodbye, and take care."
    assert talk.last.tool is None


def test_without_a_flow() -> None:
    """An agent without a flow talks small."""
    talk = Talk(Dialogue(flow=completed(None), context=CLINIC.context))
    assert talk.say("how are you?") == "I am very well, thank you. How can I help you?"
    assert talk.say("are you a robot?").startswith("I am the assistant")


@pytest.mark.parametrize("data", [None, 7, "x", {}, {"values": None}, [1]])
def test_a_foreign_state_is_a_beginning(data: object) -> None:
    """What another engine left in the history means nothing here."""
    assert State.unpacked(data) == State()


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["book a visit", "tuesday", "at five", "Anna", "yes", "no", "never mind", "zork", "", "hello", "bye",
             "what are your opening hours", "repeat that", "call me back", "nine eight seven six five four three two"]
        ) | st.text(max_size=20),
        max_size=12,
    )
)  # fmt: skip
def test_there_is_always_an_answer(heard: list[str]) -> None:
    """Whatever is said in whatever order: each turn says something or calls a tool, and no template shows."""
    talk = Talk()
    for text in heard:
        said = talk.say(text)
        assert said or talk.last.tool
        assert "{" not in said or "{" in text
        if talk.last.tool == "book_visit":
            assert set(talk.last.args) == {"day", "time", "name"}
            talk.result({"id": 1})
