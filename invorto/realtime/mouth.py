"""The agent's mouth: sends what is due of the turn it is at, falls silent when hushed, and knows what was heard."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from invorto.audio.echo import Echo
from invorto.model.record import TurnMetrics
from invorto.observability.metrics import Metrics
from invorto.realtime.line import Line
from invorto.realtime.playout import Playout, Sentence
from invorto.realtime.protocol import BargeIn, ControlResume, TtsDone, TurnMetricsMessage
from invorto.realtime.recording import Recording
from invorto.realtime.teller import Teller
from invorto.realtime.transcript import Transcript
from invorto.realtime.turn import Turn
from invorto.realtime.turns import PlayedOut
from invorto.speech.ports import Samples, Word

_QUESTION = ("?", '?"', "?”", "?'")


@attrs.define(kw_only=True)
class Mouth:
    """One call's audio out; at most one turn at a time."""

    rate: int
    lead: float
    began_at: float
    teller: Teller
    transcript: Transcript
    recording: Recording | None
    measures: Metrics
    audio_began: Callable[[int, float], object]
    """Told the turn whose first audio has just gone out."""
    stir: Callable[[], None]
    """Wakes the driver: `deadline` has changed."""
    turn: Turn | None = None
    metrics: list[TurnMetrics] = attrs.field(factory=list[TurnMetrics])
    echo: Echo = attrs.field(default=attrs.Factory(lambda self: Echo(self.rate), takes_self=True), init=False)
    """What has been played lately, by which the agent's own voice is known when it comes back."""
    _marks: dict[str, tuple[Turn, int]] = attrs.field(factory=dict[str, tuple[Turn, int]], init=False)
    _marked: int = attrs.field(default=0, init=False)

    @property
    def deadline(self) -> float:
        """When `pump` has something to do; infinite while it has not."""
        return math.inf if self.turn is None or self.turn.over else self.turn.playout.deadline

    def open(self, number: int, now: float) -> Turn:
        """Begin a turn."""
        self._marks.clear()
        self.turn = Turn(number, Playout(self.rate, self.lead), now)
        return self.turn

    # -- for the reply ----------------------------------------------------------------------------

    def begin_sentence(self, turn: Turn, text: str) -> None:
        """Announce a sentence of a turn's audio."""
        turn.playout.begin_sentence(text)

    def add(self, turn: Turn, samples: Samples, words: tuple[Word, ...]) -> None:
        """Take in audio; what is due goes out at once."""
        starved = turn.playout.ahead <= 0
        turn.playout.add(samples, words)
        if starved and turn is self.turn:
            self.pump(trio.current_time())
            self.stir()

    def end_sentence(self, turn: Turn) -> None:
        """Tell that the sentence's audio is complete."""
        turn.playout.end_sentence()

    # -- for the driver ---------------------------------------------------------------------------

    def pump(self, now: float) -> PlayedOut | None:
        """Send the audio that is due; gives the turn's end when all of it has been played."""
        turn = self.turn
        if turn is None or turn.over:
            return None
        playout = turn.playout
        while (piece := playout.take(now)) is not None:
            samples, sentence, plays_at = piece
            if turn.first_audio_at is None:
                self._first_audio(turn, now)
            begins = sentence.begins == playout.sent - len(samples)
            for line in self.teller.lines:
                if begins:
                    self._mark(turn, line, sentence)
                line.play(samples, turn=turn.number)
            self.echo.played(samples, plays_at)
            if self.recording is not None:
                self.recording.agent(samples, plays_at)
        if not playout.finished(now):
            return None
        self.finish(now, interrupted=False)
        asked = playout.text.rstrip().endswith(_QUESTION)
        return PlayedOut(turn.number, asked=asked, leave=turn.leave, goodbye=not playout.sentences)

    def hush(self, number: int, now: float, *, keep: bool) -> bool:
        """Stop at once and have the far end drop the rest; *keep*: on the timeline. False: it was not at that turn."""
        turn = self.turn
        if turn is None or turn.number != number:
            return False
        played = turn.playout.hush(now)
        self._marks.clear()
        for line in self.teller.lines:
            line.clear()
        self.echo.cut(now)
        if self.recording is not None:
            self.recording.cut_agent(now)
        played_ms = round(played * 1000 / self.rate)
        self.teller.tell(BargeIn(turn=number, played_ms=played_ms, action="stop-tts"), keep=keep)
        return True

    def resume(self, number: int) -> None:
        """Go on from the first sample that was not heard."""
        turn = self.turn
        if turn is None or turn.number != number:
            return
        turn.playout.resume()
        self.teller.tell(ControlResume(turn=number, from_ms=round(turn.playout.sent * 1000 / self.rate)))
        self.stir()

    def finish(self, now: float, *, interrupted: bool) -> None:
        """Write down what was heard of the turn, once, and stop making more of it."""
        turn = self.turn
        if turn is None or turn.over:
            return
        turn.over = True
        turn.scope.cancel()
        playout = turn.playout
        heard = playout.heard(now)
        rest = _rest(playout.text, heard)
        began = (turn.first_audio_at or now) - self.began_at
        if heard:
            self.transcript.heeded(turn.heeds)
        self.transcript.agent_said(
            heard,
            turn=turn.number,
            began=round(began, 3),
            ended=round(now - self.began_at, 3),
            heard_by=playout.heard_by,
            unheard=rest if interrupted else None,
            state=turn.state if turn.first_audio_at is not None or not interrupted else None,
        )
        if playout.sentences or not interrupted:
            self.teller.tell(TtsDone(turn=turn.number, heard=heard, interrupted=interrupted))
        if interrupted and rest:
            self.teller.note("tts.unheard", {"turn": turn.number, "text": rest})

    def played(self, name: str) -> None:
        """Take in the far end's word that it has played up to a mark; names of dropped audio do not count."""
        if place := self._marks.pop(name, None):
            turn, position = place
            turn.playout.marked(position, trio.current_time())
            self.stir()

    def _mark(self, turn: Turn, line: Line, sentence: Sentence) -> None:
        self._marked += 1
        name = f"{turn.number}.{self._marked}"
        if line.marks and line is self.teller.lines[0]:
            self._marks[name] = (turn, sentence.begins)
            turn.playout.await_mark(sentence.begins)
        line.mark(name, turn=turn.number, text=sentence.text)

    def _first_audio(self, turn: Turn, now: float) -> None:
        turn.first_audio_at = now
        self.audio_began(turn.number, now)
        metrics = turn.metrics()
        if metrics.voice_to_voice_ms is None:
            return
        self.metrics.append(metrics)
        self.measures.turn(metrics)
        self.teller.tell(
            TurnMetricsMessage(
                turn=turn.number,
                eou_ms=metrics.eou_ms,
                stt_ms=metrics.stt_ms,
                llm_first_token_ms=metrics.llm_first_token_ms,
                tts_first_chunk_ms=metrics.tts_first_chunk_ms,
                voice_to_voice_ms=metrics.voice_to_voice_ms,
            )
        )


def _rest(text: str, heard: str) -> str:
    """Give what of *text* comes after what was *heard* of it."""
    return " ".join(text.split()).removeprefix(" ".join(heard.split())).strip()
