"""Tools in whole calls, in virtual time: how long a turn waits, what comes later, and what is built in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import trio

from invorto.errors import NotSupported
from invorto.model.agent import AgentConfig, ToolDefinition
from invorto.model.call import EndReason
from invorto.realtime import protocol as p
from invorto.realtime import tools as in_calls
from invorto.speech.ports import Message, Prompt
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedLlm
from invorto.tools.equipment import Equipment
from invorto.tools.requests import ToolFailed
from invorto.tools.runner import Access, Outcome
from tests.realtime.stage import Stage, open_stage

BOOK = {"name": "book", "url": "https://api.example.com/book", "inputSchema": {"type": "object"}}


class Mind(ScriptedLlm):
    """Keeps what it is asked."""

    def __init__(self, **script: Any) -> None:
        super().__init__(Script.parse({"llmMs": 50, "ttsMs": 30, "heard": ["Please book a table."], **script}))
        self.asked: list[Prompt] = []

    def answer(self, prompt):
        self.asked.append(prompt)
        return super().answer(prompt)

    @property
    def last(self) -> list[Message]:
        return list(self.asked[-1].history)


@attrs.define
class Elsewhere:
    """Stands for what finds and runs tools: each takes *seconds* and answers, or fails."""

    seconds: float = 0.0
    fails: str | None = None
    says: bytes = b'{"booked":true}'
    slow: float = 0.0
    asked: list[tuple[str, Mapping[str, Any], str | None]] = attrs.field(factory=list)
    over: int = 0

    @property
    def runner(self) -> Elsewhere:
        return self

    async def equip(self, tenant_id: str, agent: AgentConfig) -> Equipment:
        await trio.sleep(self.slow)
        known = {tool.name: (tool,) for tool in agent.tools if isinstance(tool, ToolDefinition)}
        named = ToolDefinition(name="weather", url="https://api.example.com/w", description="The weather.")
        remote = ToolDefinition(name="crm__find", type="mcp", url="https://api.example.com/mcp", remote_name="find")
        return Equipment(known={**known, "weather": (named,), "crm": (remote,)}, access=Access(tenant_id=tenant_id))

    async def run(
        self, tool: ToolDefinition, args: Mapping[str, Any], access: Access, *, key: str | None
    ) -> Outcome:  # fmt: skip
        self.asked.append((tool.name, args, key))
        await trio.sleep(self.seconds)
        self.over += 1
        if self.fails is not None:
            raise ToolFailed(self.fails, 503)
        return Outcome(self.says, 200)


def calling(name: str = "book", **more: Any) -> list[Any]:
    """Make the replies of a mind that calls a tool, and says something afterwards."""
    return [{"tool": {"name": name, "args": more.pop("args", {})}}, "Let me see, one moment.", "It is booked."]


async def one_turn(stage: Stage, seconds: float = 3.0) -> None:
    await stage.line.speak(0.6)
    await stage.line.wait(seconds)


def kinds(stage: Stage) -> list[str]:
    return [kind for kind in stage.books.kinds() if kind.startswith("tool.")]


DOCUMENT: dict[str, Any] = {"greeting": None, "tools": [BOOK], "silence": {"nudgeAfter": 60}}


async def test_a_quick_tool_is_part_of_the_turn(autojump_clock) -> None:
    """Its answer is in the model's history when it speaks; the timeline and the webhook tell latency, status, hash."""
    elsewhere, mind = Elsewhere(0.5), Mind(replies=calling(args={"day": "Monday"}))
    async with open_stage(DOCUMENT, mind._script, llm=mind, equipping=elsewhere) as stage:
        await one_turn(stage)
    assert mind.last[-1] == Message(role="tool", text='{"booked":true}', tool_call_id="call_0")
    assert kinds(stage) == ["tool.requested", "tool.succeeded"]
    (told,) = (event.payload for event in stage.books.events if event.kind == "tool.succeeded")
    assert (told["latencyMs"], told["status"], len(told["hash"])) == (500, 200, 16)
    ((name, args, key),) = elsewhere.asked
    assert (name, args) == ("book", {"day": "Monday"})
    assert key is not None
    assert key.startswith("c_1-0-book-")
    (fact,) = (fact for fact in stage.books.facts if fact.type == "agent.tool_call")
    assert fact.data["succeeded"]


