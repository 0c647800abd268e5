"""What the scripted engines are to do, as it is written in ``SCRIPTED_ENGINE``."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import attrs
import msgspec

from invorto.convert import structure
from invorto.errors import Invalid, UsageError


@attrs.frozen(kw_only=True)
class Tool:
    """A tool that a scripted answer calls."""

    name: str
    args: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True)
class Reply:
    """One scripted answer: words, then a tool, or no answer at all."""

    say: str = ""
    tool: Tool | None = None
    then: str | None = None
    """A tool without arguments, such as ``end_call``, called after the words."""
    fail: str | None = None
    """Fails with this message, after the words."""
    stall: bool = False
    """Never comes to an end, after the words."""


@attrs.frozen(kw_only=True)
class Script:
    """What the engines do: delays in milliseconds, lists begin again when they are through."""

    stt_ms: float = 0
    """From the pause to the final words."""
    partial_ms: float = 200
    """From the beginning of speech to the first half of the words."""
    llm_ms: float = 0
    """From the question to the first word; the others follow at once."""
    tts_ms: float = 0
    """From the sentence to its first audio."""
    heard: tuple[str, ...] = ("hello",)
    """What the caller is taken to say, utterance by utterance."""
    replies: tuple[Reply, ...] = (Reply(say="Hello."),)
    analysis: tuple[Reply, ...] = ()
    """What is answered about a call that is over, the first time and the second; nothing: nobody is asked."""
    rate: float = 0
    """How much faster than real time speech is made; 0: all at once."""
    jitter_ms: float = 0
    """Each delay is longer by up to this, evenly spread."""
    seed: int = 0
    """Of the spread."""
    _chance: Random = attrs.field(
        default=attrs.Factory(lambda self: Random(self.seed), takes_self=True),  # noqa: S311 - chance, not secrecy
        init=False, eq=False, repr=False,
    )  # fmt: skip

    def delay(self, milliseconds: float) -> float:
        """Give a delay in seconds."""
        return (milliseconds + (self._chance.uniform(0, self.jitter_ms) if self.jitter_ms else 0.0)) / 1000

    @classmethod
    def parse(cls, document: object) -> Script:
        """Make a script of parsed JSON, where a reply may be just its words; `Invalid` says what is wrong."""
        for name in ("replies", "analysis"):
            if isinstance(document, dict) and isinstance(document.get(name), list | tuple):
                replies = [{"say": one} if isinstance(one, str) else one for one in document[name]]
                document = document | {name: replies}
        return structure(document, cls)


def read_script(text: str | None) -> Script:
    """Read the setting ``SCRIPTED_ENGINE``; `UsageError` says what is wrong with it."""
    try:
        return Script.parse(msgspec.json.decode(text)) if text else Script()
    except (msgspec.DecodeError, Invalid) as error:
        raise UsageError(f"SCRIPTED_ENGINE is wrong: {error}") from None
