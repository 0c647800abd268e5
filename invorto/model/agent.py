"""An agent's configuration, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import attrs
from attrs.validators import and_, ge, in_, instance_of, le, max_len, min_len, optional

_TEXT = max_len(64 * 1024)
_WORD = max_len(200)

BACKCHANNELS = (
    "mm-hm", "mm hmm", "mhm", "mm", "hmm", "hm", "uh-huh", "uh huh", "uh", "um", "ah", "oh", "okay", "ok", "yeah",
    "yes", "yep", "right", "sure", "i see", "got it", "haan", "ji", "achha", "theek hai",
)  # fmt: skip
"""What people say to show that they listen, not to take the floor."""


def _providers(_: object, field: attrs.Attribute[Any], value: str | tuple[str, ...]) -> None:
    names = value.split(",") if isinstance(value, str) else value
    if not names or not all(name.strip() for name in names):
        raise ValueError(f"{field.name} must name an engine, or several in the order to fall back on")


def _names(provider: str | tuple[str, ...]) -> tuple[str, ...]:
    names = provider.split(",") if isinstance(provider, str) else provider
    return tuple(name.strip() for name in names)


@attrs.frozen(kw_only=True)
class SttSettings:
    """Which engine hears, and how."""

    provider: str | tuple[str, ...] = attrs.field(default="local", validator=_providers)
    model: str | None = None
    language: str | None = None
    keywords: tuple[str, ...] = attrs.field(default=(), validator=max_len(200))

    @property
    def providers(self) -> tuple[str, ...]:
        """The engines in the order to fall back on."""
        return _names(self.provider)


@attrs.frozen(kw_only=True)
class LlmSettings:
    """Which engine thinks, and how."""

    provider: str | tuple[str, ...] = attrs.field(default="local", validator=_providers)
    model: str | None = None
    temperature: float = attrs.field(default=0.5, validator=and_(ge(0), le(2)))
    max_tokens: int = attrs.field(default=250, validator=and_(ge(1), le(100_000)))
    base_url: str | None = None

    @property
    def providers(self) -> tuple[str, ...]:
        """The engines in the order to fall back on."""
        return _names(self.provider)


@attrs.frozen(kw_only=True)
class TtsSettings:
    """Which engine speaks, and how."""

    provider: str | tuple[str, ...] = attrs.field(default="local", validator=_providers)
    voice: str | None = None
    model: str | None = None
    rate: float = attrs.field(default=1.0, validator=and_(ge(0.5), le(2)))
    """Speed of speech, 1 is the voice's own."""

    @property
    def providers(self) -> tuple[str, ...]:
        """The engines in the order to fall back on."""
        return _names(self.provider)


@attrs.frozen(kw_only=True)
class Endpointing:
    """When the caller has finished."""

    provider: Literal["invorto", "livekit", "off"] = "invorto"
    silence_ms: int = attrs.field(default=220, validator=and_(ge(100), le(5000)))
    min_words: int = attrs.field(default=2, validator=and_(ge(0), le(10)))
    confidence: float = attrs.field(default=0.65, validator=and_(ge(0), le(1)))
    wait_function: str = attrs.field(default="200 + 8000 * x", validator=max_len(500))


@attrs.frozen(kw_only=True)
class Interruption:
    """When the caller takes the floor from the agent."""

    enabled: bool = True
    barge_in_ms: int = attrs.field(default=64, validator=and_(ge(20), le(1000)))
    min_words: int = attrs.field(default=0, validator=and_(ge(0), le(10)))
    ignore: tuple[str, ...] = attrs.field(default=BACKCHANNELS, validator=max_len(500))
    resume_after_ms: int = attrs.field(default=500, validator=and_(ge(0), le(5000)))


@attrs.frozen(kw_only=True)
class Silence:
    """What to do when nobody speaks; seconds."""

    nudge_after: float = attrs.field(default=12.0, validator=and_(ge(1), le(600)))
    nudge: str = attrs.field(default="Are you still there?", validator=_TEXT)
    hang_up_after: float = attrs.field(default=60.0, validator=and_(ge(1), le(3600)))


