"""What a spectator reads of a call, event by event: pure."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from invorto.caller.reach import Event

type Who = Literal["agent", "caller", "note"]


@attrs.frozen
class Line:
    """Something that has happened; *at* in seconds of the call."""

    at: float
    who: Who
    text: str
    unheard: str = ""
    """What the agent was going to say when it was interrupted."""


@attrs.define
class Story:
    """Both sides as the caller's end learns of them."""

    words: str = ""
    """What the caller is saying, as far as it has been understood."""
    speech: str = ""
    """The sentences that the agent is saying."""
    _began: float = 0.0
    _turn: int = -1
    _quickness: dict[int, str] = attrs.field(factory=dict[int, str], init=False)

    def take(self, at: float, event: Event) -> list[Line]:
        """Take in an event; gives what there is to be told of it."""
        match event:
            case {"t": "connected"}:
                return [Line(at, "note", f"call {event['callId']} to agent {event['agentId']}")]
            case {"t": "stt.partial"}:
                self.words = plain(event["text"])
            case {"t": "stt.final"}:
                self.words = ""
                return [Line(at, "caller", plain(event["text"]))]
            case {"t": "tts.mark"}:
                self._say(at, event)
            case {"t": "tts.done"}:
                return self._said(event)
            case {"t": "control.bargein"}:
                played = event["playedMs"] / 1000
                return [Line(at, "note", f"✂ the caller breaks in: the agent stops after {played:.1f} s of its turn")]
            case {"t": "control.resume"}:
                return [Line(at, "note", "that was no interruption: the agent goes on")]
            case {"t": "turn.metrics"}:
                self._quickness[event["turn"]] = quickness(event)
            case {"t": "tool.call"}:
                args = ", ".join(f"{name}={value!r}" for name, value in event["args"].items())
                return [Line(at, "note", plain(f"⚙ the agent asks for {event['name']}({args})"))]
            case {"t": "error"}:
                return [Line(at, "note", plain(f"error {event['code']}: {event['message']}"))]
            case {"t": "end"}:
                return [Line(at, "note", f"the call is over: {plain(event['reason'])}")]
            case _:
                pass
        return []

    def _say(self, at: float, event: Event) -> None:
        if event["turn"] != self._turn:
            self._turn, self._began, self.speech = event["turn"], at, ""
        self.speech = f"{self.speech} {plain(event['text']).strip()}".strip()

    def _said(self, event: Event) -> list[Line]:
        heard, speech = plain(event["heard"]), self.speech
        self.speech = ""
        if not heard:
            return []
        unheard = speech.removeprefix(heard).strip() if event["interrupted"] else ""
        lines = [Line(self._began, "agent", heard, unheard)]
        if (quick := self._quickness.pop(event["turn"], None)) is not None:
            lines.append(Line(self._began, "note", quick))
        return lines


def quickness(metrics: Event) -> str:
    """Say how long the caller waited for the agent's voice, and what for."""
    parts = {
        "end of turn": metrics["eouMs"],
        "thought": metrics["llmFirstTokenMs"],
        "voice": metrics["ttsFirstChunkMs"],
    }
    told = ", ".join(f"{name} {_millis(value)}" for name, value in parts.items())
    words = "" if metrics["sttMs"] is None else f" (words {_millis(metrics['sttMs'])})"
    return f"answered in {_millis(metrics['voiceToVoiceMs'])} ms: {told.replace(',', words + ',', 1)}"


def _millis(value: Any) -> str:
    return "–" if value is None else f"{value:.0f}"


def plain(text: str) -> str:
    """Leave out what would move a terminal's cursor or change its colours."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
