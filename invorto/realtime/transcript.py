"""What both sides said as it was heard: the call's record, and the memory that the model is given."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from invorto.model.record import Utterance
from invorto.speech.ports import Message, ToolCall


@attrs.define
class Transcript:
    """The turns so far, in order; nothing enters it that was not heard."""

    utterances: list[Utterance] = attrs.field(factory=list)
    _messages: list[Message] = attrs.field(factory=list)
    _whispers: list[str] = attrs.field(factory=list[str])

    def whisper(self, text: str) -> int:
        """Tell the agent something for its next answer, which the caller never hears of; gives how many it has."""
        self._whispers.append(text)
        return len(self._whispers)

    @property
    def whispers(self) -> int:
        """How many whispers the next answer is to heed."""
        return len(self._whispers)

    def heeded(self, count: int) -> None:
        """Forget the first *count* whispers: an answer that heeds them has been heard."""
        del self._whispers[:count]

    def caller_said(self, text: str, *, turn: int, began: float, ended: float, confidence: float | None) -> None:
        """Add a turn of the caller; times in seconds of the call."""
        self.utterances.append(
            Utterance(role="user", text=text, began=began, ended=ended, turn=turn, confidence=confidence)
        )
        self._messages.append(Message(role="user", text=text))

    def agent_said(
        self,
        heard: str,
        *,
        turn: int,
        began: float,
        ended: float,
        heard_by: Literal["marks", "timed"],
        unheard: str | None = None,
        state: Any = None,
    ) -> None:
        """Add a turn of the agent; *unheard* is what was left when it was interrupted, None if it was not."""
        interrupted = unheard is not None
        if heard:
            self.utterances.append(
                Utterance(
                    role="assistant", text=heard, began=began, ended=ended, turn=turn,
                    interrupted=interrupted, heard_by=heard_by, unheard=unheard,
                )
            )  # fmt: skip
        if heard or state is not None:
            self._messages.append(Message(role="assistant", text=heard, interrupted=interrupted, state=state))

    def tools_answered(self, calls: tuple[ToolCall, ...], results: list[tuple[str, str]], state: Any = None) -> None:
        """Add a round of tools: what the model wanted, and by id what came of it."""
        self._messages.append(Message(role="assistant", tool_calls=calls, state=state))
        self._messages.extend(Message(role="tool", text=text, tool_call_id=id_) for id_, text in results)

    def tool_told(self, name: str, text: str) -> None:
        """Add what a tool answered after the turn in which it was called."""
        self._messages.append(Message(role="system", text=f"The tool {name} has answered now: {text}"))

    def history(self, more: str = "") -> list[Message]:
        """
        Give the messages for the model, as if the caller had said *more*; what is said in several goes is one.

        Whispers stand before the last of what the caller said, as messages of the system.
        """
        merged: list[Message] = []
        for message in (*self._messages, Message(role="user", text=more)) if more else self._messages:
            if message.role == "user" and merged and merged[-1].role == "user":
                merged[-1] = attrs.evolve(merged[-1], text=f"{merged[-1].text} {message.text}")
            else:
                merged.append(message)
        place = next((at for at in range(len(merged) - 1, -1, -1) if merged[at].role == "user"), len(merged))
        merged[place:place] = [Message(role="system", text=text) for text in self._whispers]
        return merged
