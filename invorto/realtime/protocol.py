"""The messages of the voice socket and the way from text to them and back; long, since it is one table of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, cast

import msgspec
from msgspec import UNSET, Meta, Struct, field

from invorto.errors import Invalid

SUBPROTOCOL = "invorto.v1"
MAX_TEXT = 64 * 1024
"""Characters of a message; the socket bounds the bytes."""
MAX_DEPTH = 32
"""Levels of nesting in what a client may say freely: a tool's result, a change of configuration."""
_MAX_SHOWN = 300
"""Characters of an error's message: a fault may quote what was sent."""

type Code = Literal["bad_message", "unknown_type"]
type AudioOut = Literal["json", "binary"]
type TransferMode = Literal["blind", "attended"]

type Name = Annotated[str, Meta(min_length=1, max_length=200)]
type Short = Annotated[str, Meta(max_length=200)]
type Prose = Annotated[str, Meta(max_length=16 * 1024)]
type Digits = Annotated[str, Meta(pattern=r"\A[0-9A-Da-d*#,wW]{1,64}\Z")]
type Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
type Stamp = Annotated[int, Meta(ge=-(2**53), le=2**53)] | float | Annotated[str, Meta(max_length=64)]
"""Whatever clock the client likes: it comes back as it was sent."""


class BadMessage(Invalid):
    """What a client sent is no message of ours; *code* is what the `error` event says, the socket stays."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message if len(message) <= _MAX_SHOWN else f"{message[:_MAX_SHOWN]}…")
        self.code: Code = code


# -- client to server -----------------------------------------------------------------------------


class _Client(Struct, frozen=True, tag_field="t", rename="camel"):
    """Unknown keys are let pass: a newer client may say more than we know."""


class Start(_Client, frozen=True, tag="start"):
    """The conversation begins; ids may be left out, the query has them."""

    call_id: Short | None = None
    agent_id: Short | None = None
    locale: Annotated[str, Meta(min_length=2, max_length=35)] | None = None
    variables: Annotated[dict[Short, Prose], Meta(max_length=200)] | None = None
    audio_out: AudioOut | None = None
    """None: as JSON."""
    capabilities: Annotated[tuple[Short, ...], Meta(max_length=32)] | None = None


class Audio(_Client, frozen=True, tag="audio"):
    """The same as a binary frame; *pcm16* is little-endian 16-bit at the socket's rate, whatever its codec."""

    seq: Whole
    pcm16: bytes


class ToolResult(_Client, frozen=True, tag="tool.result"):
    """Answers the `tool.call` whose ``id`` it carries: *error* if there is one, else *result*."""

    id: Name
    result: Any = UNSET
    error: Prose | None = None

    def __post_init__(self) -> None:
        if self.result is UNSET and self.error is None:
            raise ValueError("Object missing required field `result` or `error`")


class Text(_Client, frozen=True, tag="text"):
    """The user typed it; taken as a final transcript."""

    text: Annotated[str, Meta(min_length=1, max_length=16 * 1024)]


class DtmfSend(_Client, frozen=True, tag="dtmf.send"):
    """Digits to the far end; ``,`` and ``w`` are pauses."""

    digits: Digits
    method: Literal["rfc2833", "info"] | None = None


class Transfer(_Client, frozen=True, tag="transfer"):
    """Hand the caller over to a number or SIP URI."""

    to: Name
    mode: TransferMode | None = None
    """None: blind."""


class Pause(_Client, frozen=True, tag="pause"):
    """The agent neither listens nor speaks from here on."""


class Resume(_Client, frozen=True, tag="resume"):
    """The agent listens and speaks again."""


class ConfigChange(_Client, frozen=True, tag="config"):
    """Fields of the agent's configuration that change from the next turn on; checked where they are applied."""

    config: dict[str, Any]


class Mark(_Client, frozen=True, tag="mark"):
    """The audio up to this mark has been played."""

    name: Name


class Ping(_Client, frozen=True, tag="ping"):
    """Asks for a `pong`."""

    timestamp: Stamp | None = None


class End(_Client, frozen=True, tag="end"):
    """Hang up."""

    reason: Short | None = None


