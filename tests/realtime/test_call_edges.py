"""Calls at their edges: engines that hang as they open, last words, tools that outlive their turn, lines that lie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from invorto.errors import ProviderFailed
from invorto.model.agent import TtsSettings
from invorto.model.call import EndReason
from invorto.realtime import protocol as p
from invorto.realtime import turns as t
from invorto.realtime.inbox import MOST, News
from invorto.realtime.playout import Playout
from invorto.speech.ports import Partial, Prompt, Speech, Thought
from tests.realtime.stage import open_stage
from tests.realtime.test_call import BOOK, TABLE
from tests.realtime.test_playout import RATE, run, tone


class Engine:
    """A mind and a voice that hang while they are opened, or fail there."""

    name = "hung"
    version = "1"

    def __init__(self, failure: bool = False) -> None:
        self.failure = failure

    async def _open(self, stage: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure:
            raise ProviderFailed("hung", stage, "down")
        await trio.sleep_forever()

    @asynccontextmanager
    async def answer(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        """Never."""
        await self._open("llm")
        raise AssertionError("unreachable")
        yield

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Never."""
        await self._open("tts")
        raise AssertionError("unreachable")
        yield


async def test_a_mind_that_never_opens_is_given_up(autojump_clock: MockClock) -> None:
    """An engine that hangs while it is opened is told of like one that hangs while it answers."""
    async with open_stage({"greeting": None}, TABLE, llm=Engine()) as stage:
        stage.line.say(p.Text("hello"))
        await trio.sleep(12)
        assert [error.code for _, error in stage.line.of(p.ErrorMessage)] == ["provider_failed"]
        assert stage.line.played


async def test_a_voice_that_never_opens_is_given_up(autojump_clock: MockClock) -> None:
    """The same for the voice: the client learns it, the call goes on."""
    async with open_stage({"greeting": "Hello."}, TABLE, tts=Engine()) as stage:
        await trio.sleep(12)
        assert [error.code for _, error in stage.line.of(p.ErrorMessage)] == ["provider_failed"]


async def test_one_turn_without_any_engine_ends_nothing(autojump_clock: MockClock) -> None:
    """Where mind and voice fail together there is no apology either, and the call lives until the third time."""
    engine = Engine(failure=True)
    async with open_stage({"greeting": None}, TABLE, llm=engine, tts=engine) as stage:
        for alive in (True, True, False):
            stage.line.say(p.Text("hello"))
            await trio.sleep(1)
            assert stage.over.is_set() is not alive
    assert stage.record.reason is EndReason.ERROR


async def test_last_words_are_kept(autojump_clock: MockClock) -> None:
    """What the caller says just before hanging up is on the transcript, answered or not."""
    async with open_stage({"greeting": None}, {**TABLE, "sttMs": 20}) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.16)
        assert stage.line.of(p.SttFinal)
        stage.line.drop()
        await stage.over.wait()
    assert stage.transcript() == [("user", "I want a table.")]
    assert stage.record.transcript[0].ended == pytest.approx(1.0, abs=0.05)


async def test_words_cut_by_a_goodbye_are_kept(autojump_clock: MockClock) -> None:
    """The longest call ends while somebody speaks: both what was said and the goodbye are on the transcript."""
    async with open_stage({"greeting": None, "maxDuration": 3}, TABLE) as stage:
        await stage.line.wait(2.5)
        await stage.line.speak(1.0)
        await stage.over.wait()
    assert [role for role, _ in stage.transcript()] == ["user", "assistant"]
    assert stage.record.reason is EndReason.TIMEOUT


async def test_typed_words_carry_their_time(autojump_clock: MockClock) -> None:
    """What is typed has the time at which it came."""
    async with open_stage({"greeting": None}, {**TABLE, "replies": ["Fine."]}) as stage:
        await trio.sleep(5)
        stage.line.say(p.Text("hello there"))
        await trio.sleep(5)
        stage.line.say(p.Text("hello again"))
        await trio.sleep(3)
    assert [round(u.began) for u in stage.record.transcript if u.role == "user"] == [5, 10]


async def test_a_cough_does_not_run_a_tool_again(autojump_clock: MockClock) -> None:
    """While a tool is at work only a word that counts takes the floor, and the tool's answer is known either way."""
    script = {**TABLE, "heard": ["I want a table.", ""], "replies": [{"tool": {"name": "book"}}, "Booked."]}
    async with open_stage({"greeting": None, "tools": [BOOK]}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.6)
        ((_, call),) = stage.line.of(p.ToolCallMessage)
        await stage.line.speak(0.2)
        await stage.line.wait(0.3)
        place = next(n for n, (_, message) in enumerate(stage.line.told) if message is call)
        stage.line.say(p.ToolResult(id=stage.line.ids[place], result={"ok": True}))
        await stage.line.wait(3.0)
        assert len(stage.line.of(p.ToolCallMessage)) == 1
        assert not stage.line.of(p.ErrorMessage)
    assert stage.transcript()[-1] == ("assistant", "Booked.")