@attrs.frozen(kw_only=True)
class Consent:
    """What the caller is asked before free speech."""

    prompt: str = attrs.field(validator=and_(min_len(1), _TEXT))
    required: bool = True
    declined: Literal["hangup", "continue"] = "hangup"


@attrs.frozen(kw_only=True)
class EndCall:
    """When the agent hangs up, and what it says then."""

    phrases: tuple[str, ...] = attrs.field(default=(), validator=max_len(200))
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
    kinds: tuple[str, ...] = ()


type SlotType = Literal["text", "number", "date", "time", "phone", "email", "choice"]


@attrs.frozen(kw_only=True)
class Slot:
    """Something the local engine asks for."""

    name: str = attrs.field(validator=and_(min_len(1), _WORD))
    type: SlotType = "text"
    ask: str = attrs.field(default="", validator=_TEXT)
    confirm: bool = False
    choices: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Intent:
    """Something a caller may want of the local engine; *then* is a tool's name, or ``end_call``."""

    name: str = attrs.field(validator=and_(min_len(1), _WORD))
    examples: tuple[str, ...] = attrs.field(default=(), validator=max_len(200))
    reply: str = attrs.field(default="", validator=_TEXT)
    slots: tuple[str, ...] = ()
    """Names of the slots it needs, in the order they are asked for."""
    then: str | None = None


@attrs.frozen(kw_only=True)
class Faq:
    """A question and its answer."""

    q: str = attrs.field(validator=and_(min_len(1), _TEXT))
    a: str = attrs.field(validator=and_(min_len(1), _TEXT))


@attrs.frozen(kw_only=True)
class Flow:
    """The dialogue of the local engine."""

    intents: tuple[Intent, ...] = attrs.field(default=(), validator=max_len(200))
    slots: tuple[Slot, ...] = attrs.field(default=(), validator=max_len(100))
    faq: tuple[Faq, ...] = attrs.field(default=(), validator=max_len(500))
    fallback: str = attrs.field(default="", validator=_TEXT)
    handover: str = attrs.field(default="", validator=_TEXT)


@attrs.frozen(kw_only=True)
class ToolDefinition:
    """A tool the model may call; without a *url* the client on the socket runs it."""

    name: str = attrs.field(validator=and_(min_len(1), max_len(64)))
    description: str = attrs.field(default="", validator=_TEXT)
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: str | None = None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    input_schema: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    output_schema: Mapping[str, Any] | None = None
    blocking: bool = True
    timeout_ms: int = attrs.field(default=2000, validator=and_(ge(50), le(60_000)))


@attrs.frozen(kw_only=True)
class GreetingAudio:
    """A greeting that is played from a file."""

    audio: str = attrs.field(validator=and_(min_len(1), max_len(2048)))


@attrs.frozen(kw_only=True)
class AgentConfig:
    """Everything an agent is, apart from its name."""

    prompt: str = attrs.field(default="", validator=_TEXT)
    greeting: str | GreetingAudio | None = "Hello, how can I help?"
    locale: str = attrs.field(default="en-IN", validator=and_(min_len(2), max_len(35)))
    variables: Mapping[str, str] = attrs.field(factory=dict[str, str])
    stt: SttSettings = SttSettings()
    llm: LlmSettings = LlmSettings()
    tts: TtsSettings = TtsSettings()
    endpointing: Endpointing = Endpointing()
    interruption: Interruption = Interruption()
    silence: Silence = Silence()
    max_duration: float | None = attrs.field(default=None, validator=optional(and_(ge(1), le(86_400))))
    """Seconds; None: the installation's longest call."""
    consent: Consent | None = None
    end_call: EndCall = EndCall()
    tools: tuple[str | ToolDefinition, ...] = attrs.field(default=(), validator=max_len(128))
    transfer_targets: tuple[str, ...] = attrs.field(default=(), validator=max_len(200))
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
    name: str = attrs.field(validator=instance_of(str))
    status: AgentStatus = attrs.field(validator=in_(("active", "inactive", "draft")))
    version: int
    document: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
