"""An agent is what its owner wrote, over the installation's defaults, and nothing slips through unread."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from invorto.config import load
from invorto.convert import camel
from invorto.errors import Fault, Invalid
from invorto.model.agent import AgentConfig, GreetingAudio, LlmSettings
from invorto.model.agent_document import LIVE, change_live, check, installation, merge, origin, resolve, tidy
from invorto.model.variables import fill

DEFAULTS = installation(
    load({"SYSTEM_PROMPT": "Be brief.", "LLM_PROVIDER": "scripted", "ENDPOINTING_SILENCE_MS": "300"})
)
ENGINES = {"stt": {"local", "scripted"}, "llm": {"local", "scripted"}, "tts": {"local", "scripted"}}

ORIGINAL = {
    "prompt": "You book tables.", "voice": "asha", "locale": "en-IN", "temperature": 0.3, "model": "gpt-4o-mini",
    "maxTokens": 99, "systemPrompt": "You are polite.", "tools": [], "metadata": {"team": "desk"},
}  # fmt: skip
"""What the original Node client posts, less the name."""


def told(written: Any, **more: Any) -> list[tuple[str, str]]:
    """Give every fault that writing *written* is told of."""
    with pytest.raises(Invalid) as caught:
        check(tidy(written), DEFAULTS, **more)
    return [(fault.path, fault.message) for fault in caught.value.faults]


def test_a_name_and_a_prompt_talk() -> None:
    """`{"prompt": …}` alone is a whole agent."""
    config = check(tidy({"prompt": "You are a desk."}), DEFAULTS, engines=ENGINES)
    assert config.prompt == "You are a desk."
    assert config.llm.provider == "scripted"
    assert config.endpointing.silence_ms == 300
    assert config.max_duration == 1800
    assert check({}, DEFAULTS).prompt == "Be brief."


def test_defaults_lie_under_each_setting() -> None:
    """Saying one thing of an engine leaves the installation's other choices alone."""
    config = check({"llm": {"temperature": 1}, "endpointing": {"minWords": 1}}, DEFAULTS)
    assert config.llm == LlmSettings(provider="scripted", temperature=1.0)
    assert (config.endpointing.silence_ms, config.endpointing.min_words) == (300, 1)


def test_consent_of_the_installation() -> None:
    """An agent inherits the installation's consent prompt, and may say it wants none."""
    defaults = installation(load({"CONSENT_PROMPT": "May we record?"}))
    assert (consent := check({"consent": {"required": False}}, defaults).consent)
    assert (consent.prompt, consent.required) == ("May we record?", False)
    assert check({"consent": None}, defaults).consent is None


def test_the_originals_flat_names() -> None:
    """The original client's fields reach the engines they were meant for."""
    config = check(tidy(ORIGINAL), DEFAULTS)
    assert config.prompt == "You are polite.\n\nYou book tables."
    assert (config.llm.model, config.llm.temperature, config.llm.max_tokens) == ("gpt-4o-mini", 0.3, 99)
    assert config.tts.voice == "asha"
    assert config.metadata == {"team": "desk"}
    assert tidy({"systemPrompt": "a"}) == {"prompt": "a"}
    assert tidy({"systemPrompt": "a", "prompt": "a"}) == {"prompt": "a"}
    assert tidy({"systemPrompt": None, "model": None}) == {}


def test_a_contradiction_is_told() -> None:
    """Saying the same thing twice in two ways is an error, not a lottery; the same value is fine."""
    assert told({"model": "a", "llm": {"model": "b"}}) == [
        ("$.model", "is not the same as llm.model: give one of them")
    ]
    assert check(tidy({"model": "a", "llm": {"model": "a"}}), DEFAULTS).llm.model == "a"
    assert told({"model": "a", "llm": 5}) == [("$.llm", "expected an object")]