async def test_a_word_takes_the_floor_from_a_tool(autojump_clock: MockClock) -> None:
    """Interrupted by words, the turn is over; the tool runs to its end and the model learns what it did."""
    script = {
        **TABLE,
        "heard": ["I want a table.", "stop it please"],
        "replies": [{"tool": {"name": "book"}}, "Sorry."],
    }
    async with open_stage({"greeting": None, "tools": [BOOK]}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.6)
        ((_, call),) = stage.line.of(p.ToolCallMessage)
        await stage.line.speak(0.8)
        place = next(n for n, (_, message) in enumerate(stage.line.told) if message is call)
        stage.line.say(p.ToolResult(id=stage.line.ids[place], result={"ok": True}))
        await stage.line.wait(2.0)
        history = stage.call.conversation.transcript.history()
    roles = [message.role for message in history]
    assert roles[:3] == ["user", "assistant", "tool"]
    assert history[2].text == '{"ok":true}'
    assert ("user", "stop it please") in stage.transcript()


async def test_phrases_are_words(autojump_clock: MockClock) -> None:
    """Whoever says "byelaws" has not said goodbye."""
    script = {**TABLE, "heard": ["What do the byelaws say?"]}
    async with open_stage({"greeting": None, "endCall": {"phrases": ["bye"]}}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(6.0)
        assert not stage.over.is_set()


async def test_who_never_begins_is_not_kept_for_ever(autojump_clock: MockClock) -> None:
    """A client that only connects holds its seat no longer than the longest call."""
    async with open_stage({"greeting": None, "maxDuration": 3}, TABLE, start=p.Pause()) as stage:
        with trio.fail_after(3.1):
            await stage.over.wait()
    assert stage.record.reason is EndReason.TIMEOUT


async def test_silence_in_every_sense(autojump_clock: MockClock) -> None:
    """Greetings, nudges and answers without a sound keep nobody waiting for ever."""
    agent = {"greeting": " ", "silence": {"nudge": " ", "nudgeAfter": 1, "hangUpAfter": 4}, "endCall": {"goodbye": "…"}}
    async with open_stage(agent, {**TABLE, "replies": ["", "   ", "..."]}) as stage:
        for _ in range(3):
            stage.line.say(p.Text("hi"))
            await trio.sleep(0.5)
        with trio.fail_after(20):
            await stage.over.wait()
    assert stage.record.reason is EndReason.SILENCE


def test_a_sentence_that_is_still_coming_is_not_all_heard() -> None:
    """Of ten words whose first second has come, nine tenths of a second are not nine words."""
    playout = Playout(RATE, 0.2)
    playout.begin_sentence("one two three four five six seven eight nine ten")
    playout.add(tone(1.0))
    run(playout, 0.0, 0.9)
    playout.hush(0.9)
    assert 1 <= len(playout.heard(0.9).split()) <= 4


def test_a_late_echo_moves_nothing_back() -> None:
    """What was believed to be played has been let go of: an echo that comes too late does not bring it back."""
    playout = Playout(RATE, 0.2)
    for n in range(3):
        playout.begin_sentence(f"Sentence {n}.")
        playout.add(tone(1.0))
        playout.end_sentence()
    playout.close()
    playout.await_mark(0)
    run(playout, 0.0, 2.5)
    assert playout.played(2.5) > 8000
    playout.marked(0, 2.5)
    assert playout.hush(2.6) > 16000
    playout.resume()
    assert playout.take(2.7) is not None


@pytest.mark.parametrize(
    ("event", "reason"),
    [(t.Typed("and"), EndReason.ERROR), (Partial("and"), EndReason.HANGUP), (None, EndReason.HANGUP)],
    ids=["words", "partial words", "nothing"],
)
async def test_who_does_not_keep_up_ends(event: News, reason: EndReason, autojump_clock: MockClock) -> None:
    """A call that lost what was said to it ends as failed; what is said again soon, or says nothing, may be lost."""
    async with open_stage({"greeting": None}, TABLE) as stage:
        await stage.line.wait(0.1)
        for _ in range(MOST + 2):
            stage.call.conversation.post(event)
        await stage.line.wait(0.5)
    assert stage.record.reason is reason


async def test_a_change_that_bursts_a_text_is_refused(autojump_clock: MockClock) -> None:
    """A client whose variables make its new prompt too long is told so, and its call goes on."""
    start = p.Start(variables={"who": "x" * 16_000})
    async with open_stage({"greeting": None}, TABLE, start=start) as stage:
        stage.line.say(p.ConfigChange({"prompt": "{{who}}" * 9_000}))
        await stage.line.speak(1.0)
        await stage.line.wait(1.0)
        assert [(error.code, error.fatal) for _, error in stage.line.of(p.ErrorMessage)] == [("bad_message", False)]
        assert stage.line.played
    assert stage.record.reason is EndReason.HANGUP
