"""What of the agent's turn is sent, and what of it has been heard: arithmetic over samples and a clock."""

from __future__ import annotations

import math
from typing import Literal

import attrs
import numpy as np

from invorto.realtime.endpointing import words_of
from invorto.speech.ports import Samples, Word

CHUNK = 0.1
"""Seconds of audio sent at a time."""
MARK_GRACE = 1.0
"""Seconds that an echo may be late before the clock is believed instead."""
SPOKEN = 15.0
"""Characters spoken a second: how long a sentence is taken to be whose audio is still coming in."""
_EPSILON = 1e-6


@attrs.define
class Sentence:
    """A sentence on its way to the far end: its audio may still be coming in."""

    text: str
    begins: int
    """Where in the turn it begins, samples."""
    length: int = 0
    whole: bool = False
    """Whether all of its audio is here."""
    words: list[Word] = attrs.field(factory=list)
    chunks: list[Samples] = attrs.field(factory=list, repr=False)

    def heard(self, until: int, rate: int) -> str:
        """Give the part of its text that is over by *until*, by word times, else by proportion of the audio."""
        gone = until - self.begins
        if gone <= 0:
            return ""
        if self.whole and gone >= self.length:
            return self.text
        if self.words:
            count = sum(1 for word in self.words if (word.began + word.ended) / 2 * rate <= gone)
        else:
            length = self.length if self.whole else max(self.length, round(len(self.text) / SPOKEN * rate))
            count = round(len(words_of(self.text)) * gone / max(length, 1))
        return first_words(self.text, count)


def first_words(text: str, count: int) -> str:
    """Give the first *count* words of *text*, with the punctuation between them."""
    pieces = text.split()
    kept: list[str] = []
    for piece in pieces:
        said = len(words_of(piece))
        if said > count:
            break
        count -= said
        kept.append(piece)
        if count <= 0 and said:
            break
    return " ".join(kept)


@attrs.define
class Playout:
    """
    The agent's turn as the far end plays it.

    Audio goes out on an absolute clock, at most *lead* seconds ahead of what plays. While hushed nothing goes out,
    and what had been sent and not played counts as not sent.
    """

    rate: int
    lead: float
    sentences: list[Sentence] = attrs.field(factory=list)
    sent: int = attrs.field(default=0, init=False)
    """Samples of the turn that went out."""
    hushed: bool = attrs.field(default=False, init=False)
    closed: bool = attrs.field(default=False, init=False)
    """Whether all of the turn's audio is here."""
    _total: int = attrs.field(default=0, init=False)
    _base: int = attrs.field(default=0, init=False)
    _base_at: float = attrs.field(default=math.inf, init=False)
    _awaited: list[int] = attrs.field(factory=list, init=False)
    _echoed: bool = attrs.field(default=False, init=False)

    def begin_sentence(self, text: str) -> None:
        """Announce the sentence that the next audio belongs to."""
        self.sentences.append(Sentence(text, self._total))

    def add(self, samples: Samples, words: tuple[Word, ...] = ()) -> None:
        """Take in audio of the sentence that was announced last."""
        sentence = self.sentences[-1]
        sentence.chunks.append(samples)
        sentence.words.extend(words)
        sentence.length += len(samples)
        self._total += len(samples)

    def end_sentence(self) -> None:
        """Tell that the last sentence's audio is complete."""
        self.sentences[-1].whole = True

    def close(self) -> None:
        """Tell that nothing more comes."""
        self.closed = True

    @property
    def ahead(self) -> float:
        """Seconds of audio that are here and not sent."""
        return (self._total - self.sent) / self.rate

    def played(self, now: float) -> int:
        """Give how many samples the far end has played."""
        if self.hushed:
            return self._base
        gone = self._base + int((now - self._base_at) * self.rate + 0.5) if now > self._base_at else self._base
        if self._awaited and now < self._plays_at(self._awaited[0]) + MARK_GRACE:
            gone = min(gone, self._awaited[0])
        return min(gone, self.sent)

    @property
    def heard_by(self) -> Literal["timed", "marks"]:
        """How it is known what was played."""
        return "marks" if self._echoed else "timed"

    def finished(self, now: float) -> bool:
        """Tell whether all there is, and will be, has been played."""
        return self.closed and not self.hushed and self.played(now) >= self._total

    @property
    def deadline(self) -> float:
        """When to send the next audio, or to find that all was played; infinite while there is nothing to do."""
        if self.hushed:
            return math.inf
        if self.sent < self._total:
            return self._plays_at(self.sent) + CHUNK - self.lead
        if not (self.closed and self._total):
            return math.inf
        return self._plays_at(self._total) if not self._awaited else self._plays_at(self._awaited[-1]) + MARK_GRACE

    def take(self, now: float) -> tuple[Samples, Sentence, float] | None:
        """Give the next audio to send, its sentence, and when it plays; None when it is not time. At most `CHUNK`."""
        if self.hushed or self.sent >= self._total or now + _EPSILON < self.deadline:
            return None
        if now > self._plays_at(self.sent):  # the first audio, or it ran dry: from here on it plays anew
            self._base, self._base_at = self.sent, now
        sentence = next(s for s in self.sentences if s.begins + s.length > self.sent)
        samples = _cut(sentence, self.sent - sentence.begins, int(CHUNK * self.rate))
        plays_at = self._plays_at(self.sent)
        self.sent += len(samples)
        self._forget(now)
        return samples, sentence, plays_at

    def hush(self, now: float) -> int:
        """Stop where it is; give the samples that were played."""
        played = self.played(now)
        self.hushed, self._base, self._base_at, self.sent = True, played, math.inf, played
        self._awaited.clear()
        return played

    def resume(self) -> None:
        """Go on from where it was hushed."""
        self.hushed = False

    def await_mark(self, position: int) -> None:
        """Tell that the far end was asked for an echo when it has played *position* samples."""
        self._awaited.append(position)

    def marked(self, position: int, now: float) -> None:
        """Learn from the far end that *position* samples have been played just *now*."""
        if position in self._awaited:
            believed = self.played(now)
            self._awaited = [place for place in self._awaited if place > position]
            if position >= believed:  # else it came too late: what was believed instead has been let go of
                self._base, self._base_at, self._echoed = position, now, True

    def heard(self, now: float) -> str:
        """Give the words that have been played."""
        until = self.played(now)
        parts = [part for sentence in self.sentences if (part := sentence.heard(until, self.rate))]
        return " ".join(part.strip() for part in parts)

    @property
    def text(self) -> str:
        """All of the turn's text so far."""
        return " ".join(sentence.text.strip() for sentence in self.sentences)

    def _plays_at(self, position: int) -> float:
        return self._base_at + (position - self._base) / self.rate if not math.isinf(self._base_at) else -math.inf

    def _forget(self, now: float) -> None:
        """Let go of audio that can never be wanted again: a hush goes back to what was played, not further."""
        played = self.played(now)
        for sentence in self.sentences:  # pragma: no branch - what was just taken has not been played
            if sentence.begins + sentence.length > played:
                break
            if sentence.whole:
                sentence.chunks.clear()


def _cut(sentence: Sentence, start: int, size: int) -> Samples:
    pieces: list[Samples] = []
    for chunk in sentence.chunks:
        if start >= len(chunk):
            start -= len(chunk)
            continue
        piece = chunk[start : start + size]
        pieces.append(piece)
        size -= len(piece)
        start = 0
        if size <= 0:
            break
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
