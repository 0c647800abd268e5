"""Likeness of meaning: the vectors of what agents know, kept; the vector of what was heard, made in a process."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, override

import numpy as np
import structlog
import trio
from numpy.typing import NDArray

from invorto.errors import ProviderFailed
from invorto.speech.worker import Worker

log = structlog.get_logger(__name__)

KEPT = 20_000
"""Vectors that are kept, 30 MB: the examples of a hundred agents."""
BATCH = 4
"""Texts in one order, about 50 ms: what was just heard waits for no more than that."""
ROOM = 32
"""Orders that learning may pile up, half of what the worker takes."""
PATIENCE, PATIENCE_FOR_EXAMPLES = 0.6, 0.2
"""Seconds that an answer waits, for what was heard and then for what is new of the agent, before words alone do."""


def _parts(heard: str) -> list[str]:
    """Give a text, and its first clauses where it has several: a long answer may hold one short wish."""
    clauses = [part.strip() for part in re.split(r"[.,;:?!]\s+", heard)]
    return list(dict.fromkeys([heard, *(part for part in clauses if " " in part)][:4]))


class Likeness(Protocol):
    """Tells how alike in meaning texts are."""

    async def near(self, heard: str, examples: Iterable[str]) -> Mapping[str, float]:
        """Give the likeness of each example to what was heard; what is not known is left out."""
        ...


class WordsAlone(Likeness):
    """Knows nothing of meaning."""

    @override
    async def near(self, heard: str, examples: Iterable[str]) -> Mapping[str, float]:
        await trio.lowlevel.checkpoint()
        return {}


WORDS_ALONE = WordsAlone()


class Meaning:
    """Vectors by text, shared by all calls."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._ordered: set[str] = set()
        self._arrived = trio.Event()

    async def near(self, heard: str, examples: Iterable[str]) -> dict[str, float]:
        """Give the likeness of each example to what was heard, or to the part of it that is most like it.

        What is not known in time is left out.
        """
        wanted = list(dict.fromkeys(examples))
        parts = _parts(heard)
        self._order(parts, urgent=0)
        self.learn(wanted)
        await self._wait_for(parts, PATIENCE)
        await self._wait_for(wanted, PATIENCE_FOR_EXAMPLES)
        said = [self._vectors[part] for part in parts if part in self._vectors]
        known = [text for text in wanted if text in self._vectors]
        for part in set(parts).difference(wanted):
            self._vectors.pop(part, None)  # said once; what agents know is kept
        if not said or not known:
            return {}
        likeness = np.stack([self._vectors[text] for text in known]) @ np.stack(said).T
        for text in known:
            self._vectors.move_to_end(text)
        return dict(zip(known, likeness.max(axis=1).tolist(), strict=True))

    async def _wait_for(self, texts: list[str], seconds: float) -> None:
        with trio.move_on_after(seconds):  # noqa: ASYNC912 - what is there already is not waited for
            while any(text in self._ordered for text in texts):
                await self._arrived.wait()

    def learn(self, texts: Iterable[str], urgent: int = 1) -> None:
        """Have vectors made for texts that will be wanted."""
        missing = [text for text in texts if text not in self._vectors and text not in self._ordered]
        for at in range(0, len(missing), BATCH):
            if self._worker.pending >= ROOM:
                return  # what callers say must never be refused: the rest is learnt when it is asked for
            self._order(missing[at : at + BATCH], urgent)

    def _order(self, texts: list[str], urgent: int) -> None:
        queue = [text for text in texts if text not in self._vectors and text not in self._ordered]
        if not queue:
            return

        def told(body: Any, last: bool) -> None:  # noqa: FBT001  # the shape of a callback
            if last:
                self._ordered.difference_update(queue)
            else:
                text = queue.pop(0)
                self._ordered.discard(text)
                self._vectors[text] = np.frombuffer(body, "<f4")
                while len(self._vectors) > KEPT:
                    self._vectors.popitem(last=False)
            if last:
                self._arrived.set()
                self._arrived = trio.Event()

        try:
            self._worker.submit("embed", list(queue), told, urgent)
        except ProviderFailed as error:
            log.warning("meaning_unavailable", error=str(error))
            return
        self._ordered.update(queue)
