"""What Deepgram's results mean: what is final is kept, what is not is a guess, and each pause gets one `Final`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from invorto.speech.ports import Final, Heard, Partial, Word


@attrs.define
class Results:
    """One stream of results; pure. ``owed`` pauses have been told of and not been answered."""

    owed: int = 0
    _texts: list[str] = attrs.field(factory=list[str])
    _words: list[Word] = attrs.field(factory=list[Word])
    _confidence: list[float] = attrs.field(factory=list[float])
    _guess: str = ""

    def take(self, message: Mapping[str, Any]) -> list[Heard]:
        """Take a ``Results`` message; `ValueError` where it is none."""
        try:
            (best, *_) = message["channel"]["alternatives"] or [{}]
            text, final = str(best.get("transcript") or "").strip(), bool(message.get("is_final"))
            words = [_word(word) for word in best.get("words") or ()]
            confidence = float(best.get("confidence") or 0.0)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError("a result without a transcript") from None
        heard: list[Heard] = []
        if final:
            self._guess = ""
            if text:
                self._texts.append(text)
                self._words += words
                self._confidence.append(confidence)
        else:
            self._guess = text
        if text and not (final and self.owed and message.get("from_finalize")):
            heard.append(Partial(self._text(), confidence))
        if message.get("from_finalize") and self.owed:
            heard.append(self.settle())
        return heard

    def settle(self) -> Final:
        """Answer one pause with what was heard up to now, guesses too."""
        self.owed = max(self.owed - 1, 0)
        began = self._words[0].began if self._words else 0.0
        words = tuple(Word(word.text, word.began - began, word.ended - began) for word in self._words)
        confidence = sum(self._confidence) / len(self._confidence) if self._confidence else None
        final = Final(self._text(), confidence, () if self._guess else words)
        self._texts.clear()
        self._words.clear()
        self._confidence.clear()
        self._guess = ""
        return final

    def _text(self) -> str:
        return " ".join(part for part in (*self._texts, self._guess) if part)


def _word(word: Mapping[str, Any]) -> Word:
    return Word(str(word.get("punctuated_word") or word["word"]), float(word["start"]), float(word["end"]))
