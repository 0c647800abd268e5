"""What the conversation asks of engines: four ports, and the frozen events that pass through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from invorto.model.agent import AgentConfig, LlmSettings, SttSettings, TtsSettings

type Samples = NDArray[np.int16]
"""Mono, 16-bit, at the rate that was agreed."""


# -- hearing that somebody speaks -----------------------------------------------------------------


@attrs.frozen
class SpeechBegan:
    """The caller has been speaking for as long as a barge-in takes; *at* is when it began, in Trio time."""

    at: float


@attrs.frozen
class SpeechPaused:
    """The caller fell silent; *at* is the end of the last window that was speech, in Trio time."""

    at: float


class VadStream(Protocol):
    """One caller's detector."""

    @property
    def probability(self) -> float:
        """That the last window was speech, 0 to 1."""
        ...

    @property
    def speaking(self) -> bool:
        """Whether speech has begun and not paused."""
        ...

    def push(self, samples: Samples, at: float) -> None:
        """Take in audio that arrived at *at*; never blocks, never raises."""
        ...

    def expect(self, barge_in_ms: float) -> None:
        """Speech counts as begun after this many milliseconds of it."""
        ...

    def close(self) -> None:
        """Forget the caller; harmless twice."""
        ...


class Vad(Protocol):
    """Tells speech from everything else, for all calls of the process at once."""

    name: str

    def attach(self, rate: int, notify: Callable[[SpeechBegan | SpeechPaused], None]) -> VadStream:
        """Listen to a caller at *rate* (8000, 16000, 24000 or 48000); *notify* must neither block nor raise."""
        ...


# -- hearing whether somebody has finished ---------------------------------------------------------


@attrs.frozen
class GoesOn:
    """How likely it is, 0 to 1, that the caller who paused at *at* goes on."""

    probability: float
    at: float


class TurnEar(Protocol):
    """One caller's voice, for a model that judges each pause."""

    def push(self, samples: Samples) -> None:
        """Take in audio; never blocks."""
        ...

    def began(self, at: float) -> None:
        """Told by the detector, in Trio time: a judgement of the pause before is no longer wanted."""
        ...

    def paused(self, at: float) -> None:
        """Told by the detector: a `GoesOn` may follow, or not."""
        ...

    def close(self) -> None:
        """Forget the caller; harmless twice."""
        ...


class TurnModel(Protocol):
    """Judges by the sound whether callers have finished: a hint beside the silence."""

    name: str
    version: str

    def attach(self, rate: int, hear: Callable[[GoesOn], None]) -> TurnEar:
        """Listen to a caller at *rate*; *hear* must neither block nor raise, and is not called once it is closed."""
        ...


# -- hearing what is said -------------------------------------------------------------------------


@attrs.frozen
class Word:
    """A word, and when in its utterance or sentence it is spoken: seconds."""

    text: str
    began: float
    ended: float


@attrs.frozen
class Partial:
    """What the words are so far since the last `Final`."""

    text: str
    confidence: float | None = None


@attrs.frozen
class Final:
    """What the words were, up to the last pause; empty when there were none. Every pause gets one."""

    text: str
    confidence: float | None = None
    words: tuple[Word, ...] = ()


@attrs.frozen
class EngineFailed:
    """The engine is gone for the rest of this call."""

    provider: str
    stage: Literal["stt", "llm", "tts", "vad"]
    message: str


type Heard = Partial | Final | EngineFailed


class SttStream(Protocol):
    """One caller's ear."""

    def push(self, samples: Samples) -> None:
        """Take in audio into a bounded buffer (2 s outside speech, drops the oldest, counted); never blocks."""
        ...

    def speech_began(self, at: float) -> None:
        """Told by the detector; *at* is in Trio time. Engines that cut by themselves ignore it."""
        ...

    def speech_paused(self, at: float) -> None:
        """Told by the detector; a `Final` is owed from here on."""
        ...


class Stt(Protocol):
    """Turns speech into text."""

    name: str
    version: str

    def listen(
        self, settings: SttSettings, rate: int, hear: Callable[[Heard], None]
    ) -> AbstractAsyncContextManager[SttStream]:
        """Open an ear for one call; *hear* must neither block nor raise, and is not called after the block."""
        ...


# -- thinking -------------------------------------------------------------------------------------


@attrs.frozen
class ToolCall:
    """The model wants a tool called."""

    id: str
    name: str
    args: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class Message:
    """One message of the history that the model is given: what was heard, never what was merely planned."""

    role: Literal["user", "assistant", "tool", "system"]
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    interrupted: bool = False
    state: Any = None
    """What the engine asked to `Remember` with this answer, opaque to everybody else."""


@attrs.frozen(kw_only=True)
class Prompt:
    """What is to be answered."""

    agent: AgentConfig
    """With the defaults and variables filled in; its ``prompt`` is the system's, its ``flow`` the local engine's."""
    settings: LlmSettings
    history: Sequence[Message]
    schema: Mapping[str, Any] | None = None
    """JSON Schema of the answer, where it is to be one JSON object."""
    enforced: bool = True
    """Whether the engine is to hold the answer to the schema, if it can; else the words alone ask for it."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Name, description and JSON Schema: ``{"name", "description", "inputSchema"}``."""
    call_id: str = ""


@attrs.frozen
class Delta:
    """Some more of the answer's text."""

    text: str


@attrs.frozen
class Usage:
    """Tokens that an answer took."""

    prompt: int
    completion: int
    provider: str | None = None
    """Whose they are, where it is not the engine that was asked."""


@attrs.frozen
class Remember:
    """State that comes back with the assistant's message in the next prompt's history."""

    state: Any


type Thought = Delta | ToolCall | Usage | Remember


class Llm(Protocol):
    """Thinks of what to say."""

    name: str
    version: str

    def answer(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncIterator[Thought]]:
        """Stream one answer; `ProviderFailed` from the block or the iterator. Leaving the block stops it."""
        ...


# -- speaking -------------------------------------------------------------------------------------


@attrs.frozen
class Speech:
    """Some audio of a sentence, at the call's rate, and the words in it where the engine knows."""

    samples: Samples
    words: tuple[Word, ...] = ()
    made_by: str | None = None
    """Who made it, where it is not the engine that was asked; empty: it came from memory."""


class Tts(Protocol):
    """Turns text into speech."""

    name: str
    version: str

    def say(self, text: str, settings: TtsSettings, rate: int) -> AbstractAsyncContextManager[AsyncIterator[Speech]]:
        """Stream one sentence at *rate* Hz; `ProviderFailed` from the block or the iterator. Leaving it stops it."""
        ...
