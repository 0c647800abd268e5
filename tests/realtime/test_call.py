"""Whole calls in virtual time: what the caller hears and when, and what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from invorto.errors import LimitReached, ProviderFailed, StoreUnavailable, Unavailable
from invorto.model.agent import TtsSettings
from invorto.model.call import CallStatus, EndReason
from invorto.realtime import protocol as p
from invorto.realtime.call import run_call
from invorto.realtime.livecall import LiveCall
from invorto.speech.ports import EngineFailed, Speech
from invorto.speech.script import Script
from invorto.speech.scripted import ScriptedTts
from tests.realtime.stage import MemoryLine, open_house, open_stage, ticket

TABLE: dict[str, Any] = {
    "sttMs": 100, "llmMs": 50, "ttsMs": 30,
    "heard": ["I want a table.", "stop it please", "for two people."],
    "replies": ["Sure, for how many people would you like it to be then?", "All right.", "Two it is."],
}  # fmt: skip
BOOK: dict[str, Any] = {
    "name": "book", "description": "Books.", "inputSchema": {"type": "object"}, "timeoutMs": 2000,
}  # fmt: skip


async def test_a_question_is_answered(autojump_clock: MockClock) -> None:
    """220 ms after a complete sentence ends, or when its words are there, plus 50 and 30 for the engines: audio."""
    async with open_stage({"greeting": None}, TABLE) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.0)
        first = next(at for at, turn, _ in stage.line.played if turn == 0)
        (metrics,) = stage.metrics
    assert first == pytest.approx(1.0 + 0.1 + 0.1 + 0.05 + 0.03, abs=0.021)
    assert metrics.voice_to_voice_ms == pytest.approx(280, abs=21)
    assert stage.transcript()[0] == ("user", "I want a table.")


async def test_audio_comes_in_real_time(autojump_clock: MockClock) -> None:
    """At most 200 ms are sent ahead of what plays, however quick the engines are."""
    async with open_stage({"greeting": "One two three four five six seven eight nine ten."}, TABLE) as stage:
        await stage.line.wait(4.0)
    begun = stage.line.played[0][0]
    sent = 0
    for at, _, samples in stage.line.played:
        sent += samples
        assert sent / 8000 <= at - begun + 0.2 + 1e-6


async def test_interruption_cuts_speech_and_memory(autojump_clock: MockClock) -> None:
    """The far end is cleared as speech of 64 ms is known, the model remembers what was heard, and answers the rest."""
    async with open_stage({"greeting": None}, TABLE) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.4)
        spoke_at = stage.now
        await stage.line.speak(1.0)
        await stage.line.wait(2.0)
        (cleared,) = stage.line.clears
        ((_, bargein),) = stage.line.of(p.BargeIn)
    assert cleared - spoke_at == pytest.approx(0.08, abs=0.021)
    assert bargein.played_ms == pytest.approx((cleared - 1.28) * 1000, abs=25)
    interrupted = stage.record.transcript[1]
    assert interrupted.interrupted
    assert interrupted.text == "Sure, for how many"
    assert interrupted.unheard == "people would you like it to be then?"
    assert interrupted.heard_by == "timed"
    assert [text for _, text in stage.transcript()][2:] == ["stop it please", "All right."]
    assert "bargein.detected" in stage.books.kinds()
    assert not any(at > cleared and turn == 0 for at, turn, _ in stage.line.played)


async def test_a_backchannel_only_pauses_the_agent(autojump_clock: MockClock) -> None:
    """After "mm-hm" the agent goes on with the very samples that were not heard."""
    script = {**TABLE, "heard": ["I want a table.", "mm-hm"]}
    async with open_stage({"greeting": None}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.4)
        await stage.line.speak(0.3)
        await stage.line.wait(5.0)
        ((resumed_at, resumed),) = stage.line.of(p.ControlResume)
        ((_, bargein),) = stage.line.of(p.BargeIn)
    assert resumed.from_ms == bargein.played_ms
    assert resumed_at - stage.line.clears[0] <= 0.5
    assert stage.transcript() == [("user", "I want a table."), ("assistant", TABLE["replies"][0])]
    spoken = sum(samples for _, turn, samples in stage.line.played if turn == 0)
    assert spoken / 8000 == pytest.approx(12 * 0.3 + 0.2, abs=0.1)  # what was ahead at the hush was sent again


async def test_silence_is_nudged_and_ends(autojump_clock: MockClock) -> None:
    """Twelve seconds of nothing bring a question, sixty a goodbye, and the call ends as `silence`."""
    async with open_stage({"greeting": "Hello."}, TABLE) as stage:
        with trio.fail_after(80):
            await stage.over.wait()
    assert stage.record.reason is EndReason.SILENCE
    assert [text for _, text in stage.transcript()] == ["Hello.", "Are you still there?", "Goodbye."]
    assert stage.now == pytest.approx(0.33 + 60 + 0.33, abs=1.0)
    assert stage.line.of(p.Ended)[0][1].reason == "silence"
    assert stage.line.closed == (1000, "")


async def test_the_agent_hangs_up(autojump_clock: MockClock) -> None:
    """`end_call` after a goodbye of the model's own ends the call when it has been played, and says no second one."""
    script = {**TABLE, "replies": [{"say": "Bye bye.", "then": "end_call"}]}
    async with open_stage({"greeting": None}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.3)
        await stage.over.wait()
    assert stage.record.reason is EndReason.AGENT
    assert stage.record.status is CallStatus.COMPLETED
    assert stage.transcript()[-1] == ("assistant", "Bye bye.")
    last_audio = stage.line.played[-1][0]
    assert stage.line.of(p.Ended)[0][0] >= last_audio + 0.1


