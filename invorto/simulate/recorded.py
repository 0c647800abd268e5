"""A recorded call as its timeline tells it: when the caller made sounds, what was understood, what was said; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import attrs

from invorto.errors import UsageError

type Event = Mapping[str, Any]
"""``{id, kind, payload, timestamp}``, as the timeline's route gives it."""

_UNDERSTOOD = 4.0
"""Seconds after a sound in which its words come."""
_GUESSED_PAUSE, _GUESSED_PACE = 0.25, 1 / 3
"""Where no sounds were kept: how long before its words a sound ended, and how long a word takes."""
_TOLD = {
    "bargein.detected": "✂ the caller breaks in", "control.resume": "the agent goes on",
    "endpointing.silence": "the caller is asked whether anybody is there", "voicemail": "a machine answered",
    "call.error": "an engine failed", "transfer": "transfer",
}  # fmt: skip


@attrs.frozen
class Sound:
    """The caller made a sound from *began* to *ended*, seconds; *text* is what was understood, if anything."""

    began: float
    ended: float
    text: str = ""


@attrs.frozen
class Moment:
    """Something that happened, seconds into the conversation."""

    at: float
    who: str
    what: str


@attrs.frozen(kw_only=True)
class Recorded:
    """A call that was."""

    sounds: tuple[Sound, ...]
    replies: tuple[str, ...]
    """What the agent answered, turn by turn, with what was left unheard."""
    moments: tuple[Moment, ...]
    ended: float
    reason: str


def read(events: Sequence[Event]) -> Recorded:
    """Make a call of its timeline; `UsageError` where it is none."""
    try:
        return _read(sorted(events, key=lambda event: int(event["timestamp"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"this is no call's timeline ({type(error).__name__}: {error})") from None


def _read(events: Sequence[Event]) -> Recorded:
    if not events:
        raise UsageError("the timeline is empty: was it kept?")
    first = int(events[0]["timestamp"])
    start = next((int(event["timestamp"]) for event in events if event["kind"] == "agent.started"), first)
    skew = (start - first) / 1000
    ended = next((event for event in events if event["kind"] == "call.ended"), events[-1])
    done = [event["payload"] for event in events if event["kind"] == "tts.done"]
    finals = [int(event["payload"]["turn"]) for event in events if event["kind"] == "stt.final"]
    rest = {e["payload"]["turn"]: str(e["payload"]["text"]) for e in events if e["kind"] == "tts.unheard"}
    answers = [f"{one['heard']} {rest.get(one['turn'], '')}".strip() for one in done if int(one["turn"]) in finals]
    return Recorded(
        sounds=tuple(_sounds(events, skew)),
        replies=tuple(answer for answer in answers if answer),
        moments=tuple(moments(events, start)),
        ended=(int(ended["timestamp"]) - start) / 1000,
        reason=str(cast("Mapping[str, Any]", ended["payload"]).get("reason", "")),
    )


def _sounds(events: Sequence[Event], skew: float) -> Iterator[Sound]:
    finals = [(float(e["payload"]["ts"]) - skew, str(e["payload"]["text"])) for e in events if e["kind"] == "stt.final"]
    kept = [
        (float(e["payload"]["began"]) - skew, float(e["payload"]["ended"]) - skew)
        for e in events
        if e["kind"] == "caller.spoke"
    ]
    if not kept:
        for at, text in finals:
            ended = max(at - _GUESSED_PAUSE, 0.1)
            yield Sound(max(ended - len(text.split()) * _GUESSED_PACE, 0.0), ended, text)
        return
    texts: dict[int, str] = {}
    for at, text in finals:
        fitting = [n for n, (_, ended) in enumerate(kept) if n not in texts and 0 <= at - ended <= _UNDERSTOOD]
        if fitting:
            texts[fitting[-1]] = text
    for number, (began, ended) in enumerate(kept):
        yield Sound(max(began, 0.0), max(ended, 0.0), texts.get(number, ""))


def moments(events: Sequence[Event], start: int) -> Iterator[Moment]:
    """Give what of a timeline is worth comparing; *start* is when the conversation began, Unix milliseconds."""
    for event in events:
        at, payload = round((int(event["timestamp"]) - start) / 1000, 2), event["payload"]
        match event["kind"]:
            case "stt.final":
                yield Moment(at, "caller", str(payload["text"]))
            case "turn.metrics":
                yield Moment(at, "agent", f"answers after {round(payload['voiceToVoiceMs'])} ms")
            case "tts.done":
                mark = " ✂" if payload["interrupted"] else ""
                yield Moment(at, "agent", f"{payload['heard']}{mark}")
            case "tool.requested":
                yield Moment(at, "agent", f"calls {payload['name']}")
            case "call.ended":
                yield Moment(at, "", f"ends: {payload['reason']}")
            case kind if kind in _TOLD:
                yield Moment(at, "", _TOLD[kind])
            case _:
                pass
