"""`invorto simulate talk`: scenarios are read, held in virtual time, checked and reported."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from click.testing import CliRunner

from invorto.cli import cli
from invorto.errors import UsageError
from invorto.simulate.caller import Outcome, hold
from invorto.simulate.commands import virtually
from invorto.simulate.scenario import Scenario, read_scenarios
from tests.speech.sound import AUDIO, TRANSCRIPTS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
AGENT = DOCS / "examples/restaurant.yaml"
BOOK = {"name": "book", "description": "Books.", "url": "https://example.com/b", "inputSchema": {"type": "object"}}


def scenario(tmp_path: Path, *steps: Any, **fields: Any) -> Scenario:
    """Make a scenario as it would be read from a file."""
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"name": "one", "steps": list(steps), **fields}))
    (one,) = read_scenarios(path)
    return one


def held(agent: dict[str, Any], one: Scenario) -> Outcome:
    """Hold a scenario."""
    return virtually(lambda: hold(agent, one))


def run(*args: str | Path) -> tuple[int, str]:
    """Run a command; gives its exit code and what it printed."""
    done = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False, standalone_mode=False)
    return done.return_value, done.output


def test_the_examples_of_the_documentation_pass(tmp_path: Path) -> None:
    """What the page tells to run runs, all of it passes, and its report is what continuous integration reads."""
    page = (DOCS / "simulate.md").read_text("utf-8")
    (command,) = re.findall(r"^invorto (simulate talk .*) --junit report\.xml$", page, re.MULTILINE)
    args = [ROOT / word if word.startswith("docs/") else word for word in command.split()]
    began = time.monotonic()
    code, told = run(*args, "--junit", tmp_path / "report.xml")
    assert code == 0, told
    assert "4 scenarios, 0 failed" in told
    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert suite.get("tests") == "4"
    assert suite.get("failures") == "0"
    assert float(suite.get("time", "0")) > 600  # of which one is a call of ten minutes
    assert time.monotonic() - began < 30
    assert [case.get("name") for case in suite][-1] == "Nobody is there"


def test_the_page_shows_a_scenario_that_is_one(tmp_path: Path) -> None:
    """The YAML on the page is a scenario, and the one that is kept beside it says the same."""
    page = (DOCS / "simulate.md").read_text("utf-8")
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "shown.yaml").write_text(shown)
    (one,) = read_scenarios(tmp_path / "shown.yaml")
    (kept,) = read_scenarios(DOCS / "examples/scenarios/booking.yaml")
    assert one.steps == kept.steps
    assert one.tools == kept.tools


def test_what_is_not_as_expected_fails(tmp_path: Path) -> None:
    """Each check fails where it should, says what was instead, and the exit code and the report say so."""
    wrong = {
        "name": "wrong", "steps": [{"say": "When are you open?"}, {"hangUp": True}],
        "expect": {
            "said": ["good morning"], "notSaid": ["from six"], "lastSaid": "bye", "called": [{"tool": "book_table"}],
            "endReason": "agent", "outcome": "failed", "disposition": "busy", "success": False, "data": {"guests": 9},
            "events": ["voicemail"], "interruptions": 3, "duration": {"below": 1, "above": 900},
            "answeredIn": {"below": 1},
        },
    }  # fmt: skip
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    code, told = run("simulate", "talk", AGENT, tmp_path / "wrong.yaml", "--junit", tmp_path / "r.xml")
    assert code == 1
    faults = ET.parse(tmp_path / "r.xml").getroot().findtext("testcase/failure") or ""
    assert len(faults.splitlines()) == 14
    assert "the agent did not say 'good morning'" in faults
    assert "1 scenarios, 1 failed" in told
    assert "We are open from six" in told


def test_steps_are_done_at_their_times(tmp_path: Path) -> None:
    """Silence, typing, tools that fail and then do not, checks in the midst, and an end by the agent."""
    one = scenario(
        tmp_path,
        {"wait": 3.0}, {"type": "Book it"}, {"expect": {"called": [{"tool": "book", "args": {"n": 1}, "times": 1}]}},
        {"say": "Again please.", "lasts": 2.0}, {"expect": {"said": ["failed", "worked"], "notCalled": ["x"]}},
        engine={"replies": [{"tool": {"name": "book", "args": {"n": 1}}}, "It failed.",
                            {"tool": {"name": "book", "args": {"n": 2}}}, {"say": "It worked.", "then": "end_call"}]},
        tools={"book": [{"error": "no room"}, {"ok": True}]}, expect={"endReason": "agent", "interruptions": 0},
    )  # fmt: skip
    outcome = held({"greeting": None, "tools": [BOOK]}, one)
    assert outcome.faults == ()
    kinds = [event.kind for event in outcome.left.events]
    assert kinds.count("tool.failed") == 1
    assert kinds.count("tool.succeeded") == 2  # the second time, and end_call


def test_a_file_is_heard(tmp_path: Path) -> None:
    """A recording is played, with the pauses that are in it, and its words are understood once."""
    words = TRANSCRIPTS["libri_0880"]
    one = scenario(
        tmp_path, {"hear": str(AUDIO / "libri_0880.wav"), "words": words}, {"hangUp": True},
        engine={"replies": ["I see."]}, expect={"said": ["I see."]},
    )  # fmt: skip
    outcome = held({"greeting": None, "endpointing": {"silenceMs": 1500}}, one)
    assert outcome.faults == ()
    assert outcome.left.record is not None
    assert outcome.left.record.transcript[0].text == words


def test_it_is_the_same_each_time(tmp_path: Path) -> None:
    """Two runs of a scenario leave the same call, to the millisecond."""
    one = scenario(tmp_path, {"say": "When are you open?"}, {"cough": 0.2}, {"hangUp": True})
    agent = yaml.safe_load(AGENT.read_text("utf-8"))
    agent.pop("name")
    first, second = held(agent, one), held(agent, one)
    assert first.left.record is not None
    assert second.left.record is not None
    assert first.left.record.transcript == second.left.record.transcript
    assert [(event.kind, event.timestamp) for event in first.left.events] == [
        (event.kind, event.timestamp) for event in second.left.events
    ]


def test_what_cannot_happen_is_said(tmp_path: Path) -> None:
    """A step after the end, an interruption of nobody, and a call without an end are faults, not endless."""
    one = scenario(tmp_path, {"hangUp": True}, {"say": "Hello?"}, engine={"replies": ["x"]})
    assert held({"greeting": None}, one).faults == ("step 2 (say Hello?) did not happen: the call was over",)
    one = scenario(tmp_path, {"interrupt": "Stop."}, engine={"replies": ["x"]})
    agent = {"greeting": None, "silence": {"nudgeAfter": 600, "hangUpAfter": 600}}
    assert held(agent, one).faults == ("step 1 (interrupt Stop.): the agent said nothing to speak into",)
    one = scenario(tmp_path, {"wait": 100.0}, limit=10)
    assert "the call was cut after 10 s" in held({}, one).faults


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("steps: [", "neither YAML nor JSON"),
        ("- 1", "expected an object"),
        ("{steps: [{say: a, wait: 1}]}", r"\$\.steps\[0\] must do one thing"),
        ("{steps: [{}]}", r"\$\.steps\[0\] must do one thing"),
        ("{steps: [{sing: a}]}", "sing"),
        ("{name: x}", "steps"),
        ("{steps: [], expect: {sayd: [x]}}", "sayd"),
    ],
)
def test_a_wrong_file_is_refused(text: str, wrong: str, tmp_path: Path) -> None:
    """What is no scenario is refused before anything is held, with the place."""
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UsageError, match=wrong):
        read_scenarios(tmp_path / "s.yaml")


def test_nothing_to_read(tmp_path: Path) -> None:
    """An empty folder, and an agent that is wrong, are said to be so."""
    with pytest.raises(UsageError, match="no scenario"):
        read_scenarios(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_scenarios(tmp_path / "none.yaml")
    (tmp_path / "agent.json").write_text('{"greting": "x"}')
    (tmp_path / "s.yaml").write_text("{steps: [{hangUp: true}]}")
    with pytest.raises(UsageError, match="greting"):
        run("simulate", "talk", tmp_path / "agent.json", tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("{steps: [{hangUp: true}], engine: {replys: []}}")
    with pytest.raises(UsageError, match="replys"):
        run("simulate", "talk", AGENT, tmp_path / "s.yaml")