async def test_phrases_end_the_call(autojump_clock: MockClock) -> None:
    """A caller who says one of the agent's phrases hears the goodbye, and the call ends."""
    script = {**TABLE, "heard": ["That is all, thank you."]}
    async with open_stage(
        {"greeting": None, "endCall": {"phrases": ["that is all"], "goodbye": "Take care."}}, script
    ) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.3)
        await stage.over.wait()
    assert stage.record.reason is EndReason.AGENT
    assert stage.transcript()[-1] == ("assistant", "Take care.")


@pytest.mark.parametrize(
    ("answers", "reason", "granted"),
    [
        (["Yes, go ahead."], EndReason.HANGUP, True),
        (["No."], EndReason.CONSENT_DECLINED, False),
        (["Which one?", "Sure."], EndReason.HANGUP, True),
        (["Which one?", "What?"], EndReason.CONSENT_DECLINED, False),
    ],
)
async def test_consent_comes_first(
    answers: list[str], reason: EndReason, granted: bool, autojump_clock: MockClock
) -> None:
    """Nobody is greeted who has not agreed; what was asked, answered and when is kept."""
    agent = {"consent": {"prompt": "May I record this?"}, "greeting": "Welcome."}
    async with open_stage(agent, {**TABLE, "heard": answers}) as stage:
        await stage.line.wait(2.0)
        for _ in answers:
            await stage.line.speak(0.5)
            await stage.line.wait(3.0)
        if reason is EndReason.HANGUP:
            stage.line.say(p.End())
        await stage.over.wait()
    assert stage.record.reason is reason
    assert stage.record.consent is not None
    assert stage.record.consent["granted"] is granted
    assert stage.record.consent["prompt"] == "May I record this?"
    assert ("assistant", "Welcome.") in stage.transcript() or not granted


async def test_consent_cannot_be_talked_over(autojump_clock: MockClock) -> None:
    """The prompt is played whole, and what was said over it counts as its answer."""
    prompt = "May I record this call for training purposes please?"
    agent = {"consent": {"prompt": prompt}, "greeting": "Welcome."}
    async with open_stage(agent, {**TABLE, "heard": ["Yes."]}) as stage:
        await stage.line.wait(0.5)
        await stage.line.speak(0.5)
        await stage.line.wait(5.0)
    assert not stage.line.clears
    assert [text for _, text in stage.transcript()] == [prompt, "Yes.", "Welcome."]


async def test_a_client_runs_tools(autojump_clock: MockClock) -> None:
    """The client is asked, its answer goes to the model, and the agent says what the model makes of it."""
    script = {**TABLE, "replies": [{"tool": {"name": "book", "args": {"at": "seven"}}}, "Booked."]}
    async with open_stage({"greeting": None, "tools": [BOOK]}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.5)
        ((_, call),) = stage.line.of(p.ToolCallMessage)
        assert (call.name, dict(call.args)) == ("book", {"at": "seven"})
        place = next(n for n, (_, message) in enumerate(stage.line.told) if message is call)
        stage.line.say(p.ToolResult(id=stage.line.ids[place], result={"number": 7}))
        await stage.line.wait(1.0)
    kinds = stage.books.kinds()
    assert "tool.requested" in kinds
    assert "tool.succeeded" in kinds
    (fact,) = [fact for fact in stage.books.facts if fact.type == "agent.tool_call"]
    assert (fact.data["name"], fact.data["args"], fact.data["succeeded"]) == ("book", {"at": "seven"}, True)


