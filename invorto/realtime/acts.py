"""What may be done to a live call from outside, by name: what each needs, and how its owner does it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, cast

import attrs
import trio

from invorto.convert import structure, unstructure
from invorto.errors import Conflict, NotFound
from invorto.model.call import EndReason
from invorto.model.rules import match, text
from invorto.realtime import turns as t
from invorto.realtime.livecall import LiveCall
from invorto.realtime.stats import CallStats

MOST_TO_SAY = 20
"""Texts that the agent may be told to say before it has said them, and whispers that it may have for one answer."""


@attrs.frozen(kw_only=True)
class End:
    """End the call."""

    reason: Literal["api", "canceled", "error"] = "api"
    goodbye: bool = False
    """Whether the agent says goodbye first: then the answer does not wait for the end."""


@attrs.frozen(kw_only=True)
class Transfer:
    """Hand the caller over to a number or SIP URI of the agent's ``transferTargets``."""

    to: str = attrs.field(validator=text(256, least=1))
    mode: Literal["blind", "attended"] = "blind"


@attrs.frozen(kw_only=True)
class Say:
    """Have the agent say something, as a turn of its own."""

    text: str = attrs.field(validator=text(8 * 1024, least=1))
    interruptible: bool = True
    """Whether the caller may break in."""
    urgent: bool = False
    """Whether it is said instead of what the agent is saying; else after it. A caller is always heard out."""


@attrs.frozen(kw_only=True)
class Whisper:
    """Tell the agent something for its next answer; the caller never hears of it."""

    text: str = attrs.field(validator=text(8 * 1024, least=1))


@attrs.frozen(kw_only=True)
class Hold:
    """Put the caller on hold, where the agent neither listens nor speaks, or take up the conversation again."""

    on: bool = True
    play: Literal["music", "silence"] = "music"
    """What the caller hears meanwhile."""


@attrs.frozen(kw_only=True)
class Dtmf:
    """Send digits to the far end; ``,`` and ``w`` are pauses."""

    digits: str = attrs.field(validator=match(r"[0-9A-D*#,w]{1,64}", "1 to 64 of 0-9 A-D * # , w"))
    method: Literal["rfc2833", "info"] = "rfc2833"


@attrs.frozen(kw_only=True)
class RecordingControl:
    """Start, stop, pause or go on with the recording."""

    action: Literal["start", "stop", "pause", "resume"]


@attrs.frozen(kw_only=True)
class Stats:
    """Look how the call goes."""


type Act = End | Transfer | Say | Whisper | Hold | Dtmf | RecordingControl | Stats
type Done = Mapping[str, Any]
"""What is answered: JSON."""

ACTS: Mapping[str, type[Any]] = {
    "end": End, "transfer": Transfer, "say": Say, "whisper": Whisper, "hold": Hold, "dtmf": Dtmf,
    "recording": RecordingControl, "stats": Stats,
}  # fmt: skip
_NAMES = {kind: name for name, kind in ACTS.items()}


def write_act(act: Act) -> tuple[str, dict[str, Any]]:
    """Give an act's name, and what it is done with as JSON."""
    return _NAMES[type(act)], unstructure(act)


def read_act(name: str, args: Mapping[str, Any]) -> Act:
    """Read what `write_act` wrote, on this node or by a newer one on another; `Invalid`, `NotFound`."""
    if name not in ACTS:
        raise NotFound(f"this node knows no act {name!r}")
    return cast("Act", structure(dict(args), ACTS[name]))


async def act_on(live: LiveCall, act: Act, gone: Callable[[], Awaitable[None]]) -> Done:
    """
    Do *act* to a call that is owned here, and return when it is done; *gone* waits until nothing is left of the call.

    `Conflict` (``call_not_live`` where the call ends meanwhile), `NotSupported` where the far end has no such ability,
    `Forbidden` for a target that is not the agent's.
    """
    if not isinstance(act, End | Stats | RecordingControl) and not live.begun:
        await trio.lowlevel.checkpoint()
        raise Conflict("the conversation has not begun: its client is connected and silent", "call_not_live")
    match act:
        case End(reason=reason, goodbye=goodbye):
            live.leave(EndReason(reason), goodbye=goodbye)
            if not goodbye:
                await gone()
            return {"status": "ending" if goodbye else "ended"}
        case Transfer(to=to, mode=mode):
            await live.transfer(to, mode)
            return {"status": "started", "to": to, "mode": mode}
        case Say():
            return await _say(live, act)
        case Whisper(text=said):
            return await _whisper(live, said)
        case Hold(on=on, play=play):
            await live.hold(on=on, music=play == "music")
            return {"status": "held" if on else "active"}
        case Dtmf(digits=digits, method=method):
            await live.send_digits(digits, method)
            return {"status": "sent", "digits": digits, "method": method}
        case RecordingControl(action=action):
            live.control_recording(action)
            await trio.lowlevel.checkpoint()
            return {"status": "recording" if action in {"start", "resume"} else "paused"}
        case Stats():
            await trio.lowlevel.checkpoint()
            return cast("Done", unstructure(CallStats.of(live)))


async def _say(live: LiveCall, act: Say) -> Done:
    conversation = live.conversation
    if conversation.turns.waiting >= MOST_TO_SAY:
        raise Conflict(f"the agent has {MOST_TO_SAY} texts to say already")
    wish = t.Interject(act.text, interruptible=act.interruptible, urgent=act.urgent)
    acts = await conversation.inbox.ask(wish)
    turn = next((done.turn for done in acts if isinstance(done, t.Recite)), None)
    return {"status": "queued" if turn is None else "speaking", "turn": turn}


async def _whisper(live: LiveCall, said: str) -> Done:
    transcript = live.conversation.transcript
    if transcript.whispers >= MOST_TO_SAY:
        raise Conflict(f"the agent has {MOST_TO_SAY} whispers to heed already")
    live.note("agent.whispered", {"text": said})
    await trio.lowlevel.checkpoint()
    return {"status": "whispered", "waiting": transcript.whisper(said)}
