"""What a finished call leaves, read over REST: shown, kept in files, and held against what the caller lived through."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import attrs
import trio
from rich.console import Console

from invorto.audio.wav import read_wav
from invorto.caller.calling import Caller
from invorto.caller.ear import RATE
from invorto.caller.reach import Server
from invorto.caller.story import plain
from invorto.demo.script import Finding
from invorto.errors import Invalid, StartFailed

KEEPING = 10.0
"""Seconds that a call may take to be kept after its end."""
_PAISA = Decimal("0.01")
_TELLING = ("text", "heard", "name", "reason", "voiceToVoiceMs", "playedMs", "turn")
"""What tells most of an event, best first."""


@attrs.frozen(kw_only=True)
class Leavings:
    """A call as it was kept."""

    call: Mapping[str, Any]
    transcript: Sequence[Mapping[str, Any]]
    timeline: Sequence[Mapping[str, Any]]
    recording: bytes

    @property
    def cost(self) -> Decimal:
        """What it cost, ₹."""
        return sum((Decimal(cost["inr"]) for cost in self.call["costs"]), Decimal(0)).quantize(_PAISA, ROUND_HALF_UP)


async def read_leavings(server: Server, call_id: str) -> Leavings:
    """Read all of it, once the call is kept; `StartFailed` says what cannot be had."""
    here = f"/v1/calls/{call_id}"
    call: Mapping[str, Any] = {}
    with trio.move_on_after(KEEPING):
        while not (call := await server.get(here)).get("endReason"):  # noqa: ASYNC110 - nobody tells over REST
            await trio.sleep(0.1)
    if not call.get("endReason"):
        raise StartFailed(f"the call was not kept within {KEEPING:g} s")
    timeline: Sequence[Mapping[str, Any]] = ()
    with trio.move_on_after(KEEPING):  # noqa: ASYNC912 - each look asks the server, which writes every 100 ms
        while not timeline or timeline[-1]["kind"] != "call.ended":
            await trio.sleep(0.1)
            timeline = (await server.get(f"{here}/timeline?count=1000"))["timeline"]
    return Leavings(
        call=call,
        transcript=(await server.get(f"{here}/transcript"))["transcript"],
        timeline=timeline,
        recording=await server.get_bytes(f"{here}/recording") if call.get("recordingUrl") else b"",
    )


def keep(left: Leavings, folder: Path, name: str) -> Path:
    """Write it as files called *name*; gives the recording's path."""
    recording = folder / f"{name}.wav"
    recording.write_bytes(left.recording)
    for kind, value in {"call": left.call, "transcript": left.transcript, "timeline": left.timeline}.items():
        text = json.dumps(value, indent=2, ensure_ascii=False)
        (folder / f"{name}.{kind}.json").write_text(f"{text}\n", "utf-8")
    return recording


def judge(left: Leavings, caller: Caller, cut: str | None) -> list[Finding]:
    """Hold what was kept against what the caller lived through; *cut* is what was heard of the interrupted turn."""
    turns = [one["text"] for one in left.transcript if one["interrupted"]]
    kinds = {event["kind"] for event in left.timeline}
    wanted = {"call.started", "stt.final", "bargein.detected", "tool.succeeded", "turn.metrics", "call.ended"}
    lacking = ", ".join(sorted(wanted - kinds))
    seconds, channels = _length(left.recording)
    lasted = left.call["duration"]
    return [
        Finding(
            "the transcript has the interrupted turn as far as it was heard",
            cut is not None and cut in turns,
            "; ".join(f"“{text}”" for text in turns) or "no turn is marked as interrupted",
        ),
        Finding(
            "the timeline tells all of it", not lacking, f"{len(left.timeline)} events, lacking: {lacking or 'none'}"
        ),
        Finding(
            "the recording is in stereo and as long as the call",
            channels == 2 and abs(seconds - lasted) < 1 and len(caller.ear.heard()) > RATE,
            f"{channels} channels, {seconds:.1f} of {lasted:.1f} s",
        ),
    ]


def _length(recording: bytes) -> tuple[float, int]:
    try:
        samples, rate = read_wav(recording, "the recording")
    except Invalid:
        return 0.0, 0
    return len(samples) / rate, int.from_bytes(recording[22:24], "little")


def show(left: Leavings, console: Console) -> None:
    """Print transcript, timeline and costs."""
    console.print()
    console.rule("transcript", align="left")
    for one in left.transcript:
        who = "agent" if one["role"] == "assistant" else "caller"
        cut = " ✂" if one["interrupted"] else ""
        _line(console, f"{one['began']:6.1f}  {who:6}  {plain(one['text'])}{cut}")
    console.rule("timeline", align="left")
    for event in left.timeline:
        at = (int(event["id"].partition("-")[0]) - int(left.timeline[0]["id"].partition("-")[0])) / 1000
        _line(console, f"{at:6.1f}  {event['kind']:20}  {_told(event['payload'])}")
    console.rule("cost", align="left")
    for cost in left.call["costs"]:
        _line(
            console, f"{cost['kind']:10} {cost['provider']:10} {cost['quantity']:>10} {cost['unit']:11} ₹{cost['inr']}"
        )
    _line(console, f"{'together':44} ₹{left.cost}")


def _told(payload: Mapping[str, Any]) -> str:
    return next((plain(str(payload[name])) for name in _TELLING if payload.get(name) not in {None, ""}), "")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
