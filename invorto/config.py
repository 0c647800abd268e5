"""Every setting, read once from the environment into frozen classes; longer than most since it is one table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import attrs
import platformdirs

from invorto.errors import UsageError

type IPNetwork = IPv4Network | IPv6Network


@attrs.frozen
class Variable:
    """How one setting is written in the environment."""

    names: tuple[str, ...]
    """The first is ours, the others are accepted."""
    meaning: str
    default: str
    """As it would be written; empty: not set."""
    parse: Callable[[str], Any]
    secret: bool = False


def setting(
    *names: str, default: str = "", parse: Callable[[str], Any] = str, meaning: str, secret: bool = False
) -> Any:
    """Declare a field that is read from the environment variable *names*."""
    variable = Variable(names, meaning, default, parse, secret)
    return attrs.field(metadata={"variable": variable}, repr=not secret)


def maybe(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Make a parser that gives None for an empty value."""
    return lambda text: parse(text) if text else None


def whole(low: int = 0, high: int = 2**31) -> Callable[[str], int]:
    """Make a parser of whole numbers from *low* to *high*."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"expected a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return value

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    """Make a parser of numbers from *low* to *high*."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"expected a number from {low:g} to {high:g}") from None
        if not low <= value <= high:
            raise ValueError(f"expected a number from {low:g} to {high:g}")
        return value

    return parse


def flag(text: str) -> bool:
    """Parse yes and no as people write them."""
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("expected true or false")


def words(text: str) -> tuple[str, ...]:
    """Parse a comma list."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def one_of(*choices: str) -> Callable[[str], str]:
    """Make a parser of a fixed set of words."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return text.lower()

    return parse


def seconds(text: str) -> tuple[float, ...]:
    """Parse a schedule: a comma list of seconds that begins with 0 and goes up."""
    fault = "expected seconds that begin with 0 and go up, such as 0,5,300"
    try:
        found = tuple(float(word) for word in words(text))
    except ValueError:
        raise ValueError(fault) from None
    ascending = all(low < high <= 30 * 86_400 for low, high in pairwise(found))  # false with a NaN
    if not found or found[0] != 0 or not ascending or len(found) > 100:
        raise ValueError(fault)
    return found


