"""How the caller sounds changes the agent's next turn, and no other."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from invorto.model.agent import AgentConfig, EmotionSettings
from invorto.realtime.mood import BUILT_IN, Mood
from invorto.realtime.protocol import EmotionState, EmotionWindow
from invorto.realtime.turns import Rules, TurnTaker
from invorto.speech.ports import Prompt
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedLlm
from tests.realtime.stage import open_stage


def mood(policy: Any = None) -> Mood:
    """Make one of an agent with *policy*."""
    agent = AgentConfig(prompt="Be brief.", emotion=EmotionSettings(policy=policy))
    return Mood(lambda: agent, TurnTaker(Rules.of(agent)))


def test_the_next_turn_alone_is_different() -> None:
    """Style and rate hold for one turn; then the agent is itself again."""
    one = mood()
    plain = one.take()
    one.felt("agitated")
    changed = one.take()
    assert changed.prompt == f"Be brief.\n\n{BUILT_IN['agitated']['style']}"
    assert changed.tts.rate == 0.95
    assert one.take() == plain


def test_patience_holds_until_the_turn_begins() -> None:
    """`silenceMs` lengthens the caller's turn that goes on, and is taken back when it is answered, or calm returns."""
    one = mood({"agitated": {"silenceMs": 900}, "calm": {}})
    one.felt("agitated")
    assert one.turns.rules.endpointing.silence_ms == 900
    one.take()
    assert one.turns.rules.endpointing.silence_ms == 220
    one.felt("agitated")
    one.felt("calm")
    assert one.turns.rules.endpointing.silence_ms == 220


@pytest.mark.parametrize(
    "policy",
    [{}, {"agitated": None}, {"agitated": "slow"}, {"agitated": {"rate": "x", "style": 7, "silenceMs": True}},
     {"calm": {"rate": 0.5}}],
)  # fmt: skip
def test_a_policy_of_nothing_changes_nothing(policy: Any) -> None:
    """A label that is not named, and what makes no sense, leave the agent as it is."""
    one = mood(policy)
    plain = one.agent()
    one.felt("agitated")
    assert one.take() == plain
    assert one.turns.rules.endpointing.silence_ms == 220


def test_numbers_are_kept_within_bounds() -> None:
    """However small or large a number is, speech stays speech and patience patience."""
    one = mood({"agitated": {"rate": 99, "silenceMs": 10**9}})
    one.felt("agitated")
    assert one.turns.rules.endpointing.silence_ms == 5000
    assert one.take().tts.rate == 2.0


def test_it_listens_to_what_is_told() -> None:
    """Windows are told on, states too, and states are heeded."""
    one, told = mood(), list[Any]()
    tell = one.told(told.append)
    tell(EmotionWindow(energy_db=-20, speaking=True))
    tell(EmotionState(label="agitated", arousal=0.9, valence=-0.4, confidence=0.6))
    assert len(told) == 2
    assert one.take().tts.rate == 0.95


class Listener(ScriptedLlm):
    """Notes what it is told to be."""

    def __init__(self) -> None:
        super().__init__(Script.parse({"replies": ["Yes."]}))
        self.prompts: list[str] = []

    def answer(self, prompt: Prompt) -> Any:
        """Answer."""
        self.prompts.append(prompt.agent.prompt)
        return super().answer(prompt)


async def test_a_whole_call(autojump_clock: MockClock) -> None:
    """The answer after a state that was told is thought of in its style, the one after it is not."""
    mind = Listener()
    agent = {"greeting": None, "prompt": "Be brief."}
    async with open_stage(agent, {"sttMs": 100, "heard": ["I want a table."]}, llm=mind) as stage:
        await stage.line.speak(1.0)
        stage.call.conversation.mood.felt("agitated")
        await stage.line.wait(2.0)
        await stage.line.speak(1.0)
        await stage.line.wait(2.0)
    assert [prompt == "Be brief." for prompt in mind.prompts] == [False, True]