def test_faults_stand_where_they_were_written() -> None:
    """Whoever wrote `temperature` is told about `temperature`."""
    written = {"temperature": 5, "systemPrompt": 7, "maxTokens": 0}
    with pytest.raises(Invalid) as caught:
        check(tidy(written), DEFAULTS)
    assert origin(caught.value.faults, written) == [
        Fault("$.systemPrompt", "expected text"),
        Fault("$.temperature", "must be at most 2"),
        Fault("$.maxTokens", "must be at least 1"),
    ]


RULES: list[tuple[dict[str, Any], str, str]] = [
    ({"stt": {"provider": ["local", "x"]}}, "$.stt.provider", "there is no engine 'x' here, but local, scripted"),
    ({"tts": {"provider": ""}}, "$.tts.provider", "must name an engine, or up to ten in the order to fall back on"),
    ({"maxDuration": 7200}, "$.maxDuration", "must be at most 1800, the longest call of this installation"),
    ({"locale": "english please"}, "$.locale", "expected a language tag such as en-IN"),
    ({"prompt": "x" * 65_537}, "$.prompt", "must be at most 65536 bytes of text"),
    ({"prompt": "₹" * 30_000}, "$.prompt", "must be at most 65536 bytes of text"),
    (
        {"greeting": {"audio": "https://x/a.wav"}},
        "$.greeting", "a greeting from a file cannot be played yet: give its text",
    ),
    ({"greeting": "x" * 65_537}, "$.greeting", "must be at most 65536 bytes of text"),
    ({"consent": {"prompt": " "}}, "$.consent.prompt", "must not be empty"),
    ({"consent": {}}, "$.consent.prompt", "required field missing"),
    ({"tools": ["a", {"name": "a"}]}, "$.tools", "a is there twice"),
    ({"tools": [""]}, "$.tools", "a tool's name must not be empty"),
    ({"tools": [{"name": "a b"}]}, "$.tools[0].name", "expected 1 to 64 letters, digits, _ and -"),
    (
        {"tools": [{"name": "a", "url": "file:///etc/passwd"}]},
        "$.tools[0].url", "expected a URL that begins with https:// or http://",
    ),
    (
        {"tools": [{"name": "a", "headers": {"X": "a\r\nY: b"}}]},
        "$.tools[0].headers", "must be header names with values of one line",
    ),
    (
        {"flow": {"intents": [{"name": "book", "slots": ["day"]}]}},
        "$.flow.intents[0].slots[0]", "there is no slot 'day' in flow.slots",
    ),
    ({"flow": {"slots": [{"name": "a"}, {"name": "a"}]}}, "$.flow.slots", "a is there twice"),
    ({"variables": {"a": 5}}, "$.variables.a", "expected text"),
    ({"variables": {str(n): "" for n in range(201)}}, "$.variables", "must have at most 200 entries"),
    ({"silence": {"nudgeAfter": 0}}, "$.silence.nudgeAfter", "must be at least 1"),
    ({"interruption": {"bargeInMs": 19}}, "$.interruption.bargeInMs", "must be at least 20"),
    ({"tts": {"rate": 2.01}}, "$.tts.rate", "must be at most 2"),
    ({"silenceMs": 5}, "$.silenceMs", "unknown field"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "path", "message"), RULES, ids=[f"{n}-{rule[1]}" for n, rule in enumerate(RULES)])
def test_rules(written: dict[str, Any], path: str, message: str) -> None:
    """A document that would fail in a call is refused when it is written."""
    assert told(written, engines=ENGINES) == [(path, message)]


def test_a_prompt_written_twice_is_told_of_as_prompt() -> None:
    """Whoever wrote both `prompt` and `systemPrompt` is told about `prompt`, which holds both."""
    written = {"systemPrompt": "a" * 40_000, "prompt": "b" * 40_000}
    with pytest.raises(Invalid) as caught:
        check(tidy(written), DEFAULTS)
    assert origin(caught.value.faults, written) == [Fault("$.prompt", "must be at most 65536 bytes of text")]


def test_rules_of_others() -> None:
    """Rules that other parts know (arithmetic, stored tools) are told in the same list."""
    assert told({}, rules=[lambda config: [Fault("$.locale", config.locale)]]) == [("$.locale", "en-IN")]


