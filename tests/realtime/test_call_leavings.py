"""What a call may leave of both voices, and how far an answer is made before it is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from trio.testing import MockClock

from invorto.realtime import protocol as p
from invorto.realtime.deadlines import Deadlines
from invorto.realtime.recording import Recorder
from invorto.realtime.reply import AHEAD
from tests.realtime.stage import RATE, open_stage
from tests.realtime.test_call import TABLE

CONSENT: dict[str, Any] = {"prompt": "May I record this?", "declined": "continue", "required": True}
LONG = {"replies": [" ".join(f"Sentence {number} says that it is number {number}." for number in range(20))]}
"""Twenty sentences of about two seconds."""


def heard(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Give, for each tenth of a second of the only recording, how loud the caller and the agent are in it."""
    (path,) = folder.rglob("*.wav")
    both = np.frombuffer(path.read_bytes()[44:], "<i2").reshape(-1, 2).astype(float)
    tenths = both[: len(both) // (RATE // 10) * (RATE // 10)].reshape(-1, RATE // 10, 2)
    loud = np.abs(tenths).max(axis=1)
    return loud[:, 0], loud[:, 1]


async def test_the_recording_ends_where_the_agent_was_interrupted(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Of what was handed over and hushed before it was played nothing is on the recording."""
    agent = {"greeting": "One two three four five six seven eight."}
    async with open_stage(agent, TABLE, recorder=Recorder(tmp_path, threads=False)) as stage:
        await stage.line.wait(1.0)
        await stage.line.speak(0.6)
        hushed = stage.line.clears[0] - stage.began
        await stage.line.wait(0.1)
    _, of_agent = heard(tmp_path)
    assert of_agent[: int(hushed * 10)].min() > 0
    assert of_agent[int(hushed * 10) + 1 :].max() == 0


@pytest.mark.parametrize(("answer", "granted"), [("Yes, go ahead.", True), ("No, please not.", False)])
async def test_only_who_agrees_is_recorded(
    answer: str, granted: bool, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Until consent is given nothing of either side is on the recording, and nothing ever where it is not."""
    agent = {"consent": CONSENT, "greeting": "Welcome."}
    script = {**TABLE, "heard": [answer]}
    async with open_stage(agent, script, recorder=Recorder(tmp_path, threads=False)) as stage:
        await stage.line.wait(2.0)
        await stage.line.speak(0.5)
        await stage.line.wait(2.0)
        asked_until = stage.now
        await stage.line.speak(1.0)
        await stage.line.wait(2.0)
    of_caller, of_agent = heard(tmp_path)
    before = int(asked_until * 10) - 19
    assert max(of_caller[:before].max(), of_agent[:before].max()) == 0
    assert (of_caller.max() > 0, of_agent.max() > 0) == (granted, granted)
    assert ("recording.start" in stage.books.kinds()) is granted


async def test_nothing_of_a_pause_is_recorded(autojump_clock: MockClock, tmp_path: Path) -> None:
    """What is said while the conversation is paused is on nobody's record."""
    async with open_stage({"greeting": None}, TABLE, recorder=Recorder(tmp_path, threads=False)) as stage:
        await stage.line.speak(1.0)
        stage.line.say(p.Pause())
        await stage.line.speak(2.0)
        stage.line.say(p.Resume())
        await stage.line.speak(1.0)
        await stage.line.wait(0.5)
    of_caller, _ = heard(tmp_path)
    assert of_caller[11:29].max() == 0
    assert min(of_caller[:9].min(), of_caller[31:39].min()) > 0


async def test_without_transcription_no_words_are_kept(autojump_clock: MockClock) -> None:
    """The agent understands and answers all the same."""
    async with open_stage({"greeting": None, "transcription": False}, TABLE) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.0)
        assert stage.line.of(p.SttFinal)
        assert stage.line.played
    assert stage.record.transcript == ()


async def test_little_is_made_that_may_never_be_heard(autojump_clock: MockClock) -> None:
    """However quick the engines are, what is spoken but not played stays a few seconds."""
    async with open_stage({"greeting": None}, LONG) as stage:
        stage.line.say(p.Text("tell me"))
        await stage.line.wait(10.0)
        turn = stage.call.conversation.mouth.turn
        assert turn is not None
        assert 0 < turn.playout.ahead < AHEAD + 3.0


async def test_a_model_that_waits_for_us_is_not_given_up(autojump_clock: MockClock) -> None:
    """The time in which a long answer is played counts against nobody: it is heard to its end."""
    async with open_stage({"greeting": None}, LONG, deadlines=Deadlines(first_token=1.0)) as stage:
        stage.line.say(p.Text("tell me"))
        await trio.sleep(60.0)
        assert stage.line.of(p.ErrorMessage) == []
        assert stage.line.of(p.TtsDone)[0][1].heard.endswith("number 19.")