# -- server to client -----------------------------------------------------------------------------


class _Server(Struct, frozen=True, tag_field="t", rename="camel", omit_defaults=True):
    """What may be left out has a default and is left out with it; all else is always sent."""


class Connected(_Server, frozen=True, tag="connected"):
    """The first message; *timestamp* in Unix ms."""

    call_id: str
    timestamp: int
    agent_id: str
    session_id: str
    resumed: bool
    protocol: str


class SttPartial(_Server, frozen=True, tag="stt.partial"):
    """What the words are so far; *ts* in seconds of the call."""

    text: str
    ts: float
    turn: int
    confidence: float | None = None


class SttFinal(_Server, frozen=True, tag="stt.final"):
    """What the words were; *ts* in seconds of the call."""

    text: str
    ts: float
    turn: int
    confidence: float | None = None


class LlmDelta(_Server, frozen=True, tag="llm.delta"):
    """Some more of what the agent is going to say."""

    text: str
    turn: int


class ToolCallMessage(_Server, frozen=True, tag="tool.call"):
    """The client is to run a tool. Its ``id`` is the event's own, the one that `ToolResult.id` repeats."""

    name: str
    args: Mapping[str, Any]


class TtsChunk(_Server, frozen=True, tag="tts.chunk"):
    """Audio to play, little-endian 16-bit at the socket's rate."""

    seq: int
    pcm16: bytes
    turn: int
    mark: str | None = None


class TtsMark(_Server, frozen=True, tag="tts.mark"):
    """To be echoed as `Mark` when all audio sent before it has been played."""

    name: str
    turn: int
    text: str


class TtsDone(_Server, frozen=True, tag="tts.done"):
    """The agent's turn is over; *heard* is the text that was played."""

    turn: int
    heard: str
    interrupted: bool


class BargeIn(_Server, frozen=True, tag="control.bargein"):
    """Drop what has not been played; *action* is ``stop-tts``."""

    turn: int
    played_ms: int
    action: Literal["stop-tts"]


class ControlResume(_Server, frozen=True, tag="control.resume"):
    """It was no interruption, the agent goes on."""

    turn: int
    from_ms: int


class EmotionWindow(_Server, frozen=True, tag="emotion.window"):
    """How loud the caller was in the last window, dBFS."""

    energy_db: float = field(name="energy_db")
    speaking: bool


class EmotionState(_Server, frozen=True, tag="emotion.state"):
    """How the caller sounds."""

    label: str = field(name="class")
    arousal: float
    valence: float
    confidence: float


class Dtmf(_Server, frozen=True, tag="dtmf"):
    """The far end pressed a key."""

    digit: str
    method: str


class TransferStatus(_Server, frozen=True, tag="transfer"):
    """How far a transfer has come."""

    to: str
    mode: TransferMode
    status: str


class TurnMetricsMessage(_Server, frozen=True, tag="turn.metrics"):
    """How quickly a turn was answered; null where it did not happen."""

    turn: int
    eou_ms: float | None
    stt_ms: float | None
    llm_first_token_ms: float | None
    tts_first_chunk_ms: float | None
    voice_to_voice_ms: float | None


class Pong(_Server, frozen=True, tag="pong"):
    """Answers `Ping` with its own timestamp, else ours in Unix ms; taken from clients too, and ignored."""

    timestamp: Stamp | None = None


class ErrorMessage(_Server, frozen=True, tag="error"):
    """Something went wrong; *fatal* says that the socket closes. The last three belong to refusals and moves."""

    code: str
    message: str
    fatal: bool
    scope: str | None = None
    retry_after: float | None = None
    url: str | None = None


class Ended(_Server, frozen=True, tag="end"):
    """The call is over; the socket closes 1000 after it."""

    reason: str


type ClientMessage = (
    Start | Audio | ToolResult | Text | DtmfSend | Transfer | Pause | Resume | ConfigChange | Mark | Ping | End | Pong
)
type ServerMessage = (
    Connected | SttPartial | SttFinal | LlmDelta | ToolCallMessage | TtsChunk | TtsMark | TtsDone | BargeIn
    | ControlResume | EmotionWindow | EmotionState | Dtmf | TransferStatus | TurnMetricsMessage | Pong
    | ErrorMessage | Ended
)  # fmt: skip


