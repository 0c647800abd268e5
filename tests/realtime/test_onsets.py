"""What the detector hears is passed on, but for the agent's own voice coming back."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.audio.echo import Echo
from invorto.model.agent import TtsSettings
from invorto.realtime import protocol as p
from invorto.realtime.onsets import LOOK, LOOKS, Onsets
from invorto.speech.ports import Samples, Speech, SpeechBegan, SpeechPaused
from tests.realtime.stage import FRAME, MemoryLine, open_stage
from tests.speech.sound import recorded

RATE = 8000
SIZE = int(RATE * FRAME)
AGENT, CALLER = recorded("libri_0870", RATE), recorded("libri_0880", RATE)
TABLE = {"sttMs": 20, "llmMs": 50, "ttsMs": 30, "heard": ["wait a moment"], "replies": ["Yes?"]}


class Notes:
    """An ear and a conversation that write down what they are told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def push(self, samples: Samples) -> None:
        """Hear nothing."""

    def speech_began(self, at: float) -> None:
        """Note it."""
        self.told.append(("began", round(at, 3)))

    def speech_paused(self, at: float) -> None:
        """Note it."""
        self.told.append(("paused", round(at, 3)))


def onsets() -> tuple[Onsets, Notes, list[int]]:
    """Make one that writes everything down."""
    notes, withheld = Notes(), list[int]()
    made = Onsets(notes, notes.told.append, Echo(RATE), lambda: withheld.append(1))
    return made, notes, withheld


def hear(made: Onsets, heard: Samples, began: float, *, played: Samples | None = None) -> float:
    """Let it hear some audio, beside what plays meanwhile; gives when that was over."""
    at = began
    for place in range(0, len(heard) - SIZE + 1, SIZE):
        if played is not None:
            made.echo.played(played[place : place + SIZE], at)
        at += FRAME
        made.hear(heard[place : place + SIZE], at)
    return at


def test_a_caller_is_passed_on_at_once():
    """Whoever speaks, over the agent or not, is told to the transcriber and then to the conversation."""
    made, notes, withheld = onsets()
    now = hear(made, CALLER[RATE : 2 * RATE], 0.0, played=AGENT[RATE : 2 * RATE])
    made.notify(SpeechBegan(now - 0.1))
    made.notify(SpeechPaused(now))
    assert notes.told == [
        ("began", round(now - 0.1, 3)), SpeechBegan(now - 0.1), ("paused", round(now, 3)), SpeechPaused(now),
    ]  # fmt: skip
    assert not withheld


def test_the_agents_own_voice_is_held_back():
    """What comes back begins nothing, and its pause ends nothing."""
    made, notes, withheld = onsets()
    voice = AGENT[RATE : 3 * RATE]
    now = hear(made, voice // 4, 0.0, played=voice)
    made.notify(SpeechBegan(now - 0.1))
    assert made.held
    hear(made, AGENT[3 * RATE : 4 * RATE] // 4, now, played=AGENT[3 * RATE : 4 * RATE])
    made.notify(SpeechPaused(now + 1.0))
    assert not made.held
    assert notes.told == []
    assert withheld == [1]


def test_who_speaks_into_the_echo_is_passed_on():
    """Held back for the agent's voice, a caller who goes on by themselves is heard a few looks later."""
    made, notes, _ = onsets()
    voice = AGENT[RATE : 2 * RATE]
    now = hear(made, voice // 4, 0.0, played=voice)
    made.notify(SpeechBegan(now - 0.1))
    before = now
    while made.held:
        place = round((now - before) * RATE) + RATE
        now = hear(made, CALLER[place : place + SIZE], now, played=AGENT[RATE + place : RATE + place + SIZE])
    assert [type(told) for told in notes.told] == [tuple, SpeechBegan]
    began = notes.told[1]
    assert isinstance(began, SpeechBegan)
    assert before - 0.1 <= began.at <= now
    assert LOOKS * LOOK <= now - before <= 0.4


@attrs.define(eq=False)
class Speakerphone(MemoryLine):
    """A line whose far end hears itself: what is played comes back, later and weaker."""

    returning: deque[Samples] = attrs.field(factory=deque)

    def play(self, samples: Samples, *, turn: int) -> None:
        """Note audio, and put it in the room."""
        super().play(samples, turn=turn)
        self.returning.extend(np.array_split(samples // 3, max(1, len(samples) // SIZE)))

    async def sit(self, seconds: float, voice: Samples | None = None) -> None:
        """Let time pass, with the room's sound and somebody's *voice* on the line, in real time."""
        for place in range(round(seconds / FRAME)):
            await trio.sleep(FRAME)
            frame = np.zeros(SIZE, np.int16)
            if self.returning and self.played and trio.current_time() > self.played[0][0] + 0.12:
                back = self.returning.popleft()
                frame[: len(back)] = back
            if voice is not None:
                spoken = voice[place * SIZE : (place + 1) * SIZE]
                frame[: len(spoken)] += spoken
            self._send.send_nowait(frame)


class Reader:
    """A voice that reads from a book."""

    name, version = "reader", "1"

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Read."""

        async def read() -> AsyncIterator[Speech]:
            await trio.lowlevel.checkpoint()
            yield Speech(AGENT)

        yield read()


@pytest.mark.parametrize("somebody", [False, True])
async def test_an_agent_does_not_interrupt_itself(autojump_clock: MockClock, somebody: bool) -> None:
    """On a telephone without echo cancellation the agent speaks to its end, and a caller still breaks in."""
    async with open_stage({"greeting": "Good morning."}, TABLE, tts=Reader(), line=Speakerphone()) as stage:
        line = stage.line
        assert isinstance(line, Speakerphone)
        await line.sit(3.0)
        began = trio.current_time()
        await line.sit(2.0, CALLER[RATE // 2 :] if somebody else None)
        await line.sit(4.0)
        cuts = [at - began for at, _ in line.of(p.BargeIn)]
    assert bool(cuts) is somebody
    assert not somebody or 0 <= cuts[0] <= 0.3