async def test_a_slow_tool_does_not_hold_the_turn_up(autojump_clock) -> None:
    """After 0.8 s the agent says so and goes on; the answer comes as news, in a turn of its own."""
    elsewhere, mind = Elsewhere(4.0), Mind(replies=calling())
    async with open_stage(DOCUMENT, mind._script, llm=mind, equipping=elsewhere) as stage:
        await stage.line.speak(0.6)
        asked_at = stage.now
        await stage.line.wait(3.0)
        first = stage.line.played[0][0] - stage.began
        assert first - asked_at < 0.8 + 0.5
        assert '"pending"' in mind.last[-1].text
        await stage.line.wait(4.0)
    assert mind.last[-1].role == "system"
    assert '{"booked":true}' in mind.last[-1].text
    assert stage.transcript()[1:] == [("assistant", "Let me see, one moment."), ("assistant", "It is booked.")]
    assert kinds(stage) == ["tool.requested", "tool.succeeded"]
    assert len(elsewhere.asked) == 1


async def test_a_tool_that_is_not_waited_for(autojump_clock) -> None:
    """One that does not block costs the turn nothing."""
    mind = Mind(replies=calling())
    document = DOCUMENT | {"tools": [{**BOOK, "blocking": False}]}
    async with open_stage(document, mind._script, llm=mind, equipping=Elsewhere(0.3)) as stage:
        await one_turn(stage, 5.0)
    assert '"pending"' in mind.asked[1].history[-1].text
    assert [message.role for message in mind.last[-2:]] == ["system", "assistant"]
    assert stage.transcript()[-1] == ("assistant", "It is booked.")


async def test_news_waits_for_the_floor(autojump_clock) -> None:
    """An answer that comes while the caller speaks is in the history of the answer to what they say."""
    mind = Mind(replies=calling(), heard=["Please book a table.", "And what are your prices?"])
    async with open_stage(DOCUMENT, mind._script, llm=mind, equipping=Elsewhere(3.4)) as stage:
        await one_turn(stage, 2.6)
        await stage.line.speak(1.5)
        await stage.line.wait(3.0)
    assert [message.role for message in mind.last[-2:]] in (["system", "user"], ["user", "system"])
    assert len(mind.asked) == 3


async def test_a_tool_that_fails_is_told_to_the_model(autojump_clock) -> None:
    """The call goes on: the model hears why, the timeline and the summary too."""
    mind = Mind(replies=calling())
    async with open_stage(DOCUMENT, mind._script, llm=mind, equipping=Elsewhere(0.1, fails="it is down")) as stage:
        await one_turn(stage)
    assert mind.last[-1].text == '{"error":"it is down"}'
    (told,) = (event.payload for event in stage.books.events if event.kind == "tool.failed")
    assert (told["error"], told["status"]) == ("it is down", 503)
    assert stage.record.reason is EndReason.HANGUP


@pytest.mark.parametrize("redact", [True, False])
async def test_numbers_of_cards_stay_out_of_the_model(redact: bool, autojump_clock) -> None:
    """What no conversation needs is taken out of answers, where redaction is on; a telephone number stays."""
    says = b'{"card":"4111 1111 1111 1111","phone":"+91 98765 43210","text":"pan ABCPK1234L"}'
    mind = Mind(replies=calling())
    document = DOCUMENT | {"redaction": {"enabled": redact}}
    async with open_stage(document, mind._script, llm=mind, equipping=Elsewhere(says=says)) as stage:
        await one_turn(stage)
    assert ("4111" in mind.last[-1].text) != redact
    assert ("ABCPK1234L" in mind.last[-1].text) != redact
    assert "98765" in mind.last[-1].text


async def test_a_call_that_ends_ends_its_tools(autojump_clock) -> None:
    """A tool that hangs does not hold the end of the call up."""
    elsewhere, mind = Elsewhere(1000.0), Mind(replies=calling())
    async with open_stage(DOCUMENT, mind._script, llm=mind, equipping=elsewhere) as stage:
        await one_turn(stage)
        ended = trio.current_time()
        stage.line.drop()
        await stage.over.wait()
        assert trio.current_time() - ended < 1
    assert elsewhere.over == 0


async def test_names_are_looked_up_while_the_call_begins(autojump_clock) -> None:
    """Nothing waits for the look-up; what it finds is offered from then on, servers' tools one by one."""
    mind = Mind(replies=["Yes.", "Yes."])
    document = {"greeting": None, "tools": ["weather", "crm", "nothing"], "silence": {"nudgeAfter": 60}}
    async with open_stage(document, mind._script, llm=mind, equipping=Elsewhere(slow=2.0)) as stage:
        await one_turn(stage, 2.0)
        await one_turn(stage, 2.0)
    assert [[tool["name"] for tool in asked.tools] for asked in mind.asked] == [
        ["end_call"],
        ["weather", "crm__find", "end_call"],
    ]


