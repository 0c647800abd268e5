"""What of the agent's audio is still to be played: stops at once when the caller breaks in. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from invorto_sdk.events import Audio, BargeIn, Event, Mark


@dataclass
class Playback:
    """Audio that has come and was not taken yet; at most *most* bytes, older is dropped and counted."""

    most: int = 8_000_000
    dropped: int = 0
    """Bytes that found no room."""
    _pieces: deque[bytes | str] = field(default_factory=deque[bytes | str])
    _size: int = 0

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self._size

    def hear(self, event: Event) -> None:
        """Take in an event: audio and marks are kept in their order, a barge-in drops all."""
        match event:
            case Audio(pcm=pcm) if self._size + len(pcm) <= self.most:
                self._pieces.append(pcm)
                self._size += len(pcm)
            case Audio(pcm=pcm):
                self.dropped += len(pcm)
            case Mark(name=name):
                self._pieces.append(name)
            case BargeIn():
                self._pieces.clear()
                self._size = 0
            case _:
                pass

    def take(self, size: int) -> tuple[bytes, list[str]]:
        """Give up to *size* bytes to play now, and the marks that were reached by what was taken before."""
        taken, marks = bytearray(), list[str]()
        while self._pieces and len(taken) < size:
            piece = self._pieces.popleft()
            if isinstance(piece, str):
                if taken:  # it is reached when what was taken has been played: the next time
                    self._pieces.appendleft(piece)
                    break
                marks.append(piece)
                continue
            wanted = size - len(taken)
            taken += piece[:wanted]
            self._size -= min(len(piece), wanted)
            if len(piece) > wanted:
                self._pieces.appendleft(piece[wanted:])
        return bytes(taken), marks
