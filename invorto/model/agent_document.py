"""An agent's document: what its owner wrote, put over the installation's defaults to become its configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import NoneType
from typing import Any, cast, get_args

import attrs

from invorto.config import Config
from invorto.convert import ANSWERS, REQUESTS, camel, structure, unstructure
from invorto.errors import Fault, Invalid
from invorto.model.agent import AgentConfig, GreetingAudio
from invorto.model.json_schema import schema_fault
from invorto.model.variables import filled
from invorto.plain import below, faults_of, invalid

type Document = Mapping[str, Any]
"""Parsed JSON with the names of the REST API; only what was said, no defaults."""

type Engines = Mapping[str, Collection[str]]
"""Names of the engines there are, under ``stt``, ``llm`` and ``tts``."""

type Rule = Callable[[AgentConfig], Iterable[Fault]]
"""Something that must hold beyond the fields' own rules; paths start at the configuration."""

FLAT: Mapping[str, tuple[str, ...]] = {
    "systemPrompt": ("prompt",),
    "model": ("llm", "model"),
    "temperature": ("llm", "temperature"),
    "maxTokens": ("llm", "maxTokens"),
    "voice": ("tts", "voice"),
}
"""The original's flat names, and where each goes."""

LIVE = frozenset({"prompt", "llm", "tts", "endpointing", "interruption", "silence", "endCall", "tools", "emotion"})
"""What may change in a call, from the next turn on."""

_SPOKEN = {"prompt": "prompt", "silence": "silence", "endCall": "end_call"}
"""The live fields with texts that ``{{variables}}`` may stand in."""

_FIELDS = {camel(field.name): field for field in attrs.fields(attrs.resolve_types(AgentConfig))}
_SETTINGS: Mapping[str, type[Any]] = {
    name: kind for name, field in _FIELDS.items() for kind in (field.type, *get_args(field.type)) if attrs.has(kind)
    if name not in {"greeting", "tools"}
}  # fmt: skip
"""The fields that are objects of settings: these merge key by key, as do `_FREE`; everything else is replaced."""
_FREE = frozenset({"variables", "metadata"})


def installation(config: Config) -> Document:
    """Give the installation's defaults, which lie under every agent's document."""
    talk = config.conversation
    defaults: dict[str, Any] = {
        "prompt": talk.system_prompt,
        "stt": {"provider": talk.stt_provider},
        "llm": {
            "provider": talk.llm_provider,
            "temperature": config.cloud.openai_temperature,
            "maxTokens": config.cloud.openai_max_tokens,
        },
        "tts": {"provider": talk.tts_provider},
        "endpointing": {"silenceMs": talk.endpointing_silence_ms, "minWords": talk.endpointing_min_words},
        "emotion": {"states": talk.emotion_state_enabled},
        "redaction": {"enabled": talk.pii_redaction},
        "maxDuration": config.limits.call_timeout_minutes * 60,
    }
    return defaults | ({"consent": {"prompt": talk.consent_prompt}} if talk.consent_prompt else {})


def tidy(written: object) -> Document:
    """Put the original's flat names where they belong; `Invalid` where one contradicts what stands there.

    A body of the original may hold both ``systemPrompt`` and ``prompt``: both reach the model, in this order.
    """
    if not isinstance(written, Mapping):
        raise Invalid("expected an object", [Fault("$", "expected an object")])
    given = cast("Document", written)
    document = {name: value for name, value in given.items() if name not in FLAT}
    faults: list[Fault] = []
    if isinstance(enabled := document.get("redaction"), bool):
        document["redaction"] = {"enabled": enabled}
    for name, place in FLAT.items():
        if given.get(name) is None:
            continue
        value = given[name]
        if name == "systemPrompt":
            document["prompt"] = _both(value, document.get("prompt"))
            continue
        group, key = place
        held = document.get(group) or {}
        if isinstance(held, Mapping) and (settings := cast("Document", held)).get(key, value) == value:
            document[group] = {**settings, key: value}
        elif isinstance(held, Mapping):
            faults.append(Fault(f"$.{name}", f"is not the same as {group}.{key}: give one of them"))
    if faults:
        raise invalid(faults)
    return document


def _both(system: object, prompt: object) -> object:
    if not isinstance(system, str) or not isinstance(prompt, str) or prompt in ("", system):
        return system if isinstance(prompt, str | NoneType) else prompt
    return f"{system}\n\n{prompt}" if system else prompt


def merge(document: Document, change: Document) -> Document:
    """Put a *change* (tidied) into a *document*: objects of settings key by key, everything else whole.

    Null goes back to the default, except where null itself means something, as in ``greeting``.
    """
    merged = dict(document)
    for name, value in change.items():
        if name in _FIELDS and value is None and not _nullable(_FIELDS[name]):
            merged.pop(name, None)
        elif (name in _SETTINGS or name in _FREE) and isinstance(value, Mapping):
            merged[name] = _merge_settings(merged.get(name), cast("Document", value), _SETTINGS.get(name))
        else:
            merged[name] = value
    return merged


def _merge_settings(held: object, change: Document, kind: type[Any] | None) -> Document:
    fields = {camel(field.name): field for field in attrs.fields(attrs.resolve_types(kind))} if kind else {}
    merged = dict(cast("Document", held)) if isinstance(held, Mapping) else {}
    for key, value in change.items():
        if value is None and (kind is None or (key in fields and not _nullable(fields[key]))):
            merged.pop(key, None)
        else:
            merged[key] = value
    return merged


