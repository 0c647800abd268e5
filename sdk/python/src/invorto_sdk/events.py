"""What comes over a voice socket, as frozen values; what makes no sense becomes an `ErrorEvent`, never an exception."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

_T = TypeVar("_T")
_LARGEST = 1e15


@dataclass(frozen=True)
class Event:
    """Any event; of a type that is not known here, all there is."""

    type: str
    id: str = ""
    """Its place on the call's timeline; empty: it has none."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """As it came."""


@dataclass(frozen=True)
class Connected(Event):
    """The call is on."""

    call_id: str = ""
    agent_id: str = ""
    session_id: str = ""
    resumed: bool = False


@dataclass(frozen=True)
class Transcript(Event):
    """What the caller said: so far (``stt.partial``), or for good (``stt.final``); *at* in seconds of the call."""

    text: str = ""
    at: float = 0.0
    turn: int = 0
    confidence: float | None = None
    final: bool = False


@dataclass(frozen=True)
class Delta(Event):
    """Some more of what the agent is going to say."""

    text: str = ""
    turn: int = 0


@dataclass(frozen=True)
class ToolCall(Event):
    """The agent wants a tool run; `Call` answers those it was given functions for."""

    name: str = ""
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Audio(Event):
    """Audio of the agent: 16-bit little-endian PCM at the call's rate."""

    pcm: bytes = field(default=b"", repr=False)
    turn: int | None = None


@dataclass(frozen=True)
class Mark(Event):
    """Where a sentence begins in the audio."""

    name: str = ""
    turn: int = 0
    text: str = ""


@dataclass(frozen=True)
class Spoken(Event):
    """The agent's turn is over; *heard* is what was played of it."""

    turn: int = 0
    heard: str = ""
    interrupted: bool = False


@dataclass(frozen=True)
class BargeIn(Event):
    """The caller broke in: what has not been played is to be dropped."""

    turn: int = 0
    played_ms: float = 0.0


@dataclass(frozen=True)
class Resumed(Event):
    """It was no interruption: the agent goes on."""

    turn: int = 0
    from_ms: float = 0.0


@dataclass(frozen=True)
class EmotionWindow(Event):
    """How loud the caller was, dBFS."""

    energy_db: float = 0.0
    speaking: bool = False


@dataclass(frozen=True)
class EmotionState(Event):
    """How the caller sounds."""

    label: str = ""
    arousal: float = 0.0
    valence: float = 0.0
    confidence: float = 0.0


@dataclass(frozen=True)
class TurnMetrics(Event):
    """How quickly a turn was answered, milliseconds; None where it did not happen."""

    turn: int = 0
    eou_ms: float | None = None
    stt_ms: float | None = None
    llm_first_token_ms: float | None = None
    tts_first_chunk_ms: float | None = None
    voice_to_voice_ms: float | None = None


@dataclass(frozen=True)
class ErrorEvent(Event):
    """Something went wrong; *fatal*: the call ends. ``bad_event``: the server said what makes no sense."""

    code: str = ""
    message: str = ""
    fatal: bool = False
    retry_after: float | None = None


@dataclass(frozen=True)
class Ended(Event):
    """The call is over."""

    reason: str = ""


def parse(message: str | bytes) -> Event:
    """Read what came: binary is audio, text is an event."""
    if isinstance(message, bytes):
        return Audio("tts.chunk", pcm=message)
    try:
        read: object = json.loads(message)
    except (ValueError, RecursionError):
        return _bad("the server sent what is no JSON", {})
    if not isinstance(read, dict) or not isinstance((data := cast("dict[str, Any]", read)).get("t"), str):
        return _bad("the server sent an event without a type", {})
    make = _KINDS.get(data["t"])
    if make is None:
        return Event(data["t"], _id(data), data)
    try:
        return make(_Fields(data))
    except _Odd as odd:
        return _bad(f"{data['t']}: {odd}", data)


class _Odd(Exception):
    """A field is missing, or of another type."""


