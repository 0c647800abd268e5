"""The dialogue of the local engine: what was heard and where things stood, to what is said and where they stand; pure.

A caller means one of the intents or a frequent question, or answers what was asked. An intent gathers its slots, has
them confirmed where one asks for it, and ends in its reply, in a tool whose result the reply tells, or in a hang-up.
Nothing is kept here: `State` travels in the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from invorto.model.agent import Flow, Intent, Slot
from invorto.speech.llm import smalltalk
from invorto.speech.llm.matching import SURE_BUILT_IN, Known, best
from invorto.speech.llm.polarity import agreed
from invorto.speech.llm.slots import Context, Value, extract, filled

LONGEST = 1000
"""Characters of what was heard that are looked at: a minute of speech; typed text may be longer."""
MISSES = 2
"""Times in a row that nothing is understood, before somebody else is asked to help."""


@attrs.frozen(kw_only=True)
class State:
    """Where a dialogue stands."""

    intent: str | None = None
    """Whose slots are being gathered."""
    values: Mapping[str, Value] = attrs.field(factory=dict[str, Value])
    asked: str | None = None
    """The slot that was asked for last."""
    confirming: bool = False
    tool: str | None = None
    """The intent whose tool was called and whose reply is still to be said."""
    misses: int = 0

    def packed(self) -> dict[str, Any]:
        """Make plain data of it, to travel in the history."""
        return attrs.asdict(self)

    @classmethod
    def unpacked(cls, data: object) -> State:
        """Read what `packed` made; anything else is a beginning."""
        if not isinstance(data, dict) or not isinstance(data.get("values"), dict):
            return cls()
        known = cast("dict[str, Any]", data)
        values = {name: Value(**value) for name, value in known["values"].items()}
        return attrs.evolve(cls(**known), values=values)


@attrs.frozen(kw_only=True)
class Move:
    """What the agent does: say something, then perhaps call a tool."""

    say: str = ""
    state: State = State()
    tool: str | None = None
    args: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen(kw_only=True)
class Before:
    """What the agent did before."""

    said: str = ""
    interrupted: bool = False
    """Whether it was cut short."""
    result: Any = None
    """What a tool answered that nobody has heard of yet."""


@attrs.frozen(kw_only=True)
class Dialogue:
    """One agent's dialogue."""

    flow: Flow
    context: Context
    goodbye: str = "Goodbye."
    may_end: bool = True
    transfer_to: str | None = None
    """Where the caller can be passed on to; None: nowhere."""

    @property
    def known(self) -> list[Known]:
        """List what can be meant, the agent's own first."""
        built_in = smalltalk.SMALL_TALK
        return [
            *(Known("intent", one.name, one.examples) for one in self.flow.intents if one not in built_in),
            *(Known("faq", str(place), (faq.q,)) for place, faq in enumerate(self.flow.faq)),
            *(Known("intent", one.name, one.examples, SURE_BUILT_IN) for one in self.flow.intents if one in built_in),
        ]

    # -- what the caller said ---------------------------------------------------------------------

    def step(self, heard: str, state: State, near: Mapping[str, float], *, before: Before | None = None) -> Move:
        """Answer what was *heard*; *near* is its likeness to each example."""
        before, heard = before or Before(), heard[:LONGEST]
        one, score = best(heard, self.known, near)
        meant = one if one is not None and score >= one.sure else None
        intent = self._intent(state.intent)
        if intent is not None:
            move = self._answered(heard, state, intent, meant, outright=score >= 1)
            if move is not None:
                return move
        if meant is not None:
            return self._meant(meant, heard, state, before.said)
        if intent is None and (move := self._offered(heard, before.said)) is not None:
            return move
        return self._missed(state, intent, before)

    def told(self, state: State, result: Any) -> Move:
        """Tell the result of the tool that was called."""
        intent = self._intent(state.tool)
        if intent is None:
            return Move(say=smalltalk.DONE)
        if isinstance(result, Mapping) and result.get("error"):
            again = State(intent=intent.name, values=state.values, confirming=True)
            return Move(say=smalltalk.TOOL_FAILED, state=again)
        words = _said(state.values) | _flat("result", result)
        return Move(say=filled(intent.reply, words) or smalltalk.DONE)

    def _answered(
        self, heard: str, state: State, intent: Intent, meant: Known | None, *, outright: bool
    ) -> Move | None:
        """Take what was heard as the answer to a question; None if it is none."""
        slots = [slot for slot in self.flow.slots if slot.name in intent.slots]
        asked = state.asked if not state.confirming else None
        given = extract(heard, slots, asked, self.context)
        free = {slot.name for slot in slots if slot.type == "text"}
        if meant is not None and outright and given.keys() <= free:
            given = {}  # "never mind" is nobody's name
        yes = agreed(heard)
        if state.confirming and yes is not None and not given:
            if yes:
                return self._complete(intent, state.values)
            return Move(say=smalltalk.CHANGE, state=attrs.evolve(state, misses=0))
        if not given:
            return None
        return self._gather(intent, {**state.values, **given})

    def _meant(self, meant: Known, heard: str, state: State, last: str) -> Move:
        if meant.kind == "faq":
            return self._back(self.flow.faq[int(meant.name)].a, state)
        if meant.name == smalltalk.REPEAT:
            return Move(say=last or self._question(state) or smalltalk.FALLBACK, state=attrs.evolve(state, misses=0))
        if meant.name == smalltalk.HUMAN:
            return self._hand_over()
        intent = next(intent for intent in self.flow.intents if intent.name == meant.name)
        plain = not intent.slots and intent.then is None and intent.name != smalltalk.NEVER_MIND
        if state.intent is not None and plain:
            return self._back(filled(intent.reply, {}), state)  # an aside: then on with what was asked
        kept = {name: value for name, value in state.values.items() if name in intent.slots}
        slots = [slot for slot in self.flow.slots if slot.name in intent.slots]
        return self._gather(intent, {**kept, **extract(heard, slots, None, self.context)})

    def _offered(self, heard: str, last: str) -> Move | None:
        """Take a bare yes or no as the answer to an offer of more help."""
        yes = agreed(heard)
        if yes is None or not last.rstrip().endswith("else?"):
            return None
        intent = self._intent(smalltalk.GOODBYE)
        return Move(say="Please tell me.") if yes or intent is None else self._complete(intent, {})

    def _missed(self, state: State, intent: Intent | None, before: Before) -> Move:
        """Ask again; after several misses in a row hand over. Who cut the question short did not hear it."""
        if intent is not None and before.interrupted:
            return Move(say=self._question(state), state=state)
        if before.result is not None:
            return self.told(state, before.result)
        if state.misses + 1 >= MISSES:
            return self._hand_over()
        missed = attrs.evolve(state, misses=state.misses + 1)
        if intent is None:
            return Move(say=self.flow.fallback or smalltalk.FALLBACK, state=missed)
        return Move(say=f"{self.flow.fallback or smalltalk.NOT_HEARD} {self._question(state)}", state=missed)

    def _hand_over(self) -> Move:
        if self.transfer_to is not None:
            say = self.flow.handover or smalltalk.HANDOVER
            return Move(say=say, tool="transfer_call", args={"to": self.transfer_to})
        return Move(say=self.flow.handover or smalltalk.NOBODY)

    def _back(self, say: str, state: State) -> Move:
        """Say something, and come back to what was asked."""
        return Move(say=f"{say} {self._question(state)}".strip(), state=attrs.evolve(state, misses=0))

    # -- gathering --------------------------------------------------------------------------------

    def _gather(self, intent: Intent, values: Mapping[str, Value]) -> Move:
        """Ask for what is missing, then for a confirmation where there should be one, then do it."""
        state = State(intent=intent.name, values=values)
        missing = next((name for name in intent.slots if name not in values and self._slot(name) is not None), None)
        if missing is not None:
            state = attrs.evolve(state, asked=missing)
        elif any(slot.confirm for slot in self._slots(intent.slots)):
            state = attrs.evolve(state, confirming=True)
        else:
            return self._complete(intent, values)
        return Move(say=self._question(state), state=state)

    def _question(self, state: State) -> str:
        """Say what is being asked; nothing if nothing is."""
        intent = self._intent(state.intent)
        if intent is None:
            return ""
        if state.confirming:
            said = [state.values[slot.name].said for slot in self._slots(intent.slots) if slot.confirm]
            return f"So that is {_listed(said)}. {smalltalk.RIGHT}"
        slot = self._slot(state.asked)
        if slot is None:
            return ""
        return filled(slot.ask, _said(state.values)) or f"What is the {slot.name.replace('_', ' ')}?"

    def _complete(self, intent: Intent, values: Mapping[str, Value]) -> Move:
        """Do what the intent ends in."""
        say = filled(intent.reply, _said(values))
        if intent.then is None:
            return Move(say=say or smalltalk.DONE)
        if intent.then == "end_call":
            return Move(say=say or self.goodbye, tool="end_call" if self.may_end else None)
        if intent.then == "transfer_call":
            move = self._hand_over()
            return attrs.evolve(move, say=say or move.say)
        args = {name: value.value for name, value in values.items()}
        return Move(state=State(tool=intent.name, values=values), tool=intent.then, args=args)

    def _intent(self, name: str | None) -> Intent | None:
        return next((intent for intent in self.flow.intents if intent.name == name), None)

    def _slot(self, name: str | None) -> Slot | None:
        return next((slot for slot in self.flow.slots if slot.name == name), None)

    def _slots(self, names: Sequence[str]) -> list[Slot]:
        return [slot for name in names if (slot := self._slot(name)) is not None]


def _said(values: Mapping[str, Value]) -> dict[str, str]:
    return {name: value.said for name, value in values.items()}


def _listed(parts: Sequence[str]) -> str:
    return " and ".join((", ".join(parts[:-1]), parts[-1])) if len(parts) > 1 else "".join(parts)


def _flat(path: str, result: Any) -> dict[str, str]:
    """Name every value in a tool's result by its path: ``result.items.0.name``."""
    if isinstance(result, Mapping):
        parts = {f"{path}.{name}": part for name, part in cast("Mapping[str, Any]", result).items()}
    elif isinstance(result, list):
        parts = {f"{path}.{place}": part for place, part in enumerate(cast("list[Any]", result))}
    else:
        return {path: "" if result is None else str(result)}
    return {name: text for path, part in parts.items() for name, text in _flat(path, part).items()}
