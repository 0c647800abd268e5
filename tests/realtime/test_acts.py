"""What is done to a live call from outside, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from invorto.errors import Conflict, Forbidden, Invalid, NotFound, NotSupported
from invorto.realtime import acts
from invorto.realtime import protocol as p
from invorto.realtime.inbox import Inbox, Question
from invorto.realtime.turns import Interject
from tests.realtime.stage import Stage, open_stage

TALK: dict[str, Any] = {"heard": ["What do you have?"], "replies": ["Soup, and bread."]}


async def do(stage: Stage, act: acts.Act) -> acts.Done:
    """Do something to the call of a stage."""

    async def gone() -> None:
        await stage.house.live.wait_gone(stage.call.id)

    return await acts.act_on(stage.call, act, gone)


async def test_it_says_what_it_is_told(autojump_clock: MockClock) -> None:
    """What the agent is told to say is a turn of its own: spoken, told to the client, and in the transcript."""
    async with open_stage({"greeting": ""}, TALK) as stage:
        await trio.sleep(1)
        assert await do(stage, acts.Say(text="We close at nine.")) == {"status": "speaking", "turn": 0}
        assert await do(stage, acts.Say(text="Good evening.")) == {"status": "queued", "turn": None}
        await trio.sleep(8)
        assert [said.heard for _, said in stage.line.of(p.TtsDone)] == ["We close at nine.", "Good evening."]
        for _ in range(acts.MOST_TO_SAY + 1):
            await do(stage, acts.Say(text="And on, and on, and on."))
        with pytest.raises(Conflict):
            await do(stage, acts.Say(text="More."))
    assert [text for _, text in stage.transcript()][:2] == ["We close at nine.", "Good evening."]


async def test_it_heeds_a_whisper(autojump_clock: MockClock) -> None:
    """A whisper reaches the model before the caller's next words, is done with when it has been answered, unheard."""
    async with open_stage({"greeting": ""}, TALK) as stage:
        await trio.sleep(1)
        assert (await do(stage, acts.Whisper(text="The soup is out.")))["status"] == "whispered"
        history = stage.call.conversation.transcript.history()
        assert [(one.role, one.text) for one in history] == [("system", "The soup is out.")]
        await stage.line.speak(1.0)
        await stage.line.wait(6.0)
        assert stage.call.conversation.transcript.whispers == 0
    assert stage.transcript() == [("user", "What do you have?"), ("assistant", "Soup, and bread.")]
    assert "agent.whispered" in stage.books.kinds()


async def test_it_is_put_on_hold(autojump_clock: MockClock) -> None:
    """On hold there is music, the caller is not heard, and the conversation goes on where it was."""
    async with open_stage({"greeting": ""}, TALK) as stage:
        await trio.sleep(1)
        assert await do(stage, acts.Hold()) == {"status": "held"}
        await stage.line.speak(1.0)
        await stage.line.wait(1.0)
        played = sum(size for _, _, size in stage.line.played) / stage.line.rate
        assert 1.9 <= played <= 2.4
        assert await do(stage, acts.Hold()) == {"status": "held"}
        assert await do(stage, acts.Say(text="Back again.")) == {"status": "queued", "turn": None}
        assert (await do(stage, acts.Stats()))["held"] is True
        assert await do(stage, acts.Hold(on=False)) == {"status": "active"}
        before = len(stage.line.played)
        await trio.sleep(5)
        assert [said.heard for _, said in stage.line.of(p.TtsDone)] == ["Back again."]
        assert await do(stage, acts.Hold(play="silence")) == {"status": "held"}
        after = len(stage.line.played)
        await trio.sleep(3)
        assert before < after == len(stage.line.played)
    assert stage.transcript() == [("assistant", "Back again.")]
    assert stage.books.kinds().count("call.paused") == 2
    assert stage.books.kinds().count("call.resumed") == 1


async def test_what_a_web_call_cannot(autojump_clock: MockClock) -> None:
    """Digits and transfers are refused by a far end that has no such thing; so is a target that is not the agent's."""
    async with open_stage({"greeting": "", "transferTargets": ["+91*"]}) as stage:
        await trio.sleep(1)
        with pytest.raises(NotSupported):
            await do(stage, acts.Dtmf(digits="12#"))
        with pytest.raises(NotSupported):
            await do(stage, acts.Transfer(to="+919876543210"))
        with pytest.raises(Forbidden):
            await do(stage, acts.Transfer(to="+4912345"))
        with pytest.raises(NotSupported):
            await do(stage, acts.RecordingControl(action="start"))  # this stage has no place for it


async def test_it_ends(autojump_clock: MockClock) -> None:
    """An end is answered when nothing is left of the call, and its record is written."""
    async with open_stage({"greeting": ""}) as stage:
        await trio.sleep(1)
        assert await do(stage, acts.End()) == {"status": "ended"}
        assert stage.record.reason == "api"
        with pytest.raises(Conflict):
            await do(stage, acts.Say(text="Too late."))
    async with open_stage({"greeting": ""}) as stage:
        await trio.sleep(1)
        assert await do(stage, acts.End(goodbye=True, reason="canceled")) == {"status": "ending"}
        await stage.over.wait()
    assert (stage.record.reason, stage.record.status) == ("canceled", "canceled")
    assert stage.transcript() == [("assistant", "Goodbye.")]


async def test_an_act_that_is_given_up_does_not_happen(autojump_clock: MockClock) -> None:
    """Whoever stops waiting before the conversation has come to it has asked for nothing; so has whoever is late."""
    async with Inbox() as inbox:
        with trio.move_on_after(1):
            await inbox.ask(Interject("Never."))
        question = await inbox.receive()
        assert isinstance(question, Question)
        assert question.withdrawn
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_refused, inbox)
            await trio.sleep(1)
            await inbox.__aexit__(None, None, None)
    await _refused(inbox)


async def _refused(inbox: Inbox) -> None:
    with pytest.raises(Conflict):
        await inbox.ask(Interject("Too late."))


async def test_acts_travel() -> None:
    """What is written of an act is read back as it was; what is unknown or wrong is refused."""
    for act in (acts.Say(text="Hi", urgent=True), acts.End(reason="error"), acts.Hold(on=False), acts.Stats()):
        assert acts.read_act(*acts.write_act(act)) == act
    with pytest.raises(NotFound):
        acts.read_act("dance", {})
    with pytest.raises(Invalid):
        acts.read_act("say", {"text": 5})
    await trio.lowlevel.checkpoint()