def _nullable(field: attrs.Attribute[Any]) -> bool:
    return NoneType in get_args(field.type)


def _over(defaults: Document, document: Document) -> Document:
    """Lay a *document* over *defaults*; a null in it stays."""
    laid = dict(defaults)
    for name, value in document.items():
        under = laid.get(name)
        if (name in _SETTINGS or name in _FREE) and isinstance(under, Mapping) and isinstance(value, Mapping):
            laid[name] = {**cast("Document", under), **cast("Document", value)}
        else:
            laid[name] = value
    return laid


def check(
    document: Document, defaults: Document, *, engines: Engines | None = None, rules: Iterable[Rule] = ()
) -> AgentConfig:
    """Hold a tidied *document* to every rule before it is kept; `Invalid` lists all that it breaks."""
    config = structure(_over(defaults, document), AgentConfig, REQUESTS)
    faults = [*_engine_faults(config, engines or {}), *_flow_faults(config), *_duration_faults(config, defaults)]
    if config.summary.schema is not None and (fault := schema_fault(config.summary.schema)) is not None:
        faults.append(Fault("$.summary.schema", fault))
    if isinstance(config.greeting, GreetingAudio):
        faults.append(Fault("$.greeting", "a greeting from a file cannot be played yet: give its text"))
    faults += [fault for rule in rules for fault in rule(config)]
    if faults:
        raise invalid(faults)
    return config


def resolve(document: Document, defaults: Document, variables: Mapping[str, str] | None = None) -> AgentConfig:
    """Make the configuration that a call runs with: defaults below, ``{{variables}}`` filled in.

    *variables* are the call's; they come before the agent's own. A document that an older version kept may hold
    fields this one does not know: they are left out. `Invalid` when what is left breaks a rule.
    """
    laid = dict(_over(defaults, tidy(document)))
    cap = defaults.get("maxDuration")
    if cap is not None:
        laid["maxDuration"] = min(laid.get("maxDuration") or cap, cap)
    config = structure(laid, AgentConfig, ANSWERS)
    return _fitting(config, variables or {})


def change_live(config: AgentConfig, change: Document, *, engines: Engines | None = None) -> AgentConfig:
    """Apply a ``config`` message to the configuration of a running call, from the next turn on.

    `Invalid` names what is unknown, wrong, or may not change in a call; then nothing changes.
    """
    tidied = tidy(change)
    fixed = [Fault(f"$.{name}", "cannot change in a call") for name in tidied if name in _FIELDS and name not in LIVE]
    if fixed:
        raise invalid(fixed)
    changed = structure(_over(unstructure(config), tidied), AgentConfig, REQUESTS)
    faults = [fault for fault in _engine_faults(changed, engines or {}) if fault.path[2:5] in tidied]
    if faults:
        raise invalid(faults)
    fresh = _fitting(changed, {})
    # Only what was sent is filled in: a value that stands in the rest may look like a variable.
    return attrs.evolve(changed, **{field: getattr(fresh, field) for name, field in _SPOKEN.items() if name in tidied})


def _fitting(config: AgentConfig, variables: Mapping[str, str]) -> AgentConfig:
    """Fill in *variables*; `Invalid` where a text grows too long with them."""
    try:
        return filled(config, variables)
    except ValueError as error:
        raise Invalid(
            "the variables do not fit", below("variables", faults_of(ValueError(f"with them, a text {error}")))
        ) from error


def origin(faults: Iterable[Fault], written: Document) -> list[Fault]:
    """Give each fault the path of what was *written*: ``$.temperature``, where that is how it came."""
    came = {f"$.{'.'.join(place)}": f"$.{name}" for name, place in FLAT.items() if name in written}
    if "prompt" in written:
        came.pop("$.prompt", None)
    return [Fault(came.get(fault.path, fault.path), fault.message) for fault in faults]


# -- rules over several fields --------------------------------------------------------------------


def _engine_faults(config: AgentConfig, engines: Engines) -> Iterable[Fault]:
    for stage, settings in (("stt", config.stt), ("llm", config.llm), ("tts", config.tts)):
        if stage in engines:
            for name in settings.providers:
                if name not in engines[stage]:
                    there = ", ".join(sorted(engines[stage]))
                    yield Fault(f"$.{stage}.provider", f"there is no engine {name[:64]!r} here, but {there}")


def _flow_faults(config: AgentConfig) -> Iterable[Fault]:
    if config.flow is None:
        return
    slots = {slot.name for slot in config.flow.slots}
    for place, intent in enumerate(config.flow.intents):
        for where, name in enumerate(intent.slots):
            if name not in slots:
                yield Fault(f"$.flow.intents[{place}].slots[{where}]", f"there is no slot {name[:64]!r} in flow.slots")


def _duration_faults(config: AgentConfig, defaults: Document) -> Iterable[Fault]:
    cap = defaults.get("maxDuration")
    if cap is not None and config.max_duration is not None and config.max_duration > cap:
        yield Fault("$.maxDuration", f"must be at most {cap:g}, the longest call of this installation")
