"""The demo's caller, in virtual time: what it finds out when all goes well, and what when something does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any, cast

import attrs
import pytest
from trio.testing import MockClock

from invorto.caller.calling import Caller
from invorto.demo.script import Finding, Script, book, sayings
from tests.demo.agent import ARGS, MESSAGE, PLAY, Agent, Cue, perform

WHOLE = 10
"""Findings of a conversation that goes to its end."""


async def held(play: Sequence[Cue], **agent: Any) -> tuple[list[Finding], list[str]]:
    """Hold the conversation; give what was found, and what the caller remarked."""
    far_end = Agent(list(play), **agent)
    caller = Caller(cast("Any", far_end), lambda _at, _event: None, book)
    remarks: list[str] = []
    script = Script(caller, remarks.append, date(2026, 11, 22))
    await perform(far_end, caller, script.hold)
    return script.findings, remarks


def unmet(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if not finding.met]


def changed(place: int, **changes: Any) -> list[Cue]:
    play = list(PLAY)
    play[place] = attrs.evolve(play[place], **changes)
    return play


async def test_all_goes_well(autojump_clock: MockClock) -> None:
    """Every expectation is met, and nothing is said twice."""
    findings, remarks = await held(PLAY)
    assert unmet(findings) == []
    assert len(findings) == WHOLE
    assert [remark.split(" ", 4)[:4] for remark in remarks] == [["the", "agent", "fell", "silent"]]


@pytest.mark.parametrize(
    ("play", "agent", "failed"),
    [
        (changed(1, says="Thank you. I wrote down: Hello."), {}, "it is read back as it was understood"),
        (changed(1, heard="Hello.", says="Hello."), {}, "a person's dictated message is understood"),
        (changed(6, args={**ARGS, "date": "2026-11-24"}), {}, "tomorrow at half past three is booked"),
        (changed(6, args={**ARGS, "name": "Nobody"}), {}, "tomorrow at half past three is booked"),
        (changed(6, args=None), {}, "tomorrow at half past three is booked"),
        (changed(6, says="It is done. Is there anything else?"), {}, "the appointment's number is read out"),
        (changed(7, says="All right."), {}, "the agent says goodbye"),
        (changed(7, leaves=False), {}, "and hangs up"),
        (PLAY, {"hush": 0.3}, "an interruption silences the agent within 150 ms"),
        (PLAY, {"speed": 60.0}, "its turn ends where it was interrupted"),
    ],
    ids=["read back", "misheard", "day", "name", "no tool", "number", "goodbye", "stays", "slow", "too much heard"],
)  # fmt: skip
async def test_one_thing_goes_wrong(
    play: Sequence[Cue], agent: dict[str, Any], failed: str, autojump_clock: MockClock
) -> None:
    """Exactly the expectation that was not met is named, and the conversation goes on."""
    findings, _ = await held(play, **agent)
    assert unmet(findings) == [failed]
    assert len(findings) == WHOLE


@pytest.mark.parametrize("place", [0, 2, 4, 5, 6], ids=["message", "question", "time", "name", "confirm"])
async def test_what_is_not_understood_is_said_once_more(place: int, autojump_clock: MockClock) -> None:
    """A caller repeats what the agent did not get, as people do, and the rest is as it should be."""
    play = [*PLAY[:place], Cue("Mumble.", "Sorry, I did not understand that."), *PLAY[place:]]
    findings, remarks = await held(play)
    assert unmet(findings) == []
    assert any("once more" in remark for remark in remarks)


async def test_what_is_never_understood_ends_the_conversation(autojump_clock: MockClock) -> None:
    """Twice not understood: the last finding says what was said, and what was answered."""
    sorry = Cue("Mumble.", "Sorry, I did not understand that.")
    findings, _ = await held([sorry, sorry])
    assert unmet(findings) == ["the conversation goes to its end"]
    assert "“I'd like to leave a message for the doctor, please.”" in findings[-1].detail
    assert "“Sorry, I did not understand that.”" in findings[-1].detail


async def test_an_agent_that_says_nothing_more(autojump_clock: MockClock) -> None:
    """Nobody waits for ever: the answer that is missing is named."""
    findings, _ = await held(PLAY[:1])
    assert unmet(findings) == ["the conversation goes to its end"]
    assert "within 30 s" in findings[-1].detail


async def test_an_agent_that_cannot_be_interrupted(autojump_clock: MockClock) -> None:
    """Without a barge-in the conversation ends there, and says so."""
    findings, _ = await held(PLAY, hush=math.inf)
    assert unmet(findings) == ["the conversation goes to its end"]
    assert "there was no control.bargein" in findings[-1].detail


async def test_an_agent_that_hangs_up_early(autojump_clock: MockClock) -> None:
    """The reason of the end is told."""
    findings, _ = await held(changed(3, leaves=True))
    assert unmet(findings) == ["the conversation goes to its end"]
    assert "the call ended (agent)" in findings[-1].detail


def test_the_sentences_are_there_with_their_words() -> None:
    """Each file of speech has its words, is a few seconds long, and begins with sound."""
    says = sayings()
    assert set(says) == {
        "leave_message", "message", "question", "interrupt", "time", "name", "confirm", "goodbye",
    }  # fmt: skip
    for one in says.values():
        assert 0.8 < len(one.sound) / 16000 < 7
        assert one.words
    assert says["message"].words.split()[:3] == MESSAGE.lower().replace(",", "").split()[:3]


def test_only_the_tool_that_there_is_is_answered() -> None:
    """A call of any other is an error, so that the agent says so."""
    assert book({"name": "book_appointment", "args": {}}) == {"number": "4 7 1 2"}
    assert "error" in book({"name": "launch", "args": {}})
