"""An agent's configuration, field by field; longer than most since it is one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import attrs

from invorto.model.rules import between, count, every, match, text, unique

_TEXT = text(64 * 1024)
_WORD = text(200)
_WORDS = every(count(200), _WORD)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[^\x00-\x1f\x7f]{0,8192}")

LOCALE = "en-IN"
"""The language of agents that name none."""
BACKCHANNELS = (
    "mm-hm", "mm hmm", "mhm", "mm", "hmm", "hm", "uh-huh", "uh huh", "uh", "um", "ah", "oh", "okay", "ok", "yeah",
    "yes", "yep", "right", "sure", "i see", "got it", "haan", "ji", "achha", "theek hai",
)  # fmt: skip
"""What people say to show that they listen, not to take the floor."""


_URL = match(r"https?://[^\s/]\S{0,2000}", "a URL that begins with https:// or http://")


def _providers(_: object, __: attrs.Attribute[Any], value: str | tuple[str, ...]) -> None:
    names = value.split(",") if isinstance(value, str) else value
    if not names or len(names) > 10 or not all(0 < len(name.strip()) <= 64 for name in names):
        raise ValueError("must name an engine, or up to ten in the order to fall back on")


def _headers(_: object, __: attrs.Attribute[Any], value: Mapping[str, str]) -> None:
    if not all(_HEADER.fullmatch(name) and _HEADER_VALUE.fullmatch(text) for name, text in value.items()):
        raise ValueError("must be header names with values of one line")


def _greeting(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, str):
        _TEXT(None, field, value)


def _tool_name(tool: str | ToolDefinition) -> str:
    name = tool if isinstance(tool, str) else tool.name
    if not name.strip():
        raise ValueError("a tool's name must not be empty")
    return name


def _names(provider: str | tuple[str, ...]) -> tuple[str, ...]:
    names = provider.split(",") if isinstance(provider, str) else provider
    return tuple(name.strip() for name in names)


@attrs.frozen(kw_only=True)
class SttSettings:
    """Which engine hears, and how."""

    provider: str | tuple[str, ...] = attrs.field(default="local", validator=_providers)
    model: str | None = attrs.field(default=None, validator=_WORD)
    language: str | None = attrs.field(default=None, validator=_WORD)
    keywords: tuple[str, ...] = attrs.field(default=(), validator=_WORDS)

    @property
    def providers(self) -> tuple[str, ...]:
        """The engines in the order to fall back on."""
        return _names(self.provider)


@attrs.frozen(kw_only=True)
class LlmSettings:
    """Which engine thinks, and how."""

    provider: str | tuple[str, ...] = attrs.field(default="local", validator=_providers)
    model: str | None = attrs.field(default=None, validator=_WORD)
    temperature: float = attrs.field(default=0.5, validator=between(0, 2))
    max_tokens: int = attrs.field(default=250, validator=between(1, 100_000))
    base_url: str | None = attrs.field(default=None, validator=_URL)

    @property
    def providers(self) -> tuple[str, ...]:
        """The engines in the order to fall back on."""
        return _names(self.provider)


@attrs.frozen(kw_only=True)
class TtsSettings:
    """Which engine speaks, and how."""

    provider: str | tuple[str, ...] = attrs.field(default="local", validator=_providers)
    voice: str | None = attrs.field(default=None, validator=_WORD)
    model: str | None = attrs.field(default=None, validator=_WORD)
    rate: float = attrs.field(default=1.0, validator=between(0.5, 2))
    """Speed of speech, 1 is the voice's own."""

    @property
    def providers(self) -> tuple[str, ...]:
        """The engines in the order to fall back on."""
        return _names(self.provider)


@attrs.frozen(kw_only=True)
class Endpointing:
    """When the caller has finished."""

    provider: Literal["invorto", "livekit", "off"] = "invorto"
    silence_ms: int = attrs.field(default=220, validator=between(100, 5000))
    min_words: int = attrs.field(default=2, validator=between(0, 10))
    confidence: float = attrs.field(default=0.65, validator=between(0, 1))
    wait_function: str = attrs.field(default="200 + 8000 * x", validator=text(500, least=1))


@attrs.frozen(kw_only=True)
class Interruption:
    """When the caller takes the floor from the agent."""

    enabled: bool = True
    barge_in_ms: int = attrs.field(default=64, validator=between(20, 1000))
    min_words: int = attrs.field(default=0, validator=between(0, 10))
    ignore: tuple[str, ...] = attrs.field(default=BACKCHANNELS, validator=every(count(500), _WORD))
    resume_after_ms: int = attrs.field(default=500, validator=between(0, 5000))


@attrs.frozen(kw_only=True)
class Silence:
    """What to do when nobody speaks; seconds."""

    nudge_after: float = attrs.field(default=12.0, validator=between(1, 600))
    nudge: str = attrs.field(default="Are you still there?", validator=_TEXT)
    hang_up_after: float = attrs.field(default=60.0, validator=between(1, 3600))


@attrs.frozen(kw_only=True)
class Consent:
    """What the caller is asked before free speech."""

    prompt: str = attrs.field(validator=text(64 * 1024, least=1))
    required: bool = True
    declined: Literal["hangup", "continue"] = "hangup"


@attrs.frozen(kw_only=True)
class EndCall:
    """When the agent hangs up, and what it says then."""

    phrases: tuple[str, ...] = attrs.field(default=(), validator=_WORDS)
    goodbye: str = attrs.field(default="Goodbye.", validator=_TEXT)
    tool: bool = True


