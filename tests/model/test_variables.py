"""Variables in what an agent says: put in once, and never heard as braces."""

from __future__ import annotations

import tracemalloc

import pytest

from invorto.convert import structure
from invorto.model.agent import AgentConfig
from invorto.model.variables import fill, filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Hello {{name}}!", "Hello Asha!"),
        ("Hello {{ name }}!", "Hello Asha!"),
        ("{{name}}{{name}}", "AshaAsha"),
        ("Hello {{stranger}}!", "Hello !"),
        ("{{ 1x }} {name} {{name", "{{ 1x }} {name} {{name"),
        ("{{trick}}", "{{name}}"),
        ("", ""),
    ],
)
def test_variables_are_put_in_once(text: str, said: str) -> None:
    """Unknown names are silent, other braces stay, and a value cannot reach other variables."""
    assert fill(text, {"name": "Asha", "trick": "{{name}}"}) == said


def test_everything_that_is_spoken_is_filled_in() -> None:
    """Prompt, greeting, nudge, consent, goodbye, voicemail and the whole flow; the call's values before the agent's."""
    document = {
        "prompt": "You call {{who}} for {{firm}}.",
        "greeting": "Hi {{who}}.",
        "variables": {"who": "nobody", "firm": "Acme"},
        "silence": {"nudge": "Still there, {{who}}?"},
        "consent": {"prompt": "May we record, {{who}}?"},
        "endCall": {"goodbye": "Bye {{who}}."},
        "voicemail": {"message": "{{firm}} called."},
        "flow": {
            "intents": [{"name": "hours", "examples": ["when"], "reply": "{{firm}} is open."}],
            "slots": [{"name": "day", "type": "text", "ask": "Which day, {{who}}?"}],
            "faq": [{"q": "who", "a": "{{firm}}"}],
            "fallback": "Sorry {{who}}.",
            "handover": "Wait, {{who}}.",
        },
    }
    config = filled(structure(document, AgentConfig), {"who": "Asha"})
    assert config.flow is not None
    assert config.consent is not None
    said = (
        config.prompt, config.greeting, config.silence.nudge, config.consent.prompt, config.end_call.goodbye,
        config.voicemail.message, config.flow.intents[0].reply, config.flow.slots[0].ask, config.flow.faq[0].a,
        config.flow.fallback, config.flow.handover,
    )  # fmt: skip
    assert said == (
        "You call Asha for Acme.", "Hi Asha.", "Still there, Asha?", "May we record, Asha?", "Bye Asha.",
        "Acme called.", "Acme is open.", "Which day, Asha?", "Acme", "Sorry Asha.", "Wait, Asha.",
    )  # fmt: skip
    assert config.variables == {"who": "Asha", "firm": "Acme"}


def test_an_agent_without_a_flow_is_filled_in_too() -> None:
    """What is not configured stays away; a greeting may be none."""
    config = filled(structure({"prompt": "{{x}}"}, AgentConfig), {})
    assert (config.prompt, config.flow) == ("", None)


def test_what_is_too_long_is_not_put_together() -> None:
    """A prompt full of a long name is refused for what it would become, without becoming it."""
    text, value = "{{who}}" * 9_000, "x" * 16_384
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="at most 65536 bytes"):
            fill(text, {"who": value})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
    assert len(fill("{{who}}" * 4, {"who": value})) == 65_536
