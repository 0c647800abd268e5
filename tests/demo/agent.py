"""An agent that answers the demo's caller by rote, in virtual time: its socket as the caller sees it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import trio
from trio_websocket import CloseReason, ConnectionClosed

from invorto.caller.calling import Caller
from invorto.demo.script import LONG, NUMBER

PAUSE = 0.3
"""Seconds of silence after which it answers."""
TOOL = {"t": "tool.call", "name": "book_appointment"}
ARGS = {"date": "2026-11-23", "time": "15:30", "name": "Anna Miller"}


@attrs.frozen
class Cue:
    """What it understands, and what it does then."""

    heard: str
    says: str
    args: Any = None
    leaves: bool = False


MESSAGE = "Had he married a more amiable woman, he might have been made still more respectable than he was."
PLAY: Sequence[Cue] = (
    Cue("I'd like to leave a message.", "What should I tell the doctor?"),
    Cue(MESSAGE, f"Thank you. I wrote down: {MESSAGE}"),
    Cue("How do I prepare?", f"Please come {LONG}, and bring a list of what you take. {'And so on. ' * 20}"),
    Cue("I would rather book.", "At what time on Monday?"),
    Cue("Half past three.", "And what is your name, please?"),
    Cue("Anna Miller.", "So that is Monday, 3:30 PM and Anna Miller. Is that right?"),
    Cue("Yes.", f"Its number is {NUMBER}. Is there anything else?", args=ARGS),
    Cue("Goodbye.", "Goodbye.", leaves=True),
)


@attrs.define
class Agent:
    """The far end of a caller's socket."""

    play: list[Cue]
    hush: float = 0.06
    """Seconds of speech after which it falls silent; infinite: never."""
    speed: float = 15.0
    """Characters that it says in a second."""
    _send: Any = None
    _inbox: Any = None
    _quiet: float = 0.0
    _spoken: float = 0.0
    _heard: bool = False
    _busy: trio.CancelScope | None = None
    _saying: tuple[int, str, float] | None = None
    _numbers: Any = attrs.field(factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        self._send, self._inbox = trio.open_memory_channel[Any](1000)

    # -- what the caller uses -------------------------------------------------------------------------

    async def get_message(self) -> str | bytes:
        try:
            return await self._inbox.receive()
        except trio.EndOfChannel:
            raise ConnectionClosed(CloseReason(1000, None)) from None

    async def send_message(self, message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(message, str):
            return
        loud = bool(np.abs(np.frombuffer(message, "<i2").astype(np.int32)).max() > 500)
        self._spoken = self._spoken + 0.02 if loud else self._spoken
        self._quiet = 0.0 if loud else self._quiet + 0.02
        self._heard = self._heard or self._spoken > 0.2
        if self._saying is not None and self._spoken >= self.hush:
            self._interrupted()

    # -- what it does ---------------------------------------------------------------------------------

    def tell(self, **event: Any) -> None:
        self._send.send_nowait(json.dumps({"id": f"1-{next(self._numbers)}", **event}))

    async def live(self, nursery: trio.Nursery) -> None:
        """Greet, and answer what is said until the play is over; then say nothing more."""
        self.tell(t="connected", callId="c", agentId="a")
        await self._say(0, Cue("", "Good day."))
        for turn, cue in enumerate(self.play, 1):
            self._spoken, self._heard = 0.0, False
            while not (self._heard and self._quiet >= PAUSE):  # noqa: ASYNC110
                await trio.sleep(0.02)
            self._spoken, self._heard = 0.0, False
            self.tell(t="stt.final", text=cue.heard, ts=0.0, turn=turn)
            if cue.args is not None:
                self.tell(**TOOL, args=cue.args)
            await self._say(turn, cue)
            if cue.leaves:
                self.tell(t="end", reason="agent")
                self._send.close()
                return

    async def _say(self, turn: int, cue: Cue) -> None:
        length = len(cue.says) / self.speed
        first = cue.says.split(". ", maxsplit=1)[0]
        self.tell(t="tts.mark", name=f"{turn}", turn=turn, text=first)
        self._send.send_nowait(np.ones(round(length * 16000), "<i2").tobytes())
        self._saying = (turn, cue.says, trio.current_time())
        with trio.CancelScope() as self._busy:
            await trio.sleep(length)
        if not self._busy.cancelled_caught:
            self._saying = None
            self.tell(t="tts.done", turn=turn, heard=cue.says.strip(), interrupted=False)

    def _interrupted(self) -> None:
        assert self._saying is not None
        assert self._busy is not None
        (turn, text, began), self._saying = self._saying, None
        played = trio.current_time() - began
        heard = " ".join(text[: round(played * self.speed)].split()[:-1])
        self.tell(t="control.bargein", turn=turn, playedMs=round(played * 1000), action="stop-tts")
        self.tell(t="tts.done", turn=turn, heard=heard, interrupted=True)
        self._busy.cancel()


async def perform(agent: Agent, caller: Caller, body: Any) -> None:
    """Have the caller's tasks and the agent run while *body* does."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(agent.live, nursery)
        for task in (caller.listen, caller.speak, caller.echo):
            nursery.start_soon(task)
        await body()
        nursery.cancel_scope.cancel()