def ports(text: str) -> frozenset[int] | None:
    """Parse a comma list of ports; ``any`` is None."""
    if text == "any":
        return None
    try:
        found = frozenset(int(word) for word in words(text))
    except ValueError:
        found = frozenset[int]()
    if not found or not all(0 < port <= 65_535 for port in found):
        raise ValueError("expected a comma list of ports, or any")
    return found


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse a comma list of networks in CIDR, or of single addresses."""

    def one(word: str) -> IPv4Network | IPv6Network:
        try:
            return ip_network(word, strict=False)
        except ValueError:
            raise ValueError(f"expected networks such as 10.0.0.0/8, not {word!r}") from None

    return tuple(one(word) for word in words(text))


def url(*schemes: str) -> Callable[[str], str]:
    """Make a parser of URLs; trailing slashes are dropped."""

    def parse(text: str) -> str:
        try:
            parts = urlsplit(text)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in schemes or not (parts.netloc or parts.path):
            raise ValueError(f"expected a URL that begins with {' or '.join(s + '://' for s in schemes)}")
        return text.rstrip("/")

    return parse


@attrs.frozen(kw_only=True)
class Stores:
    """Where facts are kept."""

    db_url: str | None = setting(
        "DB_URL", "POSTGRES_URL", parse=maybe(url("postgresql", "postgres")), secret=True,
        meaning="PostgreSQL; `invorto dev` supplies its own",
    )  # fmt: skip
    db_pool_size: int = setting("DB_POOL_SIZE", default="10", parse=whole(1, 1000), meaning="connections to PostgreSQL")
    redis_url: str | None = setting(
        "REDIS_URL", parse=maybe(url("redis", "rediss", "unix")), secret=True,
        meaning="Redis 6.2 or newer; `invorto dev` supplies its own",
    )  # fmt: skip
    data_dir: Path = setting(
        "DATA_DIR", default=platformdirs.user_data_dir("invorto"), parse=Path,
        meaning="folder of the spool, recordings and embedded stores",
    )  # fmt: skip
    recordings_url: str = setting(
        "RECORDINGS_URL", default="file:./data", parse=url("file", "s3"),
        meaning="where recordings go: `file:` folder (relative to DATA_DIR) or `s3://bucket`",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class Network:
    """Where the process listens and how the world sees it."""

    bind_host: str = setting("BIND_HOST", default="127.0.0.1", meaning="address to listen on")
    api_port: int = setting("API_PORT", default="8080", parse=whole(0, 65535), meaning="port that serves all")
    realtime_port: int | None = setting(
        "REALTIME_PORT", parse=maybe(whole(0, 65535)), meaning="a second port, for sockets alone"
    )
    public_base_url: str | None = setting(
        "PUBLIC_BASE_URL", parse=maybe(url("http", "https")),
        meaning="the one public origin: decides CORS, Origin checks, carriers' hooks, signature URLs",
    )  # fmt: skip
    allowed_origins: tuple[str, ...] = setting("ALLOWED_ORIGINS", parse=words, meaning="comma list of web origins")
    realtime_ws_url: str | None = setting(
        "REALTIME_WS_URL", parse=maybe(url("ws", "wss", "http", "https")),
        meaning="base URL of voice sockets that clients are told; else PUBLIC_BASE_URL's",
    )  # fmt: skip
    allowed_ips: tuple[IPNetwork, ...] = setting(
        "API_ALLOWED_IPS",
        parse=networks,
        meaning="comma list of addresses and CIDRs that may ask the REST API; empty: all",
    )
    trusted_proxies: tuple[IPNetwork, ...] = setting(
        "TRUSTED_PROXIES", parse=networks, meaning="comma list of addresses and CIDRs whose `X-Forwarded-*` count"
    )


@attrs.frozen(kw_only=True)
class Secrets:
    """What must not be seen."""

    secret_keys: tuple[str, ...] = setting(
        "INVORTO_SECRET_KEYS", parse=words, secret=True,
        meaning="comma list of 32-byte base64 keys: the first encrypts, all decrypt; `invorto dev` writes one",
    )  # fmt: skip
    realtime_api_key: str | None = setting(
        "REALTIME_API_KEY", parse=maybe(str), secret=True, meaning="one static key of the default tenant for sockets"
    )
    realtime_ws_secret: str | None = setting(
        "REALTIME_WS_SECRET", parse=maybe(str), secret=True, meaning="signs socket URLs (`sig` and `ts`)"
    )
    realtime_ws_ttl: int = setting(
        "REALTIME_WS_TTL", default="60", parse=whole(1, 86_400), meaning="seconds that a signed socket URL is good for"
    )
    jwt_public_key: str | None = setting(
        "JWT_PUBLIC_KEY", parse=maybe(str), meaning="PEM of the key that checks RS256 bearer tokens"
    )


@attrs.frozen(kw_only=True)
class Limits:
    """What one node, one socket and one call may take."""

    max_concurrent_calls: int = setting(
        "MAX_CONCURRENT_CALLS", default="200", parse=whole(1, 100_000), meaning="calls on this node"
    )
    local_engine_calls: int | None = setting(
        "LOCAL_ENGINE_CALLS", parse=maybe(whole(0, 100_000)), meaning="calls on local engines; measured at start"
    )
    call_timeout_minutes: float = setting(
        "CALL_TIMEOUT_MINUTES", default="30", parse=number(0.1, 1440), meaning="longest call, minutes"
    )
    connection_timeout_ms: int = setting(
        "CONNECTION_TIMEOUT", default="300000", parse=whole(1000, 86_400_000),
        meaning="milliseconds without anything received before a socket is closed",
    )  # fmt: skip
    message_rate_limit: int = setting(
        "MESSAGE_RATE_LIMIT",
        default="100",
        parse=whole(0, 1_000_000),
        meaning="text messages a minute a socket; 0: off",
    )
    realtime_allow_multi: bool = setting(
        "REALTIME_ALLOW_MULTI", default="0", parse=flag, meaning="other credentials may listen to a call"
    )
    max_connections_per_call: int = setting(
        "MAX_CONNECTIONS_PER_CALL",
        default="5",
        parse=whole(1, 1000),
        meaning="sockets a call, with REALTIME_ALLOW_MULTI",
    )
    drain_timeout: float = setting(
        "DRAIN_TIMEOUT", default="120", parse=number(0, 86_400), meaning="seconds live calls get after SIGTERM"
    )


@attrs.frozen(kw_only=True)
class CapacitySettings:
    """How many calls all nodes may hold together."""

    global_max: int = setting(
        "TELEPHONY_GLOBAL_MAX_CONCURRENCY", default="100", parse=whole(0, 1_000_000),
        meaning="calls of all nodes and tenants; 0: no limit",
    )  # fmt: skip
    per_campaign_max: int = setting(
        "TELEPHONY_PER_CAMPAIGN_MAX_CONCURRENCY", default="20", parse=whole(0, 1_000_000),
        meaning="calls of one campaign; 0: no limit",
    )  # fmt: skip
    per_tenant_max: int = setting(
        "TELEPHONY_PER_TENANT_MAX_CONCURRENCY", default="0", parse=whole(0, 1_000_000),
        meaning="calls of one tenant; 0: no limit",
    )  # fmt: skip
    lease_ttl: int = setting(
        "TELEPHONY_SEMAPHORE_TTL_SEC", default="30", parse=whole(3, 3600),
        meaning="seconds until the slots of a node that died are free",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class RateSettings:
    """How often one key may ask."""

    writes: int = setting(
        "RATE_LIMIT_MAX_REQUESTS", default="60", parse=whole(0, 10_000_000),
        meaning="requests that write a key and window, and as many for tokens; 0: no limit",
    )  # fmt: skip
    reads: int = setting(
        "RATE_LIMIT_READS", default="600", parse=whole(0, 10_000_000),
        meaning="requests that read a key and window; 0: no limit",
    )  # fmt: skip
    window_ms: int = setting(
        "RATE_LIMIT_WINDOW_MS", default="60000", parse=whole(1000, 86_400_000), meaning="milliseconds of a window"
    )


@attrs.frozen(kw_only=True)
class TimelineSettings:
    """How much of a call's timeline is kept and read."""

    default_count: int = setting(
        "TIMELINE_DEFAULT_COUNT", default="100", parse=whole(1, 100_000), meaning="events a read"
    )
    max_count: int = setting(
        "TIMELINE_MAX_COUNT", default="1000", parse=whole(1, 100_000), meaning="most events a read"
    )
    ttl_hours: float = setting(
        "TIMELINE_TTL_HOURS", default="24", parse=number(0.01, 8760), meaning="hours in Redis after the call"
    )