@attrs.frozen(kw_only=True)
class Voicemail:
    """What to do when a machine answers."""

    detect: bool = False
    action: Literal["hangup", "message", "continue"] = "hangup"
    message: str = attrs.field(default="", validator=_TEXT)


@attrs.frozen(kw_only=True)
class RecordingSettings:
    """Whether and how calls are recorded."""

    enabled: bool = True
    stereo: bool = True


@attrs.frozen(kw_only=True)
class SummarySettings:
    """What is made of a call afterwards; *schema* is a JSON Schema of the data to take from it."""

    enabled: bool = True
    schema: Mapping[str, Any] | None = None
    rubric: Literal["PassFail", "NumericScale", "text"] | None = None


@attrs.frozen(kw_only=True)
class EmotionSettings:
    """What is made of how the caller sounds."""

    windows: bool = True
    states: bool = False
    policy: Mapping[str, Any] | None = None


@attrs.frozen(kw_only=True)
class Redaction:
    """Whether personal data is taken out of what is stored, logged and sent; None: as the installation says."""

    enabled: bool | None = None
    kinds: tuple[Literal["email", "phone", "aadhaar", "pan", "card"], ...] = ()
    """None named: all."""


type SlotType = Literal["text", "number", "date", "time", "phone", "email", "choice"]


@attrs.frozen(kw_only=True)
class Slot:
    """Something the local engine asks for."""

    name: str = attrs.field(validator=text(200, least=1))
    type: SlotType = "text"
    ask: str = attrs.field(default="", validator=_TEXT)
    confirm: bool = False
    choices: tuple[str, ...] = attrs.field(default=(), validator=_WORDS)


@attrs.frozen(kw_only=True)
class Intent:
    """Something a caller may want of the local engine; *then* is a tool's name, or ``end_call``."""

    name: str = attrs.field(validator=text(200, least=1))
    examples: tuple[str, ...] = attrs.field(default=(), validator=every(count(200), text(2000)))
    reply: str = attrs.field(default="", validator=_TEXT)
    slots: tuple[str, ...] = attrs.field(default=(), validator=_WORDS)
    """Names of the slots it needs, in the order they are asked for."""
    then: str | None = attrs.field(default=None, validator=_WORD)


@attrs.frozen(kw_only=True)
class Faq:
    """A question and its answer."""

    q: str = attrs.field(validator=text(64 * 1024, least=1))
    a: str = attrs.field(validator=text(64 * 1024, least=1))


@attrs.frozen(kw_only=True)
class Flow:
    """The dialogue of the local engine."""

    intents: tuple[Intent, ...] = attrs.field(default=(), validator=every(count(200), unique(lambda one: one.name)))
    slots: tuple[Slot, ...] = attrs.field(default=(), validator=every(count(100), unique(lambda one: one.name)))
    faq: tuple[Faq, ...] = attrs.field(default=(), validator=count(500))
    fallback: str = attrs.field(default="", validator=_TEXT)
    handover: str = attrs.field(default="", validator=_TEXT)


@attrs.frozen(kw_only=True)
class ToolDefinition:
    """A tool the model may call; without a *url* the client on the socket runs it."""

    name: str = attrs.field(validator=match(r"[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, _ and -"))
    type: Literal["http", "mcp"] = "http"
    """``mcp``: the URL is of a server whose tools are all offered, each as ``name__tool``."""
    description: str = attrs.field(default="", validator=_TEXT)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: str | None = attrs.field(default=None, validator=_URL)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=_headers)
    input_schema: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    output_schema: Mapping[str, Any] | None = None
    blocking: bool = True
    timeout_ms: int = attrs.field(default=2000, validator=between(50, 60_000))
    remote_name: str | None = attrs.field(default=None, validator=_WORD)
    """What the MCP server calls it, of a tool that came from one."""


@attrs.frozen(kw_only=True)
class GreetingAudio:
    """A greeting that is played from a file."""

    audio: str = attrs.field(validator=text(2048, least=1))


@attrs.frozen(kw_only=True)
class AgentConfig:
    """Everything an agent is, apart from its name."""

    prompt: str = attrs.field(default="", validator=_TEXT)
    greeting: str | GreetingAudio | None = attrs.field(default="Hello, how can I help?", validator=_greeting)
    locale: str = attrs.field(
        default=LOCALE, validator=match(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,3}", "a language tag such as en-IN")
    )
    variables: Mapping[str, str] = attrs.field(factory=dict[str, str], validator=count(200))
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    endpointing: Endpointing = Endpointing()
    interruption: Interruption = Interruption()
    silence: Silence = Silence()
    max_duration: float | None = attrs.field(default=None, validator=between(1, 86_400))
    """Seconds; None: the installation's longest call."""
    consent: Consent | None = None
    end_call: EndCall = EndCall()
    tools: tuple[str | ToolDefinition, ...] = attrs.field(default=(), validator=every(count(128), unique(_tool_name)))
    transfer_targets: tuple[str, ...] = attrs.field(default=(), validator=_WORDS)
    voicemail: Voicemail = Voicemail()
    recording: RecordingSettings = RecordingSettings()
    transcription: bool = True
    summary: SummarySettings = SummarySettings()
    emotion: EmotionSettings = EmotionSettings()
    redaction: Redaction = Redaction()
    flow: Flow | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


type AgentStatus = Literal["active", "inactive", "draft"]


@attrs.frozen(kw_only=True)
class Agent:
    """An agent as it is kept: *document* is what its owner wrote, without the installation's defaults."""

    id: str
    tenant_id: str
    name: str
    status: AgentStatus
    version: int
    document: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