# -- built in -------------------------------------------------------------------------------------


async def test_built_in_tools_are_offered_where_they_make_sense(autojump_clock) -> None:
    """Transfer with targets, digits where named, voicemail with a message."""
    mind = Mind(replies=["Yes."])
    document = {
        "greeting": None, "transferTargets": ["+911234567890"], "tools": ["send_dtmf"],
        "voicemail": {"message": "Call us back."}, "endCall": {"tool": False},
    }  # fmt: skip
    async with open_stage(document, mind._script, llm=mind) as stage:
        await one_turn(stage)
    assert [tool["name"] for tool in mind.asked[0].tools] == [
        "transfer_call",
        "send_dtmf",
        "voicemail_message",
    ]


@pytest.mark.parametrize(
    ("name", "args", "does"),
    [
        ("transfer_call", {"to": "+911234567890"}, "transfer +911234567890 blind"),
        ("transfer_call", {"to": "+919999999999"}, "is not one of the agent's transferTargets"),
        ("transfer_call", {}, "'to' is a required property"),
        ("send_dtmf", {"digits": "1,2#"}, "digits 1,2#"),
        ("send_dtmf", {"digits": "xyz"}, "no such keys"),
        ("send_dtmf", {"digits": 5}, "do not fit"),
    ],
)
async def test_a_line_does_what_the_model_asks(
    name: str, args: dict[str, Any], does: str, autojump_clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transfers go to targets alone, digits are keys; what cannot be done is told to the model."""
    done: list[str] = []
    mind = Mind(replies=calling(name, args=args))
    document = DOCUMENT | {"transferTargets": ["+911234567890"], "tools": ["send_dtmf"]}
    async with open_stage(document, mind._script, llm=mind) as stage:

        async def transfer(to: str, mode: str) -> None:
            await trio.lowlevel.checkpoint()
            done.append(f"transfer {to} {mode}")

        async def send_digits(digits: str, method: str) -> None:
            await trio.lowlevel.checkpoint()
            done.append(f"digits {digits}")

        monkeypatch.setattr(type(stage.line), "transfer", lambda _, *args: transfer(*args))
        monkeypatch.setattr(type(stage.line), "send_digits", lambda _, *args: send_digits(*args))
        await one_turn(stage)
    assert does in (done or [mind.last[-1].text])[0]
    assert bool(done) == (mind.last[-1].text == '{"ok":true}')


async def test_a_line_that_cannot_transfer_says_so(autojump_clock) -> None:
    """A browser is not handed over: the client sees that it failed, the model is told."""
    mind = Mind(replies=calling("transfer_call", args={"to": "+911234567890"}))
    async with open_stage(DOCUMENT | {"transferTargets": ["*"]}, mind._script, llm=mind) as stage:
        await one_turn(stage)
    assert "error" in mind.last[-1].text
    assert [message.status for _, message in stage.line.of(p.TransferStatus)] == ["failed"]
    assert str(NotSupported("no")) in mind.last[-1].text


async def test_a_message_is_left_on_a_voicemail(autojump_clock) -> None:
    """The message is said as it stands, to its end, and the call is over for that reason."""
    mind = Mind(replies=[{"tool": {"name": "voicemail_message", "args": {}}}])
    document = {"greeting": None, "voicemail": {"message": "This is the clinic. Please call us back."}}
    async with open_stage(document, mind._script, llm=mind) as stage:
        await stage.line.speak(0.6)
        await stage.line.wait(6)
        await stage.over.wait()
    assert stage.transcript()[-1] == ("assistant", "This is the clinic. Please call us back.")
    assert stage.record.reason is EndReason.VOICEMAIL


async def test_tools_change_with_the_configuration(autojump_clock) -> None:
    """A client that brings other tools has them from the next turn on."""
    mind = Mind(replies=["Yes.", "Yes."])
    async with open_stage({"greeting": None}, mind._script, llm=mind, equipping=Elsewhere()) as stage:
        await one_turn(stage, 2.0)
        stage.line.say(p.ConfigChange(config={"tools": ["weather"]}))
        await one_turn(stage, 2.0)
    assert [len(asked.tools) for asked in mind.asked] == [1, 2]
    assert in_calls.BUDGET == 0.8