async def test_a_tool_that_does_not_answer_is_told_to_the_model(autojump_clock: MockClock) -> None:
    """After its time the model learns that the tool failed, and the conversation goes on."""
    script = {**TABLE, "replies": [{"tool": {"name": "book", "args": {}}}, "Sorry about that."]}
    async with open_stage({"greeting": None, "tools": [BOOK]}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(4.0)
        stage.line.say(p.ToolResult(id="1-1", result=1))
        await stage.line.wait(0.1)
        errors = [message for _, message in stage.line.of(p.ErrorMessage)]
    assert "tool.failed" in stage.books.kinds()
    assert errors[0].code == "bad_message"


async def test_pause_holds_everything(autojump_clock: MockClock) -> None:
    """Paused, the agent neither speaks nor hears; then it goes on where it was."""
    async with open_stage({"greeting": "One two three four five six seven eight."}, TABLE) as stage:
        await stage.line.wait(1.0)
        stage.line.say(p.Pause())
        await stage.line.speak(5.0)
        silent = [at for at, _, _ in stage.line.played if at > 1.05]
        stage.line.say(p.Resume())
        await stage.line.wait(3.0)
    assert not silent
    assert stage.transcript() == [("assistant", "One two three four five six seven eight.")]
    assert {"call.paused", "call.resumed"} <= set(stage.books.kinds())


async def test_typed_text_is_answered(autojump_clock: MockClock) -> None:
    """What is typed is answered at once, in the midst of the greeting."""
    async with open_stage({"greeting": "One two three four five six seven eight."}, TABLE) as stage:
        await stage.line.wait(0.5)
        stage.line.say(p.Text("Book me a table"))
        await stage.line.wait(1.0)
    assert stage.transcript()[1] == ("user", "Book me a table")
    assert stage.record.transcript[0].interrupted


async def test_configuration_changes_from_the_next_turn_on(autojump_clock: MockClock) -> None:
    """`config` changes what may change in a call, names what may not, and is on the timeline."""
    async with open_stage({"greeting": None}, TABLE) as stage:
        stage.line.say(p.ConfigChange({"endpointing": {"silenceMs": 1000}}))
        stage.line.say(p.ConfigChange({"greeting": "no"}))
        stage.line.say(p.ConfigChange({"endpointing": {"waitFunction": "import os"}}))
        await stage.line.speak(1.0)
        await stage.line.wait(0.7)
        assert not stage.line.played
        await stage.line.wait(0.5)
        assert stage.line.played
        errors = [message for _, message in stage.line.of(p.ErrorMessage)]
    assert [error.code for error in errors] == ["bad_message", "bad_message"]
    assert "$.greeting" in errors[0].message
    assert stage.books.kinds().count("config.updated") == 1


async def test_variables_of_the_start_fill_the_greeting(autojump_clock: MockClock) -> None:
    """What the client brings with `start` is in the first words."""
    async with open_stage({"greeting": "Hello {{name}}."}, TABLE, start=p.Start(variables={"name": "Asha"})) as stage:
        await stage.line.wait(1.0)
    assert stage.transcript() == [("assistant", "Hello Asha.")]


async def test_transfers_go_where_the_agent_may(autojump_clock: MockClock) -> None:
    """Elsewhere is `forbidden`; where the line cannot, `not_supported`, and the client hears that it failed."""
    async with open_stage({"greeting": None, "transferTargets": ["+91 22 *"]}, TABLE) as stage:
        stage.line.say(p.Transfer(to="+1 900 555"))
        stage.line.say(p.Transfer(to="+912255", mode="attended"))
        stage.line.say(p.DtmfSend(digits="12#"))
        await stage.line.wait(0.1)
        codes = [message.code for _, message in stage.line.of(p.ErrorMessage)]
        ((_, status),) = stage.line.of(p.TransferStatus)
    assert codes == ["forbidden", "not_supported", "not_supported"]
    assert status == p.TransferStatus(to="+912255", mode="attended", status="failed")


async def test_a_second_client_takes_over(autojump_clock: MockClock) -> None:
    """The same caller on a new socket goes on with the conversation; the old socket closes 4001."""
    async with open_stage({"greeting": "One two three four five six seven eight nine ten."}, TABLE) as stage:
        await stage.line.wait(0.5)
        other = MemoryLine()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(stage.call.serve, other))
            await trio.sleep(0.5)
            assert stage.line.closed == (4001, "replaced")
            assert other.played
            await other.speak(1.0)
            await other.wait(1.0)
            other.say(p.End())
            await stage.over.wait()
    assert ("user", "I want a table.") in stage.transcript()


