"""Smart Turn, as its process runs it: the end of what was said in, how likely it is that more comes out."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np

from invorto.audio.resample import resample
from invorto.speech.onnx import open_model
from invorto.speech.turn.features import RATE, features

MODEL = "smart-turn-v3.2-cpu.onnx"


class SmartTurn:
    """The model; ``judge`` takes ``{"pcm": 16-bit little-endian bytes, "rate": Hz}`` and gives ``{"goesOn"}``."""

    def __init__(self) -> None:
        self._session = open_model(files(__package__).joinpath("data", MODEL).read_bytes(), threads=1)
        self.about = {"version": "smart-turn 3.2"}
        self.goes_on(np.zeros(RATE, np.int16))  # the first time takes longer

    def work(self, what: str, body: Any) -> Iterator[Any]:
        """Judge one pause."""
        if what != "judge":
            raise ValueError(what)
        samples = np.frombuffer(body["pcm"], "<i2").astype(np.int16)
        yield {"goesOn": self.goes_on(resample(samples, int(body["rate"]), RATE))}

    def goes_on(self, samples: Any) -> float:
        """Give how likely it is, 0 to 1, that whoever said *samples* (16 kHz) goes on."""
        (finished,) = self._session.run(None, {"input_features": features(samples)[None]})
        return 1 - float(finished.item())