@attrs.frozen(kw_only=True)
class Conversation:
    """An agent's defaults."""

    stt_provider: str = setting(
        "STT_PROVIDER", "ASR_PROVIDER", default="local", meaning="engine that hears; comma list"
    )
    llm_provider: str = setting("LLM_PROVIDER", default="local", meaning="engine that thinks; comma list")
    tts_provider: str = setting("TTS_PROVIDER", default="local", meaning="engine that speaks; comma list")
    system_prompt: str = setting(
        "SYSTEM_PROMPT", default="You are a friendly and brief assistant on the phone.", meaning="an agent's prompt"
    )
    consent_prompt: str | None = setting("CONSENT_PROMPT", parse=maybe(str), meaning="asked before free speech")
    endpointing_silence_ms: int = setting(
        "ENDPOINTING_SILENCE_MS", default="220", parse=whole(100, 5000), meaning="pause that ends a turn, milliseconds"
    )
    endpointing_min_words: int = setting(
        "ENDPOINTING_MIN_WORDS", default="2", parse=whole(0, 10), meaning="fewer words than this lengthen the pause"
    )
    endpointing_model: str | None = setting(
        "ENDPOINTING_MODEL", parse=maybe(str),
        meaning="engine that judges pauses by their sound beside the silence: `smart-turn`; none: words alone",
    )  # fmt: skip
    pii_redaction: bool = setting(
        "ENABLE_PII_REDACTION", default="true", parse=flag,
        meaning="personal data is taken out of what is stored, logged and sent",
    )  # fmt: skip
    emotion_window_ms: int = setting(
        "EMOTION_WINDOW_MS", default="250", parse=whole(20, 10_000), meaning="milliseconds of an emotion window"
    )
    emotion_threshold_db: float = setting(
        "EMOTION_THRESHOLD_DB",
        default="-50",
        parse=number(-100, 0),
        meaning="dBFS over which the caller counts as speaking",
    )
    emotion_min_hold: int = setting(
        "EMOTION_MIN_HOLD", default="2", parse=whole(1, 100), meaning="windows before `speaking` changes"
    )
    emotion_state_enabled: bool = setting(
        "EMOTION_STATE_ENABLED", default="false", parse=flag, meaning="emotion.state events"
    )
    speculative_replies: bool = setting(
        "SPECULATIVE_REPLIES", default="true", parse=flag, meaning="think from the first pause on; costs some tokens"
    )
    tts_prewarm: bool = setting("TTS_PREWARM", default="true", parse=flag, meaning="prepare the greeting at the start")
    tts_cache_mb: int = setting(
        "TTS_CACHE_MB", default="64", parse=whole(0, 65_536), meaning="MB of spoken sentences kept"
    )
    scripted_engine: str | None = setting(
        "SCRIPTED_ENGINE", parse=maybe(str),
        meaning="JSON for the `scripted` engines: sttMs, llmMs, ttsMs, jitterMs, heard[], replies[], rate",
    )  # fmt: skip