@pytest.mark.parametrize("written", [None, [], "text", 5])
def test_a_document_is_an_object(written: object) -> None:
    """A list where a configuration belongs is a fault like any other."""
    assert told(written) == [("$", "expected an object")]


MERGES: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({"prompt": "a", "locale": "hi-IN"}, {"prompt": "b"}, {"prompt": "b", "locale": "hi-IN"}),
    ({"llm": {"model": "a", "maxTokens": 5}}, {"llm": {"model": "b"}}, {"llm": {"model": "b", "maxTokens": 5}}),
    ({"llm": {"model": "a", "maxTokens": 5}}, {"llm": {"maxTokens": None}}, {"llm": {"model": "a"}}),
    ({"llm": {"model": "a"}}, {"llm": {"model": None}}, {"llm": {"model": None}}),
    ({"llm": {"model": "a"}}, {"llm": None}, {}),
    ({"locale": "hi-IN"}, {"locale": None}, {}),
    ({"greeting": "hi"}, {"greeting": None}, {"greeting": None}),
    ({"greeting": {"audio": "a"}}, {"greeting": {"audio": "b"}}, {"greeting": {"audio": "b"}}),
    ({"tools": ["a"]}, {"tools": ["b"]}, {"tools": ["b"]}),
    ({"metadata": {"a": 1, "b": {"c": 1}}}, {"metadata": {"a": None, "b": {"d": 1}}}, {"metadata": {"b": {"d": 1}}}),
    ({"variables": {"a": "1"}}, {"variables": {"b": "2"}}, {"variables": {"a": "1", "b": "2"}}),
    ({"summary": {"schema": {"a": 1}}}, {"summary": {"schema": {"b": 1}}}, {"summary": {"schema": {"b": 1}}}),
    ({"prompt": "a"}, {"bogus": 1}, {"prompt": "a", "bogus": 1}),
    ({"llm": {"model": "a"}}, {"llm": 5}, {"llm": 5}),
]


@pytest.mark.parametrize(("held", "change", "merged"), MERGES, ids=[str(n) for n in range(len(MERGES))])
def test_merge(held: dict[str, Any], change: dict[str, Any], merged: dict[str, Any]) -> None:
    """A PATCH changes what it names: settings key by key, lists whole; null goes back to the default."""
    before = repr(held)
    assert merge(held, change) == merged
    assert repr(held) == before


def test_variables_are_filled_in() -> None:
    """The call's variables come before the agent's; a name without a value is not spoken."""
    document = {
        "prompt": "You call {{ name }} of {{company}} for {{owner}}.", "greeting": "Hello {{name}}!",
        "variables": {"company": "Acme", "name": "friend"}, "silence": {"nudge": "{{name}}?"},
        "endCall": {"goodbye": "Bye {{name}}."}, "consent": {"prompt": "{{company}} records."},
        "flow": {"intents": [{"name": "x", "reply": "For {{company}} on {day}{{nothing}}."}]},
    }  # fmt: skip
    config = resolve(document, DEFAULTS, {"name": "Asha {{company}}"})
    assert config.prompt == "You call Asha {{company}} of Acme for ."
    assert config.greeting == "Hello Asha {{company}}!"
    assert config.silence.nudge == "Asha {{company}}?"
    assert config.end_call.goodbye == "Bye Asha {{company}}."
    assert config.consent
    assert config.consent.prompt == "Acme records."
    assert config.flow
    assert config.flow.intents[0].reply == "For Acme on {day}."
    assert config.variables == {"company": "Acme", "name": "Asha {{company}}"}
    assert fill("{{}} {{a b}} {x} {{x", {"x": "1"}) == "{{}} {{a b}} {x} {{x"


def test_variables_that_burst_a_text() -> None:
    """Variables that make a prompt too long are refused in words, before a call begins."""
    with pytest.raises(Invalid, match="variables") as caught:
        resolve({"prompt": "{{a}}{{a}}"}, DEFAULTS, {"a": "x" * 40_000})
    assert caught.value.faults[0].path == "$.variables"


