"""Moonshine, as its process runs it: whole utterances in, words out, nothing where nothing was said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from invorto.audio.resample import Resampler

RATE = 16_000

_INVENTED = frozenset({"you", "i", "the"})
"""What this model makes of noise and silence: no turn of a conversation consists of these alone."""
_FASTEST = 30.0
"""Characters a second: nobody speaks faster, a model that is lost does."""


def understood(text: str, seconds: float) -> str:
    """Give what was said in *seconds*, without what the model makes up where there was no speech."""
    text = " ".join(text.split())
    bare = re.sub(r"[^\w' -]", "", text).strip().lower()
    if not any(letter.isalnum() for letter in bare) or bare in _INVENTED or len(bare) > _FASTEST * max(seconds, 0.5):
        return ""
    return _unlooped(text)


def _unlooped(text: str) -> str:
    """Cut a loop: the same one to four words over and over, more than three times; digits may be dictated."""
    return re.sub(r"\b((?:[^\W\d_][\w']*\W+){1,4}?)(?:\1){3,}", r"\1", f"{text} ").strip()


class Moonshine:
    """The model; ``transcribe`` takes ``{"pcm": 16-bit little-endian bytes, "rate": Hz}`` and gives ``{"text"}``."""

    def __init__(self) -> None:
        from moonshine_voice import ModelArch, Transcriber
        from moonshine_voice.utils import get_model_path

        # Its own detector is off: utterances come cut, and it keeps what it heard of one call for the next.
        self._model = Transcriber(get_model_path("tiny-en"), ModelArch.TINY, options={"vad_threshold": "0"})
        self.about = {"version": f"moonshine {version('moonshine-voice')}"}
        self._transcribe(np.zeros(RATE // 2, np.int16))  # the first time takes longer

    def work(self, what: str, body: Any) -> Iterator[Any]:
        """Transcribe one utterance."""
        if what != "transcribe":
            raise ValueError(what)
        samples, rate = np.frombuffer(body["pcm"], "<i2"), int(body["rate"])
        seconds = len(samples) / rate
        if rate != RATE:
            resampler = Resampler(rate, RATE)
            samples = np.concatenate((resampler.push(samples), resampler.flush()))
        yield {"text": understood(self._transcribe(samples), seconds) if len(samples) else ""}

    def _transcribe(self, samples: Any) -> str:
        heard = self._model.transcribe_without_streaming((samples.astype(np.float32) / 32768).tolist(), RATE)
        return " ".join(line.text for line in heard.lines)