@attrs.frozen(kw_only=True)
class Cloud:
    """Engines that are somewhere else: their keys go to these URLs alone."""

    deepgram_api_key: str | None = setting(
        "DEEPGRAM_API_KEY", parse=maybe(str), secret=True, meaning="key of the `deepgram` engines"
    )
    deepgram_base_url: str = setting(
        "DEEPGRAM_BASE_URL", default="https://api.deepgram.com", parse=url("https", "http"),
        meaning="where the `deepgram` engines are",
    )  # fmt: skip
    deepgram_model: str = setting("DEEPGRAM_MODEL", default="nova-3", meaning="model that hears")
    deepgram_language: str = setting(
        "DEEPGRAM_LANGUAGE", default="en-IN", meaning="language that is heard, unless the agent says another"
    )
    openai_api_key: str | None = setting(
        "OPENAI_API_KEY", parse=maybe(str), secret=True, meaning="key of the `openai` engine; some servers want none"
    )
    openai_base_url: str = setting(
        "OPENAI_BASE_URL", default="https://api.openai.com/v1", parse=url("https", "http"),
        meaning="any OpenAI-compatible server: vLLM, llama.cpp, Ollama …",
    )  # fmt: skip
    openai_model: str = setting("OPENAI_MODEL", default="gpt-4o-mini", meaning="model that thinks")
    openai_temperature: float = setting(
        "OPENAI_TEMPERATURE", default="0.5", parse=number(0, 2), meaning="an agent's `llm.temperature`"
    )
    openai_max_tokens: int = setting(
        "OPENAI_MAX_TOKENS", default="250", parse=whole(1, 100_000), meaning="an agent's `llm.maxTokens`"
    )
    elevenlabs_api_key: str | None = setting(
        "ELEVENLABS_API_KEY", parse=maybe(str), secret=True, meaning="key of the `elevenlabs` engine"
    )
    elevenlabs_base_url: str = setting(
        "ELEVENLABS_BASE_URL", default="https://api.elevenlabs.io", parse=url("https", "http"),
        meaning="where the `elevenlabs` engine is",
    )  # fmt: skip
    elevenlabs_voice_id: str = setting(
        "ELEVENLABS_VOICE_ID", default="21m00Tcm4TlvDq8ikWAM", meaning="voice of the `elevenlabs` engine"
    )
    elevenlabs_model_id: str = setting(
        "ELEVENLABS_MODEL_ID", default="eleven_flash_v2_5", meaning="model of the `elevenlabs` engine"
    )
    tts_voice: str | None = setting(
        "TTS_VOICE", parse=maybe(str), meaning="voice of the first engine of TTS_PROVIDER, such as `aura-2-thalia-en`"
    )
    tts_model: str | None = setting(
        "TTS_MODEL", parse=maybe(str), meaning="model of the first engine of TTS_PROVIDER, such as `aura-2`"
    )