class _Fields:
    """The fields of an event, each of the type that it should be."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.common = (data["t"], _id(data), data)

    def text(self, name: str, default: str | None = None) -> str:
        return self._of(name, str, "text", default)

    def flag(self, name: str, *, default: bool | None = None) -> bool:
        return self._of(name, bool, "true or false", default)

    def whole(self, name: str) -> int:
        number = self.number(name)
        if number != int(number):
            raise _Odd(f"{name} is no whole number")
        return int(number)

    def number(self, name: str) -> float:
        value = self.data.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
            raise _Odd(f"{name} is no number")
        return value

    def maybe(self, name: str) -> float | None:
        return None if self.data.get(name) is None else self.number(name)

    def mapping(self, name: str) -> Mapping[str, Any]:
        value = self.data.get(name)
        if not isinstance(value, dict):
            raise _Odd(f"{name} is no object")
        return cast("dict[str, Any]", value)

    def pcm(self, name: str) -> bytes:
        """Read audio: base64, or a list of bytes, or of samples."""
        value = self.data.get(name)
        try:
            if isinstance(value, str):
                audio = base64.b64decode(value, validate=True)
            elif isinstance(value, list):
                numbers = cast("list[int]", value)
                if all(type(number) is int and 0 <= number <= 255 for number in numbers):
                    audio = bytes(numbers)
                else:
                    audio = b"".join(number.to_bytes(2, "little", signed=True) for number in numbers)
            else:
                raise _Odd(f"{name} is no audio")
        except (binascii.Error, ValueError, OverflowError, AttributeError, TypeError):
            raise _Odd(f"{name} is no audio") from None
        if len(audio) % 2:
            raise _Odd(f"{name} ends in half a sample")
        return audio

    def _of(self, name: str, kind: type[_T], what: str, default: _T | None) -> _T:
        value = self.data.get(name, default)
        if not isinstance(value, kind):
            raise _Odd(f"{name} is not {what}")
        return value


def _id(data: Mapping[str, Any]) -> str:
    named = data.get("id")
    return named if isinstance(named, str) else ""


def _bad(message: str, data: Mapping[str, Any]) -> ErrorEvent:
    return ErrorEvent("error", _id(data), data, code="bad_event", message=message)


def _transcript(f: _Fields) -> Transcript:
    final = f.data["t"] == "stt.final"
    return Transcript(
        *f.common, text=f.text("text"), at=f.number("ts"), turn=f.whole("turn"), confidence=f.maybe("confidence"),
        final=final,
    )  # fmt: skip


def _metrics(f: _Fields) -> TurnMetrics:
    return TurnMetrics(
        *f.common,
        turn=f.whole("turn"),
        eou_ms=f.maybe("eouMs"),
        stt_ms=f.maybe("sttMs"),
        llm_first_token_ms=f.maybe("llmFirstTokenMs"),
        tts_first_chunk_ms=f.maybe("ttsFirstChunkMs"),
        voice_to_voice_ms=f.maybe("voiceToVoiceMs"),
    )


_KINDS: Mapping[str, Callable[[_Fields], Event]] = {
    "connected": lambda f: Connected(
        *f.common, call_id=f.text("callId"), agent_id=f.text("agentId", ""), session_id=f.text("sessionId", ""),
        resumed=f.flag("resumed", default=False),
    ),
    "stt.partial": _transcript,
    "stt.final": _transcript,
    "llm.delta": lambda f: Delta(*f.common, text=f.text("text"), turn=f.whole("turn")),
    "tool.call": lambda f: ToolCall(*f.common, name=f.text("name"), args=f.mapping("args")),
    "tts.chunk": lambda f: Audio(*f.common, pcm=f.pcm("pcm16"), turn=f.whole("turn")),
    "tts.mark": lambda f: Mark(*f.common, name=f.text("name"), turn=f.whole("turn"), text=f.text("text", "")),
    "tts.done": lambda f: Spoken(
        *f.common, turn=f.whole("turn"), heard=f.text("heard"), interrupted=f.flag("interrupted", default=False)
    ),
    "control.bargein": lambda f: BargeIn(*f.common, turn=f.whole("turn"), played_ms=f.number("playedMs")),
    "control.resume": lambda f: Resumed(*f.common, turn=f.whole("turn"), from_ms=f.number("fromMs")),
    "emotion.window": lambda f: EmotionWindow(
        *f.common, energy_db=f.number("energy_db"), speaking=f.flag("speaking")
    ),
    "emotion.state": lambda f: EmotionState(
        *f.common, label=f.text("class"), arousal=f.number("arousal"), valence=f.number("valence"),
        confidence=f.number("confidence"),
    ),
    "turn.metrics": _metrics,
    "error": lambda f: ErrorEvent(
        *f.common, code=f.text("code"), message=f.text("message", ""), fatal=f.flag("fatal", default=False),
        retry_after=f.maybe("retryAfter"),
    ),
    "end": lambda f: Ended(*f.common, reason=f.text("reason")),
}  # fmt: skip
