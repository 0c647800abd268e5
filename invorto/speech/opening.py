"""What a plug-in is given to open its engine with."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import attrs

from invorto.config import Config, words
from invorto.errors import UsageError

type Progress = Callable[[str, float], None]
"""Told what is being prepared and how much of it is done, 0 to 1."""


def silent(_: str, __: float) -> None:
    """Report to nobody."""


@attrs.frozen(kw_only=True)
class Opening:
    """A plug-in is a function from this to an async context manager that gives the engine.

    Its entry point stands in the group ``invorto.stt``, ``invorto.llm``, ``invorto.tts`` or ``invorto.vad``. Opening
    is quick: what takes long is done in the background, with *progress*, or when it is first needed. `UsageError`
    says what the one who installed it has to do.
    """

    config: Config
    progress: Progress = silent

    def first_voice(self, name: str) -> tuple[str | None, str | None]:
        """Give the installation's voice and model, which belong to the first engine that it speaks with."""
        cloud = self.config.cloud
        first = next(iter(words(self.config.conversation.tts_provider)), None)
        return (cloud.tts_voice, cloud.tts_model) if name == first else (None, None)


def require(module: str, engine: str) -> None:
    """Raise a `UsageError` that says what to install unless *module*, which *engine* is made of, is there."""
    if find_spec(module) is None:
        raise UsageError(f"{engine} is not installed: pip install 'invorto[local]'")
