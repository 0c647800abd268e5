"""From what the caller said to speech: think, cut into sentences, speak."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import attrs
import trio

from invorto.errors import ProviderFailed
from invorto.model.agent import AgentConfig
from invorto.realtime.deadlines import Deadlines
from invorto.realtime.guess import Guess
from invorto.realtime.protocol import LlmDelta
from invorto.realtime.sentences import SentenceCutter
from invorto.realtime.teller import Teller
from invorto.realtime.transcript import Transcript
from invorto.realtime.turn import Turn
from invorto.speech.ports import Delta, Llm, Message, Prompt, Remember, Samples, ToolCall, Tts, Usage, Word

AHEAD = 5.0
"""Seconds of speech that may be made before they are played: more would be thrown away when interrupted."""
SENTENCES = 8
"""Sentences that thinking may be ahead of speaking."""
ROUNDS = 4
"""How often one turn may go back to the model with what its tools answered."""


class Outlet(Protocol):
    """Where a turn's audio goes."""

    def begin_sentence(self, turn: Turn, text: str) -> None:
        """Announce a sentence."""
        ...

    def add(self, turn: Turn, samples: Samples, words: tuple[Word, ...]) -> None:
        """Take some of its audio."""
        ...

    def end_sentence(self, turn: Turn) -> None:
        """Tell that it is complete."""
        ...


@attrs.frozen(kw_only=True)
class Mind:
    """What a reply is made with."""

    llm: Llm
    tts: Tts
    agent: AgentConfig
    transcript: Transcript
    teller: Teller
    outlet: Outlet
    offered: Callable[[AgentConfig], Sequence[Mapping[str, Any]]]
    """The tools as the model is told of them."""
    use_tools: Callable[[tuple[ToolCall, ...], Turn], Awaitable[None]]
    """Runs a round of tools and puts what came of it into the transcript."""
    deadlines: Deadlines
    call_id: str
    rate: int
    used: Callable[[Usage], None]
    spoke: Callable[[str, int], None]
    """Told which engine was given how many characters."""
    guess: Guess | None = None
    """An answer that was begun beforehand; it counts where it answers just what is asked."""


async def reply(turn: Turn, mind: Mind) -> None:
    """Answer the history; returns when all of the answer's audio is made. `ProviderFailed` where an engine failed."""
    send, receive = trio.open_memory_channel[str](SENTENCES)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_think, turn, mind, send)
            await _speak(turn, mind, receive)
    except* ProviderFailed as group:
        raise _first(group) from None


async def recite(turn: Turn, mind: Mind, text: str) -> None:
    """Speak a text that is known beforehand."""
    cutter = SentenceCutter()
    for sentence in (*cutter.push(text), *cutter.flush()):
        await _say(turn, mind, sentence)


async def _think(turn: Turn, mind: Mind, sentences: trio.MemorySendChannel[str]) -> None:
    """Ask the model, pass on sentences as they are complete, run the tools it wants, and ask again."""
    async with sentences:
        for _ in range(ROUNDS):
            wanted = await _stream(turn, mind, sentences)
            if not wanted:
                return
            await mind.use_tools(tuple(wanted), turn)
            if turn.say:
                cutter, text, turn.say = SentenceCutter(), turn.say, ""
                for sentence in (*cutter.push(text), *cutter.flush()):
                    await sentences.send(sentence)
            if turn.leave is not None:
                return


async def _stream(turn: Turn, mind: Mind, sentences: trio.MemorySendChannel[str]) -> list[ToolCall]:
    cutter, wanted = SentenceCutter(), list[ToolCall]()
    turn.heeds = mind.transcript.whispers
    prompt = prompt_of(mind.agent, mind.transcript.history(), mind.call_id, mind.offered(mind.agent))
    guessed = mind.guess is not None and mind.guess.fits(mind.llm, prompt)
    with _patience(mind.llm.name, "llm", mind.deadlines.first_token) as waiting:
        async with mind.guess.answer() if mind.guess is not None and guessed else mind.llm.answer(prompt) as thoughts:
            async for thought in thoughts:
                waiting.pause()
                match thought:
                    case Delta(text):
                        if turn.first_token_at is None:
                            turn.first_token_at = trio.current_time()
                        mind.teller.tell(LlmDelta(text=text, turn=turn.number))
                        for sentence in cutter.push(text):
                            await sentences.send(sentence)
                    case ToolCall():
                        wanted.append(thought)
                    case Remember(state):
                        turn.state = state
                    case Usage():
                        mind.used(thought)
                waiting.go_on()
    for sentence in cutter.flush():
        await sentences.send(sentence)
    return wanted


def prompt_of(
    agent: AgentConfig, history: Sequence[Message], call_id: str, tools: Sequence[Mapping[str, Any]] = ()
) -> Prompt:
    """Make what the model is asked."""
    return Prompt(agent=agent, settings=agent.llm, history=history, tools=tools, call_id=call_id)


@attrs.define
class _Waiting:
    """How long an engine may still take; one scope around all of its work, whose deadline moves."""

    scope: trio.CancelScope
    seconds: float

    def pause(self) -> None:
        """Stop counting: the engine has spoken, and waits for us."""
        self.scope.deadline = math.inf

    def go_on(self) -> None:
        """Count again from now."""
        self.scope.deadline = trio.current_time() + self.seconds


@contextmanager
def _patience(provider: str, stage: Literal["llm", "tts"], seconds: float) -> Generator[_Waiting]:
    """Bound each wait for an engine, its opening too: `ProviderFailed` where it gives nothing for so long."""
    with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
        yield _Waiting(scope, seconds)
    if scope.cancelled_caught:
        raise ProviderFailed(provider, stage, f"nothing came for {seconds:g} s")


async def _speak(turn: Turn, mind: Mind, sentences: trio.MemoryReceiveChannel[str]) -> None:
    async with sentences:
        async for sentence in sentences:
            await _say(turn, mind, sentence)


async def _say(turn: Turn, mind: Mind, sentence: str) -> None:
    if not sentence.strip():
        return
    if turn.first_sentence_at is None:
        turn.first_sentence_at = trio.current_time()
    while (surplus := turn.playout.ahead - AHEAD) > 0:  # noqa: ASYNC110 - it drains by the clock, nobody tells
        await trio.sleep(max(surplus, 0.05))
    mind.outlet.begin_sentence(turn, sentence)
    told = False
    with _patience(mind.tts.name, "tts", mind.deadlines.first_audio) as waiting:
        async with mind.tts.say(sentence, mind.agent.tts, mind.rate) as speech:
            async for piece in speech:
                if not told:
                    told = True
                    mind.spoke(mind.tts.name if piece.made_by is None else piece.made_by, len(sentence))
                mind.outlet.add(turn, piece.samples, piece.words)
                waiting.go_on()
    mind.outlet.end_sentence(turn)


def _first(group: BaseExceptionGroup[ProviderFailed]) -> ProviderFailed:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")
