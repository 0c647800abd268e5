"""From characters and their times to words and theirs, as they come piece by piece; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from invorto.speech.ports import Word


@attrs.define
class Alignment:
    """One sentence's words: `take` pieces in order, `end` gives the last one."""

    _letters: str = ""
    _began: float = 0.0
    _ended: float = 0.0
    _latest: float = 0.0

    def take(self, told: Mapping[str, Any] | None, offset: float) -> Iterator[Word]:
        """
        Take a piece's characters and times; gives the words that are whole.

        Times may count from the beginning of the sentence or of the piece, which begins at *offset* seconds: those
        that would go back in time are the piece's own. `ValueError` where lists do not match.
        """
        if not told:
            return
        try:
            letters, starts, ends = (
                told[key] for key in ("characters", "character_start_times_seconds", "character_end_times_seconds")
            )
            timed = [(str(a), float(b), float(c)) for a, b, c in zip(letters, starts, ends, strict=True)]
        except (KeyError, TypeError, ValueError):
            raise ValueError("characters without times") from None
        shift = offset if timed and timed[0][1] < self._latest - 0.02 else 0.0
        for letter, start, end in timed:
            self._latest = max(self._latest, end + shift)
            if letter.isspace():
                yield from self.end()
            else:
                if not self._letters:
                    self._began = max(start + shift, 0.0)
                self._letters += letter
                self._ended = max(end + shift, self._began)

    def end(self) -> Iterator[Word]:
        """Give the word that is open, if one is."""
        if self._letters:
            yield Word(self._letters, self._began, self._ended)
        self._letters = ""