async def test_others_may_listen(autojump_clock: MockClock) -> None:
    """A listening line gets audio and events, is not heard, and leaves without ending the call."""
    async with open_stage({"greeting": None}, TABLE) as stage:
        other = MemoryLine()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(stage.call.serve, other, listening=True))
            await trio.sleep(0.1)
            await other.speak(1.0)
            await stage.line.speak(1.0)
            await stage.line.wait(1.0)
            assert other.played == stage.line.played != []
            other.say(p.Start())
            other.say(p.End())
            await trio.sleep(0.1)
            assert [error.code for _, error in other.of(p.ErrorMessage)] == ["forbidden"]
            other.drop()
            await trio.sleep(0.1)
            assert not stage.over.is_set()
    assert stage.transcript()[0][1] == "I want a table."


async def test_a_failing_model_is_apologised_for(autojump_clock: MockClock) -> None:
    """The caller hears that there is trouble, the client an `error`, and the next question is answered."""
    script = {**TABLE, "replies": [{"fail": "quota"}]}
    async with open_stage({"greeting": None}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(4.0)
        (error,) = [message for _, message in stage.line.of(p.ErrorMessage)]
    assert (error.code, error.fatal) == ("provider_failed", False)
    assert "Sorry" in stage.transcript()[1][1]
    assert stage.record.status is CallStatus.COMPLETED


async def test_a_model_that_fails_for_good_ends_the_call(autojump_clock: MockClock) -> None:
    """Three turns in a row, and the call is over as `error`."""
    script = {**TABLE, "replies": [{"fail": "quota"}]}
    async with open_stage({"greeting": None}, script) as stage:
        for _ in range(3):
            await stage.line.speak(1.0)
            await stage.line.wait(4.0)
        await stage.over.wait()
    assert stage.record.reason is EndReason.ERROR
    assert stage.record.status is CallStatus.FAILED


async def test_a_model_that_stalls_is_given_up(autojump_clock: MockClock) -> None:
    """Nothing for ten seconds counts as failing."""
    script = {**TABLE, "replies": [{"say": "Well,", "stall": True}]}
    async with open_stage({"greeting": None}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(13.0)
        codes = [message.code for _, message in stage.line.of(p.ErrorMessage)]
    assert codes == ["provider_failed"]


async def test_an_answer_nobody_heard_is_not_remembered(autojump_clock: MockClock) -> None:
    """Thrown away before its first sound, an answer leaves no trace: the next one is made from the same memory."""
    script = {**TABLE, "ttsMs": 800, "heard": ["I want a table.", "for two."], "replies": ["First.", "Second."]}
    async with open_stage({"greeting": None}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(0.6)
        await stage.line.speak(0.5)
        await stage.line.wait(2.0)
    assert [text for _, text in stage.transcript()] == ["I want a table.", "for two.", "First."]


class CountingTts(ScriptedTts):
    """A voice that notes what it is asked to say."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.said: list[str] = []

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Say it, and note it."""
        self.said.append(text.strip())
        async with super().say(text, settings, rate) as speech:
            yield speech


async def test_an_interrupted_answer_is_made_no_further(autojump_clock: MockClock) -> None:
    """Sentences that were not begun when the caller took the floor are never spoken, not even to nobody."""
    long = "This is the first of several sentences that are said. " * 8
    tts = CountingTts(Script.parse({**TABLE, "rate": 1}))
    async with open_stage({"greeting": None}, {**TABLE, "replies": [long, "All right."]}, tts=tts) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.5)
        await stage.line.speak(1.0)
        before = len(tts.said)
        await stage.line.wait(8.0)
    assert 0 < before < 8
    assert tts.said[before:] == ["All right."]


async def test_hanging_up_waits_for_no_engine(autojump_clock: MockClock) -> None:
    """A caller who leaves while the model is thinking leaves at once, and the record is written."""
    script = {**TABLE, "replies": [{"say": "Well,", "stall": True}]}
    async with open_stage({"greeting": None}, script) as stage:
        await stage.line.speak(1.0)
        await stage.line.wait(1.0)
        stage.line.say(p.End())
        with trio.fail_after(0.1):
            await stage.over.wait()
    assert stage.record.reason is EndReason.HANGUP


class BrokenTts:
    """A voice that fails, or never says a word."""

    name = "broken"
    version = "1"

    def __init__(self, stall: bool) -> None:
        self.stall = stall

    @asynccontextmanager
    async def say(self, text: str, settings: TtsSettings, rate: int) -> AsyncIterator[AsyncIterator[Speech]]:
        """Fail."""
        if self.stall:
            await trio.sleep_forever()
        raise ProviderFailed("broken", "tts", "no voice")
        yield


async def test_a_broken_voice_ends_the_call(autojump_clock: MockClock) -> None:
    """An agent that cannot speak gives up after three tries; the record says so."""
    async with open_stage({"greeting": "Hello."}, TABLE, tts=BrokenTts(stall=False)) as stage:
        for _ in range(3):
            await stage.line.speak(1.0)
            await stage.line.wait(2.0)
        await stage.over.wait()
    assert stage.record.reason is EndReason.ERROR


async def test_a_broken_ear_ends_the_call(autojump_clock: MockClock) -> None:
    """A transcriber that is gone ends the call as `error`, and nothing else."""
    async with open_stage({"greeting": None}, TABLE) as stage:
        stage.call.conversation.post(EngineFailed("x", "stt", "gone"))
        await stage.over.wait()
    assert stage.record.reason is EndReason.ERROR


async def test_leaving_says_goodbye(autojump_clock: MockClock) -> None:
    """Asked to leave, the agent says goodbye within five seconds, whoever is speaking."""
    async with open_stage({"greeting": "One two three four five six seven eight nine ten."}, TABLE) as stage:
        await stage.line.wait(0.5)
        stage.house.live.leave(EndReason.DRAINED)
        with trio.fail_after(5):
            await stage.over.wait()
    assert stage.record.reason is EndReason.DRAINED
    assert stage.transcript()[-1] == ("assistant", "Goodbye.")
    assert stage.line.closed == (1000, "")


async def test_the_longest_call_ends(autojump_clock: MockClock) -> None:
    """At `maxDuration` the agent says goodbye: `timeout`."""
    async with open_stage({"greeting": "Hello.", "maxDuration": 5}, TABLE) as stage:
        await stage.over.wait()
    assert stage.record.reason is EndReason.TIMEOUT
    assert stage.now == pytest.approx(5.4, abs=0.2)


async def test_who_never_starts_leaves_a_record(autojump_clock: MockClock) -> None:
    """A client that leaves before it has begun leaves a completed call without words."""
    async with open_house(TABLE) as (house, books), trio.open_nursery() as nursery:
        line = MemoryLine()
        call: LiveCall = await nursery.start(partial(run_call, ticket(), house))
        line.drop()
        await call.serve(line)
    assert books.finished[0].reason is EndReason.HANGUP
    assert not books.finished[0].transcript


async def test_a_full_node_refuses(autojump_clock: MockClock) -> None:
    """One more than the limit is refused with scope and numbers; when a call ends its seat is free at once."""
    async with open_house(TABLE, limit=1) as (house, books), trio.open_nursery() as nursery:
        first: LiveCall = await nursery.start(partial(run_call, ticket(), house))
        with pytest.raises(LimitReached) as refusal:
            await nursery.start(partial(run_call, ticket(call_id="c_2"), house))
        assert (refusal.value.scope, refusal.value.limit, refusal.value.held) == ("node", 1, 1)
        assert refusal.value.retry_after > 0
        first.leave(EndReason.API, goodbye=False)
        await house.live.wait_empty()
        second: LiveCall = await nursery.start(partial(run_call, ticket(call_id="c_2"), house))
        second.leave(EndReason.API, goodbye=False)
    assert [done.call_id for done in books.finished] == ["c_1", "c_2"]


async def test_a_draining_node_refuses(autojump_clock: MockClock) -> None:
    """No new calls while the node goes away."""
    async with open_house(TABLE) as (house, books):
        house.live.draining = True
        with pytest.raises(Unavailable) as refusal:
            await run_call(ticket(), house)
    assert refusal.value.code == "draining"
    assert not books.finished


async def test_no_call_without_its_row(autojump_clock: MockClock) -> None:
    """Where the row cannot be written there is no call, no record, and no seat taken."""
    async with open_house(TABLE) as (house, books):
        books.failing = StoreUnavailable()
        with pytest.raises(StoreUnavailable):
            await run_call(ticket(), house)
        assert house.live.held == 0
    assert not books.finished


class Checkpoints(trio.abc.Instrument):
    """Cancels a scope at the n-th time that one of its tasks is about to go on."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0
        self.scope: trio.CancelScope | None = None
        self.nursery: trio.Nursery | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count, and cancel."""
        parent: Any = task
        while parent is not None and parent.parent_nursery is not self.nursery:
            parent = parent.parent_nursery.parent_task if parent.parent_nursery else None
        if parent is None or self.scope is None:
            return
        self.seen += 1
        if self.seen == self.at:
            self.scope.cancel()


async def conversation(probe: Checkpoints) -> tuple[int, list[EndReason]]:
    """Hold a short conversation with everything in it, cut at the probe's checkpoint."""
    script = {
        **TABLE, "heard": ["I want a table.", "stop it", "for two"],
        "replies": ["One two three four five six.", {"tool": {"name": "book"}}, {"say": "Bye.", "then": "end_call"}],
    }  # fmt: skip
    async with open_house(script) as (house, books):
        before = set(current_tasks())
        async with trio.open_nursery() as nursery:
            line, scope = MemoryLine(), trio.CancelScope()
            probe.nursery, probe.scope = nursery, scope

            async def live(*, task_status: trio.TaskStatus[LiveCall | None]) -> None:
                with scope:
                    await run_call(ticket({"greeting": "Hi there.", "tools": [BOOK]}), house, task_status=task_status)  # type: ignore[arg-type]
                if not books.begun or not books.finished:
                    task_status.started(None)

            async def caller() -> None:
                line.say(p.Start())
                await line.wait(0.3)
                await line.speak(0.5)
                await line.wait(0.6)
                await line.speak(0.5)
                await line.wait(0.5)
                for place, (_, message) in enumerate(line.told):
                    if isinstance(message, p.ToolCallMessage):
                        line.say(p.ToolResult(id=line.ids[place], result={}))
                await line.wait(1.0)
                await line.speak(0.5)
                await line.wait(2.0)
                line.drop()

            call = None
            try:
                call = await nursery.start(live)
            except RuntimeError:
                probe.scope = None
            if call is not None:
                async with trio.open_nursery() as ends:
                    ends.start_soon(caller)
                    await call.serve(line)
                    ends.cancel_scope.cancel()
            probe.scope = None
        assert set(current_tasks()) == before
        assert house.live.held == 0
        assert house.live.ids() == []
        assert len(books.finished) == len(books.begun)
    return probe.seen, [done.reason for done in books.finished]


def current_tasks() -> list[trio.lowlevel.Task]:
    """List every task of the run."""
    found: list[trio.lowlevel.Task] = []
    todo = [trio.lowlevel.current_root_task()]
    while todo:
        task = todo.pop()
        if task is not None:
            found.append(task)
            todo += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


def test_cancelled_at_every_checkpoint() -> None:
    """Wherever a call is cut, its tasks and its seat are gone, and it has exactly one end, written down."""
    whole = Checkpoints(-1)
    total, reasons = trio.run(conversation, whole, clock=MockClock(autojump_threshold=0), instruments=[whole])
    assert reasons == [EndReason.AGENT]
    assert total > 50
    for at in range(1, total + 1):
        probe = Checkpoints(at)
        _, reasons = trio.run(conversation, probe, clock=MockClock(autojump_threshold=0), instruments=[probe])
        assert len(reasons) <= 1


async def test_a_record_that_cannot_be_kept_hurts_nobody(autojump_clock: MockClock) -> None:
    """Where neither store nor disk takes a record, the call still ends in order and the next one is taken."""
    async with open_house(TABLE) as (house, books), trio.open_nursery() as nursery:
        books.full = StoreUnavailable("no room")
        for name in ("c_1", "c_2"):
            line = MemoryLine()
            call: LiveCall = await nursery.start(partial(run_call, ticket(call_id=name), house))
            line.drop()
            await call.serve(line)
            await house.live.wait_empty()
            assert line.closed == (1000, "") or line.closed is None