@attrs.frozen(kw_only=True)
class Money:
    """What calls may cost."""

    daily_cap_inr: float = setting(
        "DAILY_COST_CAP_INR", default="10000", parse=number(0, 1e9),
        meaning="₹ that a tenant's calls may cost a day before new ones are refused; 0: no cap",
    )  # fmt: skip
    usd_inr_rate: float = setting("USD_INR_RATE", default="87", parse=number(1, 10_000), meaning="₹ for a US dollar")


@attrs.frozen(kw_only=True)
class WebhookSettings:
    """How webhooks are delivered, and where."""

    tenant_url: str | None = setting(
        "TENANT_WEBHOOK_URL", parse=maybe(url("http", "https")),
        meaning="makes an endpoint of the default tenant at start, signed with WEBHOOK_SECRET",
    )  # fmt: skip
    secret: str | None = setting(
        "WEBHOOK_SECRET", parse=maybe(str), secret=True, meaning="signs what goes to TENANT_WEBHOOK_URL"
    )
    timeout: float = setting(
        "WEBHOOK_TIMEOUT", default="15", parse=number(0.1, 120), meaning="seconds that a receiver gets in all"
    )
    schedule: tuple[float, ...] = setting(
        "WEBHOOK_SCHEDULE", default="0,5,300,1800,7200,18000,36000,50400,72000,86400", parse=seconds,
        meaning="seconds of each attempt since the first, ±20 %",
    )  # fmt: skip
    max_retries: int | None = setting(
        "MAX_WEBHOOK_RETRIES", parse=maybe(whole(0, 100)), meaning="attempts after the first; all of the schedule's"
    )
    dead_days: float = setting(
        "DLQ_TTL_DAYS",
        default="30",
        parse=number(0.01, 3650),
        meaning="days that settled deliveries and facts are kept",
    )
    allowed_subnets: tuple[IPv4Network | IPv6Network, ...] = setting(
        "WEBHOOK_ALLOWED_SUBNETS", parse=networks, meaning="comma list of private networks that may be posted to; CIDR"
    )
    allow_http: bool = setting(
        "WEBHOOK_ALLOW_HTTP", default="false", parse=flag, meaning="webhooks may go to http URLs"
    )
    allowed_ports: frozenset[int] | None = setting(
        "WEBHOOK_ALLOWED_PORTS", default="443,80", parse=ports, meaning="comma list of ports, or `any`"
    )