# -- between text and messages --------------------------------------------------------------------


class _Typed(Struct):
    t: str


_CLIENT: tuple[type[Struct], ...] = (
    Start, Audio, ToolResult, Text, DtmfSend, Transfer, Pause, Resume, ConfigChange, Mark, Ping, End, Pong,
)  # fmt: skip


def kind(message: ClientMessage | ServerMessage) -> str:
    """Give a message's ``t``."""
    return cast("str", message.__struct_config__.tag)


CLIENT_KINDS = frozenset(cast("str", message.__struct_config__.tag) for message in _CLIENT)
"""Every ``t`` that a client may send."""

_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ClientMessage.__value__)
_typed = msgspec.json.Decoder(_Typed)
_encoder = msgspec.json.Encoder()


def decode(text: str) -> ClientMessage:
    """Make a message of JSON; raises `BadMessage` alone. Of a key that is there twice the last counts."""
    if len(text) > MAX_TEXT:
        raise BadMessage("bad_message", "the message is longer than 64 KiB")
    try:
        message: ClientMessage = _decoder.decode(text)
        if isinstance(message, ToolResult):
            _check_tree("result", message.result)
        elif isinstance(message, ConfigChange):
            _check_tree("config", message.config)
        if "\\u0000" in text:
            _check_text(msgspec.to_builtins(message))
    except msgspec.ValidationError as error:
        if (unknown := _unknown_type(text)) is not None:
            raise BadMessage("unknown_type", f"there is no message of type {unknown[:64]!r}") from None
        raise BadMessage("bad_message", str(error)) from None
    except msgspec.DecodeError as error:
        raise BadMessage("bad_message", str(error)) from None
    except RecursionError:
        raise BadMessage("bad_message", "the message is nested too deeply") from None
    except UnicodeError:
        raise BadMessage("bad_message", "the message is not valid Unicode") from None
    return message


def encode(message: ServerMessage, event_id: str | None = None) -> str:
    """Write a message as JSON with its ``id`` beside ``t``. What engines say is written whatever it holds."""
    try:
        text = _encoder.encode(message).decode()
    except UnicodeError:
        text = _encoder.encode(_mend(msgspec.to_builtins(message))).decode()
    if event_id is None:
        return text
    after_type = len('{"t":""') + len(kind(message))
    return f'{text[:after_type]},"id":{_encoder.encode(event_id).decode()}{text[after_type:]}'


def _unknown_type(text: str) -> str | None:
    try:
        name = _typed.decode(text).t
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if name in CLIENT_KINDS else name


def _check_tree(name: str, value: Any) -> None:
    """Refuse what would break later: nesting over `MAX_DEPTH`, numbers that JSON could not carry on."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict | list):
                below += _within(cast("dict[str, Any] | list[Any]", item))
            elif isinstance(item, int) and not -(2**63) <= item < 2**64:
                raise BadMessage("bad_message", f"Number out of range - at `$.{name}`")
        if not below:
            return
        level = below
    raise BadMessage("bad_message", f"nested deeper than {MAX_DEPTH} levels - at `$.{name}`")


def _check_text(fields: Mapping[str, Any]) -> None:
    """Refuse NUL characters, which PostgreSQL cannot keep; *fields* are nested `MAX_DEPTH` deep at most."""
    for name, value in fields.items():
        level: list[Any] = [value]
        while level:
            item = level.pop()
            if isinstance(item, dict):
                level += cast("dict[str, Any]", item).keys()
            if isinstance(item, dict | list | tuple):
                level += _within(cast("dict[str, Any] | list[Any]", item))
            elif isinstance(item, str) and "\0" in item:
                raise BadMessage("bad_message", f"text must not hold NUL characters - at `$.{name}`")


def _within(item: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return item.values() if isinstance(item, dict) else item


def _mend(value: Any) -> Any:
    """Replace what UTF-8 cannot hold."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_mend(name): _mend(item) for name, item in cast("dict[str, Any]", value).items()}
        case list():
            return [_mend(item) for item in cast("list[Any]", value)]
        case _:
            return value
