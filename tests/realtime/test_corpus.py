"""The corpus of conversations: each through the real turn taker, and many through whole calls, in virtual time."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import MockClock

from invorto.realtime import protocol as p
from invorto.realtime import turns as t
from invorto.speech.ports import GoesOn
from tests.realtime.corpus import SHORTEST, Bench, Case, Floors, load
from tests.realtime.stage import FRAME, LOUD, QUIET, Stage, open_stage

CORPUS = load()
WHOLE = CORPUS if os.environ.get("PROVE") else CORPUS[::3]
"""Those that are held as whole calls."""


def test_the_corpus_is_large_enough() -> None:
    """At least forty cases, each with a promise of its own, and names that say which."""
    assert len(CORPUS) >= 40
    assert len({case.promise for case in CORPUS}) == len(CORPUS)
    assert all(case.promise.endswith(".") for case in CORPUS)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_the_floor_at_each_instant(case: Case) -> None:
    """Who has the floor, from the first instant to the last, is what the case says."""
    assert Bench.of(case).play() == [(pytest.approx(at, abs=0.011), floor) for at, floor in case.floor], case.promise


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
async def test_the_same_in_a_whole_call(case: Case, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a line, a detector, engines and a playout around it the floor passes at the same instants."""
    floors: Floors = []
    step = t.TurnTaker.step

    def noted(turns: t.TurnTaker, event: t.Event | None, now: float) -> tuple[t.Act, ...]:
        acts = step(turns, event, now)
        floors.append((now, turns.floor.name))
        return acts

    monkeypatch.setattr(t.TurnTaker, "step", noted)
    answer = " ".join(["word"] * round(case.reply / 0.3)) + ("?" if case.asks else "")
    script = {
        "sttMs": 100, "llmMs": 50, "ttsMs": 30, "replies": [answer],
        "heard": [words for _, seconds, words in case.says if seconds >= SHORTEST] or ["nothing"],
    }  # fmt: skip
    async with open_stage({"greeting": None, **case.agent}, script) as stage, trio.open_nursery() as nursery:
        began = trio.current_time()
        for at, what, value in case.does:
            nursery.start_soon(do, stage, began + at, what, value)
        await sound(stage, case)
        nursery.cancel_scope.cancel()
    assert changes(floors, began, case.seconds) == [
        (pytest.approx(at, abs=0.025), floor) for at, floor in lasting(case.floor)
    ], case.promise


async def sound(stage: Stage, case: Case) -> None:
    """Be the caller, a frame of 20 ms after the other."""
    for place in range(round(case.seconds / FRAME)):
        middle = (place + 0.5) * FRAME
        loud = any(at <= middle < at + seconds for at, seconds, _ in case.says)
        await trio.sleep(FRAME)
        stage.line.hear(LOUD if loud else QUIET)


async def do(stage: Stage, at: float, what: str, value: object) -> None:
    """Do what a case does, at its time."""
    await trio.sleep_until(at)
    turns, post = stage.call.conversation.turns, stage.call.conversation.post
    match what, value:
        case "text", str(text):
            stage.line.say(p.Text(text))
        case "pause", _:
            stage.line.say(p.Pause())
        case "resume", _:
            stage.line.say(p.Resume())
        case "end", _:
            stage.line.drop()
        case "hint", [float(probability), _]:
            post(GoesOn(probability, turns.paused_at))
        case "machine" | "beep", _:
            post(t.MachineAnswered() if what == "machine" else t.Beeped())
        case _:
            raise AssertionError(what)


def changes(floors: Floors, began: float, seconds: float) -> Floors:
    """Give the instants at which the floor passed and stayed where it went."""
    passed: Floors = []
    for at, floor in floors:
        if at - began <= seconds - FRAME and (not passed or passed[-1][1] != floor):
            passed.append((round(max(at - began, 0.0), 3), floor))
    return lasting(passed)


def lasting(floors: Floors) -> Floors:
    """Leave out what lasted no time, and what lies too near to the end to be seen in both."""
    kept = [one for one, after in zip(floors, [*floors[1:], (float("inf"), "")], strict=True) if after[0] > one[0]]
    return [one for place, one in enumerate(kept) if place == 0 or kept[place - 1][1] != one[1]]


def test_a_missing_rule_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without patience for hesitations, or with every word an interruption, the corpus is not what is played."""

    def broken() -> int:
        return sum(
            [(round(at, 2), floor) for at, floor in Bench.of(case).play()] != [(at, floor) for at, floor in case.floor]
            for case in CORPUS
        )

    before = broken()
    with monkeypatch.context() as patch:
        patch.setattr("invorto.realtime.endpointing.HESITATING", 0.0)
        assert broken() > before
    with monkeypatch.context() as patch:
        patch.setattr(t.Rules, "counts", lambda *_, **__: True)
        assert broken() > before
    with monkeypatch.context() as patch:
        patch.setattr(t, "VERDICT_WAIT", 5.0)
        assert broken() > before
