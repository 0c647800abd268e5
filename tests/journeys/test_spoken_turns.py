"""Turns that are spoken: recorded people and coughs, the detector and the engines of this machine, in real time."""

from __future__ import annotations

import numpy as np
import trio

from invorto.config import load
from invorto.realtime import protocol as p
from invorto.realtime.voices import Voices
from invorto.speech.plugins import Kind, open_engines
from invorto.speech.ports import Samples
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedLlm
from tests.realtime.stage import FRAME, RATE, Stage, open_stage
from tests.speech.sound import cough, frames, recorded, silence

LONG = "Certainly. We are open from nine in the morning until eight in the evening, every day of the week but Sunday."
AGENT = {"greeting": None, "stt": {"provider": "local"}, "tts": {"provider": "local"}, "silence": {"nudgeAfter": 60}}


async def speak(stage: Stage, samples: Samples) -> None:
    """Bring audio as a telephone would, a frame of 20 ms at a time on the clock."""
    at = trio.current_time()
    for frame in frames(samples, RATE, FRAME):
        at += FRAME
        await trio.sleep_until(at)
        stage.line.hear(frame)


async def say(stage: Stage, samples: Samples, pause: float = 0.0) -> None:
    """Speak, and then be silent, for *pause* seconds or until the agent has begun to answer."""
    heard = len(stage.line.played)
    await speak(stage, samples)
    with trio.fail_after(10):
        while pause > 0 or len(stage.line.played) == heard:
            await speak(stage, silence(RATE, 0.1))
            pause -= 0.1
            if pause <= 0 and len(stage.line.played) > heard:
                break


def with_pause(samples: Samples, seconds: float) -> Samples:
    """Put silence into the middle of a sentence, at its quietest place."""
    size = RATE // 50
    levels = [np.abs(samples[at : at + size].astype(np.int32)).sum() for at in range(0, len(samples) - size, size)]
    third = len(levels) // 3
    place = (third + int(np.argmin(levels[third : 2 * third]))) * size
    return np.concatenate((samples[:place], silence(RATE, seconds), samples[place:]))


async def paused_in_the_middle(voices: Voices) -> None:
    """A pause in a sentence, shorter than any that ends a turn, splits nothing."""
    async with open_stage(AGENT, voices=voices) as stage:
        await say(stage, with_pause(recorded("libri_0920", RATE), 0.15))
    said = [one for one in stage.record.transcript if one.role == "user"]
    assert len(said) == 1
    assert len(said[0].text.split()) >= 8


async def coughed_at(voices: Voices) -> None:
    """A cough over the answer leaves the answer whole."""
    async with open_stage(AGENT, voices=voices) as stage:
        await say(stage, recorded("libri_0880", RATE), pause=1.0)
        await speak(stage, cough(RATE))
        while not stage.line.of(p.TtsDone):
            await speak(stage, silence(RATE, 0.1))
        ((_, done),) = stage.line.of(p.TtsDone)
    assert not done.interrupted
    assert done.heard == LONG


async def interrupted(voices: Voices) -> None:
    """A sentence over the answer cuts it, and what was heard of it is its beginning."""
    async with open_stage(AGENT, voices=voices) as stage:
        await say(stage, recorded("libri_0880", RATE), pause=1.0)
        await speak(stage, recorded("libri_0870", RATE)[: 2 * RATE])
        with trio.fail_after(10):
            while not stage.line.of(p.TtsDone):
                await speak(stage, silence(RATE, 0.1))
        ((_, done),) = stage.line.of(p.TtsDone)[:1]
    assert done.interrupted
    assert done.heard != LONG
    assert LONG.startswith(done.heard.rstrip("."))


async def test_three_callers_at_once() -> None:
    """One pauses in a sentence, one coughs, one interrupts: each is taken for what it is, on the engines they share."""
    config = load({"LOCAL_ENGINE_CALLS": "3"})
    names: dict[Kind, tuple[str, ...]] = {"vad": ("local",), "stt": ("local",), "tts": ("local",)}
    with trio.fail_after(60):
        async with open_engines(names, config) as engines, trio.open_nursery() as nursery:
            await nursery.start(engines.vad.run)
            await engines.wait_ready()
            llm = ScriptedLlm(Script.parse({"replies": [LONG, "All right."]}))
            voices = Voices(vad=engines.vad, stt=engines.stt("local"), llm=llm, tts=engines.tts("local"))
            async with trio.open_nursery() as callers:
                for caller in (paused_in_the_middle, coughed_at, interrupted):
                    callers.start_soon(caller, voices)
            nursery.cancel_scope.cancel()