def test_variables_that_burst_a_live_change() -> None:
    """The same in a call: what is sent there is refused, and the call goes on as it was."""
    config = resolve({}, DEFAULTS, {"a": "x" * 40_000})
    with pytest.raises(Invalid, match="variables") as caught:
        change_live(config, {"prompt": "{{a}}{{a}}"})
    assert caught.value.faults[0].path == "$.variables"


def test_resolve_outlives_versions() -> None:
    """A document that a later version wrote still talks, and a lowered cap holds for agents of before."""
    config = resolve({"prompt": "a", "later": 1, "llm": {"later": 2}, "maxDuration": 5000}, DEFAULTS)
    assert (config.prompt, config.max_duration) == ("a", 1800)
    assert resolve({"maxDuration": None}, DEFAULTS).max_duration == 1800
    assert resolve({"greeting": {"audio": "https://x/a.wav"}}, DEFAULTS).greeting == GreetingAudio(
        audio="https://x/a.wav"
    )


def test_an_installation_without_a_cap() -> None:
    """Where nothing bounds a call's length, the agent's own does, or nothing."""
    assert resolve({"maxDuration": 5000}, {}).max_duration == 5000
    assert resolve({}, {}).max_duration == AgentConfig().max_duration
    assert check({"maxDuration": 5000}, {}).max_duration == 5000


def test_a_flow_that_holds_is_kept() -> None:
    """Intents whose slots there are, and intents without any, are no fault; neither are engines that there are."""
    written = {"flow": {"intents": [{"name": "book", "slots": ["day"]}, {"name": "ask"}], "slots": [{"name": "day"}]}}
    flow = check(written, DEFAULTS, engines=ENGINES).flow
    assert flow
    assert [intent.slots for intent in flow.intents] == [("day",), ()]


def test_live_changes() -> None:
    """A `config` message changes what may change, and leaves everything else as it is."""
    config = resolve({"variables": {"name": "Asha"}, "llm": {"model": "a"}, "greeting": "Hi {{name}}"}, DEFAULTS)
    changed = change_live(config, {"systemPrompt": "Help {{name}}.", "temperature": 0, "llm": {"maxTokens": 9}})
    assert changed.prompt == "Help Asha."
    assert changed.llm == LlmSettings(provider="scripted", model="a", temperature=0.0, max_tokens=9)
    assert attrs.evolve(changed, prompt=config.prompt, llm=config.llm) == config
    assert change_live(config, {}) == config


def test_live_faults() -> None:
    """What is unknown, wrong or fixed during a call is named, and nothing changes."""
    config = resolve({}, DEFAULTS)
    with pytest.raises(Invalid) as caught:
        change_live(config, {"locale": "hi-IN", "recording": {}})
    assert [(f.path, f.message) for f in caught.value.faults] == [
        ("$.locale", "cannot change in a call"),
        ("$.recording", "cannot change in a call"),
    ]
    for change in ({"bogus": 1}, {"llm": 5}, {"prompt": None}, {"endpointing": {"silenceMs": 3}}, [], None):
        with pytest.raises(Invalid):
            change_live(config, change)  # pyright: ignore[reportArgumentType] - what a peer may send
    with pytest.raises(Invalid, match="no engine"):
        change_live(config, {"tts": {"provider": "nobody"}}, engines=ENGINES)


def test_live_fields_are_fields() -> None:
    """The table of live fields names fields that exist."""
    assert {camel(field.name) for field in attrs.fields(AgentConfig)} >= LIVE


def test_redaction_may_be_said_in_one_word() -> None:
    """True or false is enough."""
    assert tidy({"redaction": False}) == {"redaction": {"enabled": False}}


@pytest.mark.parametrize("on", [True, False])
def test_redaction_may_be_a_word(on: bool) -> None:
    """True and false stand for the object with all its defaults."""
    assert check(tidy({"redaction": on}), DEFAULTS).redaction.enabled is on
