"""`invorto replay`: a recorded call again, through another configuration, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from invorto.errors import UsageError
from invorto.simulate.caller import hold
from invorto.simulate.commands import virtually
from invorto.simulate.recorded import Moment, Sound, read
from invorto.simulate.replay import load, replay, rows
from tests.simulate.test_talk import run, scenario

LONG = "We have soup, bread, rice, fish, and very many other things that I could tell you about all evening."
AGENT: dict[str, Any] = {"greeting": None}


def a_call(tmp_path: Path, agent: dict[str, Any] = AGENT) -> list[dict[str, Any]]:
    """Hold a call, with a cough and an interruption in it; gives its timeline."""
    one = scenario(
        tmp_path, {"say": "What do you have today"}, {"cough": 0.15}, {"interrupt": "No, stop that.", "at": 3.0},
        {"hangUp": True}, engine={"llmMs": 400, "replies": [LONG, "As you like."]},
    )  # fmt: skip
    outcome = virtually(lambda: hold(agent, one))
    assert outcome.faults == ()
    return [attrs.asdict(event) for event in outcome.left.events]


def told(tmp_path: Path, agent: dict[str, Any]) -> tuple[list[Moment], list[Moment]]:
    """Replay that call with *agent*; gives both sides."""
    recorded = read(a_call(tmp_path))
    both = virtually(lambda: replay(recorded, agent))
    return list(both.then.moments), list(both.now.moments)


def test_the_same_agent_does_the_same(tmp_path: Path) -> None:
    """Through the configuration that it had a call comes out as it was, within a frame or two."""
    then, now = told(tmp_path, AGENT)
    assert [one.who for one in then] == [one.who for one in now]
    assert max(abs(one.at - other.at) for one, other in zip(then, now, strict=True)) < 0.2
    assert [one.what for one in then if one.what.startswith("ends")] == ["ends: hangup"]


def test_a_slower_agent_answers_later(tmp_path: Path) -> None:
    """With a longer pause the first answer comes later, and what was a cough then meets another moment."""
    then, now = told(tmp_path, {"greeting": None, "endpointing": {"silenceMs": 1200}})
    first = [next(one for one in side if one.what.startswith("answers after")) for side in (then, now)]
    assert 0.8 < first[1].at - first[0].at < 1.2


def test_an_agent_that_may_not_be_interrupted(tmp_path: Path) -> None:
    """Where interruptions are off nobody breaks in."""
    then, now = told(tmp_path, {"greeting": None, "interruption": {"enabled": False}})
    assert any("breaks in" in one.what for one in then)
    assert not any("breaks in" in one.what for one in now)


def test_sounds_and_words_find_each_other(tmp_path: Path) -> None:
    """Each sound has the words that came of it, a cough has none; of an old timeline the sounds are guessed."""
    events = a_call(tmp_path)
    sounds = read(events).sounds
    assert [sound.text for sound in sounds] == ["What do you have today", "", "No, stop that."]
    assert sounds[1].ended - sounds[1].began == pytest.approx(0.15, abs=0.05)
    old = read([event for event in events if event["kind"] != "caller.spoke"]).sounds
    assert [sound.text for sound in old] == ["What do you have today", "No, stop that."]
    assert old[0].ended == pytest.approx(sounds[0].ended, abs=0.2)
    assert isinstance(old[0], Sound)


def test_side_by_side() -> None:
    """The same thing near in time is one row; everything stands in the order of time."""
    then = (Moment(1.0, "caller", "Hi"), Moment(2.0, "agent", "answers after 500 ms"), Moment(9.0, "", "ends: hangup"))
    now = (Moment(1.1, "caller", "Hi"), Moment(2.9, "agent", "answers after 900 ms"), Moment(4.0, "", "x"))
    assert rows(then, now) == [(then[0], now[0]), (then[1], now[1]), (None, now[2]), (then[2], None)]


@pytest.mark.parametrize("form", ["answer", "list", "lines"])
def test_the_command(form: str, tmp_path: Path) -> None:
    """A timeline in any of its files is replayed, as a table or as JSON, with another agent or without."""
    events = a_call(tmp_path)
    path = tmp_path / ("t.ndjson" if form == "lines" else "t.json")
    path.write_text(
        "\n".join(map(json.dumps, events)) if form == "lines"
        else json.dumps({"timeline": events, "agent": AGENT} if form == "answer" else events)
    )  # fmt: skip
    (tmp_path / "agent.json").write_text(json.dumps({"name": "x", "config": {"greeting": None}}))
    code, table = run("replay", path, "--agent", tmp_path / "agent.json")
    assert code == 0
    assert "What do you have today" in table
    assert "then: 2 answers, 1 cut short" in table
    assert "now: 2 answers, 1 cut short" in table
    code, text = run("replay", path, "--json")
    assert set(json.loads(text)) == {"then", "now"}


def test_what_is_no_timeline_is_refused(tmp_path: Path) -> None:
    """Files that hold something else are refused in a sentence."""
    for text in ("{}", "[]", "[1]", '[{"kind": "x"}]', "7"):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(UsageError):
            read(load(tmp_path / "t.json")[0])
    (tmp_path / "t.ndjson").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "t.ndjson")