@attrs.frozen(kw_only=True)
class Observing:
    """What the process tells about itself."""

    log_level: str = setting(
        "LOG_LEVEL", default="info", parse=one_of("debug", "info", "warning", "error"), meaning="least level logged"
    )
    log_format: str = setting("LOG_FORMAT", default="json", parse=one_of("json", "console"), meaning="json or console")
    otlp_endpoint: str | None = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT", parse=maybe(url("http", "https")),
        meaning="base URL of an OpenTelemetry collector (OTLP/HTTP) that gets spans of requests and turns",
    )  # fmt: skip
    service_name: str = setting("OTEL_SERVICE_NAME", default="invorto", meaning="what spans call this service")


@attrs.frozen(kw_only=True)
class Config:
    """All settings of the process."""

    env: Literal["development", "production"] = setting(
        "INVORTO_ENV", default="development", parse=one_of("development", "production"),
        meaning="`production` refuses to start with default secrets or http public URLs",
    )  # fmt: skip
    stores: Stores
    network: Network
    secrets: Secrets
    limits: Limits
    capacity: CapacitySettings
    rates: RateSettings
    timeline: TimelineSettings
    conversation: Conversation
    cloud: Cloud
    money: Money
    webhooks: WebhookSettings
    observing: Observing


GROUPS: tuple[type[Any], ...] = (
    Stores, Network, Secrets, Limits, RateSettings, CapacitySettings, TimelineSettings, Conversation, Cloud, Money,
    WebhookSettings, Observing,
)  # fmt: skip


def variables() -> list[Variable]:
    """List every variable that is read, in the order of the table."""
    fields = [field for group in (Config, *GROUPS) for field in attrs.fields(group)]
    return [field.metadata["variable"] for field in fields if "variable" in field.metadata]


def load(environ: Mapping[str, str] = os.environ) -> Config:
    """Read all settings; one `UsageError` names every variable that is wrong and what was expected."""
    faults: list[str] = []
    known = {name for variable in variables() for name in variable.names}
    faults += [f"{name}: unknown setting" for name in environ if name.startswith("INVORTO_") and name not in known]
    parts = {
        field.name: _read(cast("type[Any]", field.type), environ, faults)
        if "variable" not in field.metadata
        else _value(field.metadata["variable"], environ, faults)
        for field in attrs.fields(attrs.resolve_types(Config))
    }
    if not faults:
        faults += [*_unsafe(parts), *_incomplete(parts)]
    if faults:
        raise UsageError("these settings are wrong:\n" + "\n".join(f"  {fault}" for fault in faults))
    return Config(**parts)


def _read(group: type[Any], environ: Mapping[str, str], faults: list[str]) -> Any:
    values = {f.name: _value(f.metadata["variable"], environ, faults) for f in attrs.fields(group)}
    return group(**values)


def _value(variable: Variable, environ: Mapping[str, str], faults: list[str]) -> Any:
    name, text = source(variable, environ)
    try:
        return variable.parse(text)
    except ValueError as error:
        faults.append(f"{name or variable.names[0]}: {error}")
        return None


def source(variable: Variable, environ: Mapping[str, str]) -> tuple[str | None, str]:
    """Tell which name a variable is set under (None: nowhere, the default counts), and its text."""
    for name in variable.names:
        if environ.get(name):
            return name, environ[name]
    return None, variable.default


def _unsafe(parts: Mapping[str, Any]) -> list[str]:
    if parts["env"] != "production":
        return []
    faults: list[str] = []
    if not parts["secrets"].secret_keys:
        faults.append("INVORTO_SECRET_KEYS: required in production")
    if not (parts["network"].public_base_url or "").startswith("https://"):
        faults.append("PUBLIC_BASE_URL: expected an https:// URL in production")
    return faults


def _incomplete(parts: Mapping[str, Any]) -> list[str]:
    webhooks = parts["webhooks"]
    if webhooks.tenant_url and not webhooks.secret:
        return ["WEBHOOK_SECRET: required with TENANT_WEBHOOK_URL"]
    return []
