"""What every agent of the local engine understands besides its own flow."""

from __future__ import annotations

import attrs

from invorto.model.agent import Flow, Intent

REPEAT, NEVER_MIND, HUMAN, GOODBYE = "repeat", "never_mind", "human", "goodbye"

SMALL_TALK = (
    Intent(
        name=GOODBYE, then="end_call",
        examples=(
            "goodbye", "bye", "bye bye", "good bye", "see you", "have a nice day", "that's all", "that is all",
            "that's it, thank you", "nothing else, thanks", "no thanks, that's all", "talk to you later", "hang up",
        ),
    ),
    Intent(
        name="hello", reply="Hello! How can I help you?",
        examples=("hello", "hi", "hey", "good morning", "good afternoon", "good evening", "hi there", "namaste"),
    ),
    Intent(
        name="how_are_you", reply="I am very well, thank you. How can I help you?",
        examples=("how are you", "how is it going", "how are you doing today", "are you well"),
    ),
    Intent(
        name="who_are_you", reply="I am the assistant on this line. How can I help you?",
        examples=("who are you", "what is your name", "are you a robot", "am I talking to a machine", "are you human"),
    ),
    Intent(
        name="thanks", reply="You are welcome. Is there anything else?",
        examples=("thank you", "thanks", "thank you very much", "thanks a lot", "great, thanks"),
    ),
    Intent(
        name="help", reply="Just tell me in your own words what you need.",
        examples=("help", "what can you do", "what can I say", "can you help me", "I have a question"),
    ),
    Intent(
        name="there", reply="Yes, I am here.",
        examples=("are you there", "can you hear me", "hello, are you still there"),
    ),
    Intent(
        name=REPEAT,
        examples=(
            "repeat that", "can you repeat that", "say that again", "what did you say", "pardon", "excuse me",
            "I did not hear you", "sorry, what was that", "come again",
        ),
    ),
    Intent(
        name=NEVER_MIND, reply="All right. What else can I do for you?",
        examples=("never mind", "forget it", "cancel that", "stop that", "leave it", "I changed my mind"),
    ),
    Intent(
        name=HUMAN,
        examples=(
            "let me talk to a human", "I want to speak to a person", "talk to an agent", "connect me to an operator",
            "can I speak to someone", "I want a real person", "transfer me to a representative",
        ),
    ),
)  # fmt: skip

FALLBACK = "Sorry, I did not understand that. Could you say it in other words?"
HANDOVER = "I am sorry, I cannot help with that. Let me pass you on to a person."
NOBODY = "I am sorry, I cannot help with that, and nobody else is here right now. Is there anything else?"
NOT_HEARD = "Sorry, I did not get that."
RIGHT = "Is that right?"
CHANGE = "What should I change?"
DONE = "That is done. Is there anything else?"
TOOL_FAILED = "I am sorry, that did not work just now. Shall I try it again?"


def completed(flow: Flow | None) -> Flow:
    """Add what every agent understands to a flow; its own words for the same thing win."""
    if flow is None:
        return Flow(intents=SMALL_TALK)
    own = {intent.name for intent in flow.intents}
    more = tuple(intent for intent in SMALL_TALK if intent.name not in own)
    return attrs.evolve(flow, intents=(*flow.intents, *more))
