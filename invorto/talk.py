"""`invorto talk`: speaks sound files to a running server, shows both sides, and saves what comes back."""

from __future__ import annotations

import secrets
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio
from rich.console import Console

from invorto.audio.resample import resample
from invorto.audio.wav import read_wav, write_wav
from invorto.caller.calling import Caller, open_caller
from invorto.caller.ear import RATE
from invorto.caller.reach import Event, Server
from invorto.caller.screen import Screen, open_screen
from invorto.config import Config
from invorto.dev import DEMO_AGENT, recall
from invorto.errors import Invalid, StartFailed, UsageError
from invorto.speech.ports import Samples

GREETING = 4.0
"""Seconds in which an agent that greets has begun to."""
ANSWER = 15.0
"""Seconds in which an agent has begun to answer; after it the next file is spoken."""
INTERRUPTED = 130
"""The exit code when a signal ended the call."""
_MICROPHONES = {"-", "mic", "microphone"}


@attrs.frozen
class Spoken:
    """A file to be spoken."""

    path: Path
    samples: Samples

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.samples) / RATE


async def talk(
    config: Config, files: Sequence[Path], save: Path, *, url: str | None, key: str | None, agent: str | None
) -> int:
    """
    Speak *files* one after the other, each when the agent has finished, and save the agent's voice on the call's clock.

    Gives the exit code. `UsageError` says what is wrong with a file, the URL, the key or the agent, before anything is
    said; `StartFailed` that the call broke off, or that nothing was understood.
    """
    spoken = [_read(path) for path in files]
    longest = config.limits.call_timeout_minutes * 60
    if (together := sum(one.seconds for one in spoken)) > longest:
        raise UsageError(
            f"the files take {together / 60:.0f} minutes, a call at most {longest / 60:.0f}: speak fewer in one call"
        )
    server, agent = _where(config, url, key, agent)
    _check_writable(save)
    console = Console()
    stopped = trio.Event()
    with open_screen(console) as screen:
        async with trio.open_nursery() as nursery:
            await nursery.start(_listen_for_signals, stopped)
            call_id = f"talk-{secrets.token_hex(6)}"
            async with open_caller(server, agent, call_id, tell=screen.take, answer_tool=_stand_in) as caller:
                try:
                    async with trio.open_nursery() as talking:
                        talking.start_soon(_cancelled_by, stopped, talking.cancel_scope)
                        await _speak(caller, spoken, screen)
                        talking.cancel_scope.cancel()
                finally:
                    heard = caller.ear.heard()
                    _save(save, heard)
            nursery.cancel_scope.cancel()
    console.print(f"{save}: {len(heard) / RATE:.1f} s of what the agent said", markup=False, highlight=False)
    return INTERRUPTED if stopped.is_set() else _judge(caller)


async def _speak(caller: Caller, spoken: Sequence[Spoken], screen: Screen) -> None:
    """Speak each file when the agent has finished what it says."""
    await _hear_out(caller, 0, GREETING)
    for one in spoken:
        if caller.over.is_set():
            screen.note(caller.now, f"{one.path} was not spoken: the call was over")
            continue
        screen.note(caller.now, f"▶ {one.path} ({one.seconds:.1f} s)")
        since = caller.place
        await caller.say(one.samples)
        await _hear_out(caller, since, ANSWER)


async def _hear_out(caller: Caller, since: int, patience: float) -> None:
    """Wait until the agent has begun, unless that takes too long, and then until it has finished."""
    with trio.move_on_after(patience):
        await caller.wait_for(lambda event: event["t"] == "tts.mark", since=since)
    begun = [event["turn"] for _, event in caller.events[since:] if event["t"] == "tts.mark"]
    if begun:
        await caller.wait_for(lambda event: event["t"] == "tts.done" and event["turn"] >= begun[-1], since=since)
        await caller.quiet()


def _judge(caller: Caller) -> int:
    understood = any(event["t"] == "stt.final" for _, event in caller.events)
    if caller.over.is_set() and caller.closed[0] != 1000:
        code, reason = caller.closed
        why = reason or ("the server went away" if code == 1006 else f"close code {code}")
        raise StartFailed(f"the call broke off ({why}); what was heard until then is saved")
    if not understood:
        raise StartFailed("the agent understood nothing: is there speech in the files?")
    return 0


# -- before the call ------------------------------------------------------------------------------


def _read(path: Path) -> Spoken:
    if str(path) in _MICROPHONES:
        raise UsageError(
            "there is no microphone here: record a file first, for example with"
            " `arecord -f S16_LE -r 16000 -d 5 question.wav`, and give its name"
        )
    try:
        samples, rate = read_wav(path)
    except Invalid as error:
        raise UsageError(str(error)) from None
    return Spoken(path, resample(samples, rate, RATE))


def _where(config: Config, url: str | None, key: str | None, agent: str | None) -> tuple[Server, str]:
    """Find the server, the key and the agent: what was given, else what `invorto dev` left word of."""
    if url is not None and key is not None:
        return Server(url, key), agent or DEMO_AGENT
    known = recall(config.stores.data_dir)
    if url is not None and url.rstrip("/") != known["url"].rstrip("/"):
        raise UsageError(f"give --key too: the one that is known here belongs to {known['url']}")
    return Server(url or known["url"], key or known["key"]), agent or known["agent"]


def _check_writable(save: Path) -> None:
    try:
        if save.is_dir():
            raise UsageError(f"{save} is a folder: name a file in it with --save")
        with tempfile.TemporaryFile(dir=save.parent):
            pass
    except OSError as error:
        raise UsageError(f"{save} cannot be written ({error.strerror}): choose another file with --save") from None


def _save(save: Path, heard: Samples) -> None:
    new = save.with_name(f".{save.name}.new")
    try:
        write_wav(new, heard, RATE)
        new.replace(save)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StartFailed(f"{save} could not be written ({error.strerror})") from None


# -- during it ------------------------------------------------------------------------------------


def _stand_in(event: Event) -> Mapping[str, Any]:
    """Answer a tool: there is nothing behind it here, so it is told that all went well."""
    return {"ok": True, "number": "1 2 3 4", "args": event["args"]}


async def _listen_for_signals(
    stopped: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            stopped.set()


async def _cancelled_by(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
