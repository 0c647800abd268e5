"""What the agent makes of how the caller sounds: style, rate and patience, for its next turn and no longer; pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from invorto.model.agent import AgentConfig
from invorto.realtime.protocol import EmotionState, EmotionWindow
from invorto.realtime.turns import Rules, TurnTaker

BUILT_IN: Final[Mapping[str, Mapping[str, Any]]] = {
    "agitated": {"style": "The caller sounds upset: be calm, brief and kind, and do not argue.", "rate": 0.95},
}
"""What is done by label where the agent has no policy of its own."""
SLOWEST, FASTEST = 0.5, 2.0
SHORTEST, LONGEST = 100, 5000


@attrs.define
class Mood:
    """One call's: a state that is told changes the agent until its next turn has begun."""

    agent: Callable[[], AgentConfig]
    turns: TurnTaker
    _due: Mapping[str, Any] | None = attrs.field(default=None, init=False)

    def told(
        self, tell: Callable[[EmotionWindow | EmotionState], object]
    ) -> Callable[[EmotionWindow | EmotionState], None]:
        """Make what tells on, and listens for states in it."""

        def listen(message: EmotionWindow | EmotionState) -> None:
            tell(message)
            if isinstance(message, EmotionState):
                self.felt(message.label)

        return listen

    def felt(self, label: str) -> None:
        """Learn how the caller sounds now; a label that the policy does not name changes nothing more."""
        agent = self.agent()
        policy = agent.emotion.policy if agent.emotion.policy is not None else BUILT_IN
        due = policy.get(label)
        self._settle()
        self._due = due if isinstance(due, Mapping) else None
        silence = self._number("silenceMs", SHORTEST, LONGEST)
        if silence is not None:
            patient = attrs.evolve(agent.endpointing, silence_ms=round(silence))
            self.turns.rules = Rules.of(attrs.evolve(agent, endpointing=patient))

    def take(self) -> AgentConfig:
        """Give the agent as it is in the turn that begins; from here on it is itself again."""
        agent = self.agent()
        if self._due is None:
            return agent
        style, rate = self._due.get("style"), self._number("rate", SLOWEST, FASTEST)
        if isinstance(style, str) and style.strip():
            agent = attrs.evolve(agent, prompt=f"{agent.prompt}\n\n{style.strip()[:2000]}")
        if rate is not None:
            agent = attrs.evolve(agent, tts=attrs.evolve(agent.tts, rate=min(max(agent.tts.rate * rate, 0.5), 2.0)))
        self._settle()
        return agent

    def _settle(self) -> None:
        if self._due is not None and "silenceMs" in self._due:
            self.turns.rules = Rules.of(self.agent())
        self._due = None

    def _number(self, name: str, least: float, most: float) -> float | None:
        value = (self._due or {}).get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return min(max(float(value), least), most)
