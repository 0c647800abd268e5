"""How quick a conversation feels with the engines of this machine: answers, interruptions, and what is none.

``python -m ops.bench.turns [--calls 6]``. `invorto dev` serves in a process of its own with its local engines; a caller
made of recorded and spoken sentences asks, dictates and interrupts, in real time. *Answered* is from the last sound of
the caller's sentence to the arrival of the first sound of the answer, *interrupted* from the first sound of the
interruption to the arrival of `control.bargein`. In between the agent's own words come back at a quarter of their
loudness, and somebody coughs: an interruption that was not released again is a false one. Words remembered are those of
`tts.done`; words played are what the same engine hears in the audio that came before the cut.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import attrs
import numpy as np
import trio

from invorto.caller.calling import Caller, open_caller
from invorto.caller.ear import RATE, onset
from invorto.caller.reach import Server
from invorto.config import load
from invorto.demo.script import book, sayings
from invorto.demo.words import plain
from invorto.model.agent import SttSettings
from invorto.speech.opening import Opening
from invorto.speech.ports import Final, Heard, Samples, Stt
from invorto.speech.stt.local import open_stt
from ops.bench import figures, machine

PATIENCE = 60.0
"""Seconds to wait for a server, its engines, or an answer."""
LEAST, MOST = 1.0, 3.5
"""Seconds of the long answer that are listened to before it is interrupted."""
BACK, LATER = 0.25, 0.15
"""How loud the agent's words come back, and how many seconds later."""
COUGH = 0.18
"""Seconds."""
PAUSE = 1.2
"""Seconds between two coughs: what a hush takes to be released, and a little."""


@attrs.define
class Tally:
    """What was measured, seconds; words."""

    answered: list[float] = attrs.field(factory=list[float])
    interrupted: list[float] = attrs.field(factory=list[float])
    off: list[int] = attrs.field(factory=list[int])
    """Words remembered more than were played."""
    hushed: int = 0
    """Times the agent fell silent for its own words or a cough."""
    false: int = 0
    """Those that were not released."""
    asked: int = 0
    """Times that its own words or a cough could have silenced it."""
    lost: int = 0
    """Sentences that were never answered, interruptions that were not noticed."""


@contextmanager
def dev(folder: Path) -> Iterator[Server]:
    """Run `invorto dev` in *folder* until the block is left."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
    environ = {**kept, "DATA_DIR": str(folder / "data"), "LOCAL_ENGINE_CALLS": "4", "LOG_LEVEL": "warning"}
    with (folder / "log").open("w") as log:
        argv = [sys.executable, "-m", "invorto", "dev", "--port", "0"]
        process = subprocess.Popen(argv, env=environ, cwd=folder, stdout=log, stderr=log)
        try:
            until = time.monotonic() + PATIENCE
            while not (folder / "data" / "dev.json").exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"`invorto dev` did not start:\n{(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
            told = json.loads((folder / "data" / "dev.json").read_text())
            yield Server(told["url"], told["key"])
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


class Talk:
    """One caller's part; counts into the tally."""

    def __init__(self, caller: Caller, tally: Tally, says: Mapping[str, Samples]) -> None:
        self.caller, self.tally, self.says = caller, tally, says
        self.first = 0
        """Where in what was heard the last answer begins."""

    async def ask(self, name: str) -> bool:
        """Say something and wait for the first sound of the answer, whose delay is counted; False: there was none."""
        words = self.says[name]
        self.first = len(self.caller.ear.track)
        await self.caller.say(words)
        silent_at = self.caller.spoke_at + (last_sound(words) - onset(words)) / RATE
        with trio.move_on_after(PATIENCE / 4):  # noqa: ASYNC912 - it looks again and again
            while not self.caller.over.is_set():
                if len(self.caller.ear.track) > self.first:
                    self.tally.answered.append(self.caller.ear.track[self.first][0] / RATE - silent_at)
                    return True
                await trio.sleep(0.005)  # noqa: ASYNC110 - sound comes without a word
        self.tally.lost += 1
        return False

    async def question(self) -> bool:
        """Ask what is answered at length; once more if it was misheard."""
        for _ in range(2):
            since = self.caller.place
            if not await self.ask("question"):
                return False
            with trio.move_on_after(PATIENCE / 4):
                said = await self.caller.wait_for(lambda event: event["t"] == "tts.mark", since=since)
                if said is not None and "early" in said["text"]:
                    return True
                await self.caller.hear_out(since=since)
        self.tally.lost += 1
        return False

    async def interrupt(self, after: float) -> tuple[str, Samples] | None:
        """Break into the long answer; gives the words remembered, and the audio that had been played."""
        caller = self.caller
        await trio.sleep(after)
        since = caller.place
        caller.begin(self.says["interrupt"])
        with trio.move_on_after(PATIENCE / 4):
            if await caller.wait_for(lambda event: event["t"] == "control.bargein", since=since) is not None:
                at = next(at for at, event in caller.events[since:] if event["t"] == "control.bargein")
                self.tally.interrupted.append(at - caller.spoke_at)
                played = [piece for _, piece in caller.ear.track[self.first :]]
                done = await caller.wait_for(lambda event: event["t"] == "tts.done", since=since)
                await caller.hear_out(since=since + 1)
                return None if done is None else (done["heard"], np.concatenate(played))
        self.tally.lost += 1
        return None

    async def disturb(self, sounds: Sequence[Samples]) -> None:
        """Make sounds into the long answer that are no interruption, and see what the agent makes of them."""
        caller = self.caller
        for sound in sounds:
            if not await self.question():
                return
            since = caller.place
            await trio.sleep(LATER)
            await caller.say(sound)
            with trio.move_on_after(PATIENCE / 2):
                await caller.wait_for(lambda event: event["t"] == "tts.done", since=since)
            came = [event["t"] for _, event in caller.events[since:]]
            self.tally.asked += 1
            self.tally.hushed += came.count("control.bargein")
            self.tally.false += max(0, came.count("control.bargein") - came.count("control.resume"))
            await caller.quiet()


def last_sound(samples: Samples) -> int:
    """Give where speech is last to be heard, samples."""
    return len(samples) - onset(samples[::-1])


def coughs(rng: random.Random) -> Samples:
    """Make a few coughs: bursts of noise that die away."""
    noise, size = np.random.default_rng(rng.randrange(2**32)), round(COUGH * RATE)
    pieces = list[Samples]()
    for loud in (1500, 4000, 9000):
        burst = noise.standard_normal(size) * loud * np.exp(-4 * np.arange(size) / size)
        pieces += [np.zeros(round(PAUSE * RATE), np.int16), burst.clip(-32767, 32767).astype(np.int16)]
    return np.concatenate(pieces)


async def words_in(stt: Stt, samples: Samples) -> list[str]:
    """Hear what was said."""
    send, receive = trio.open_memory_channel[str](8)

    def hear(heard: Heard) -> None:
        if isinstance(heard, Final):
            send.send_nowait(heard.text)

    async with stt.listen(SttSettings(), RATE, hear) as ear:
        began = trio.current_time()
        ear.speech_began(began)
        ear.push(np.concatenate((samples, np.zeros(RATE // 4, np.int16))))
        ear.speech_paused(began + len(samples) / RATE)
        with trio.fail_after(PATIENCE):
            return plain(await receive.receive())


@asynccontextmanager
async def talk(server: Server, tally: Tally, says: Mapping[str, Samples], name: str) -> AsyncGenerator[Talk]:
    """Call, and hear the greeting."""
    async with open_caller(server, "demo", f"turns-{name}", answer_tool=book) as caller:
        await caller.hear_out()
        yield Talk(caller, tally, says)


async def measure(server: Server, calls: int, rng: random.Random) -> Tally:
    """Hold the conversations, one at a time, after one that warms up."""
    says = {name: saying.sound for name, saying in sayings().items()}
    tally = Tally()
    async with open_stt(Opening(config=load({}))) as stt:
        own = await _warm_up(server, says)
        for number in range(calls):
            async with talk(server, tally, says, f"ask-{number}") as caller:
                for name in ("leave_message", "message"):
                    since = caller.caller.place
                    await caller.ask(name)
                    await caller.caller.hear_out(since=since)
                if await caller.question():
                    cut = await caller.interrupt(rng.uniform(LEAST, MOST))
                    if cut is not None:
                        heard, played = cut
                        tally.off.append(len(plain(heard)) - len(await words_in(stt, played)))
                for name in ("time", "name", "confirm"):
                    since = caller.caller.place
                    await caller.ask(name)
                    await caller.caller.hear_out(since=since)
        async with talk(server, tally, says, "disturb") as caller:
            await caller.disturb([(own * BACK).astype(np.int16), coughs(rng)])
    return tally


async def _warm_up(server: Server, says: Mapping[str, Samples]) -> Samples:
    """Have each engine load and run; gives the long answer's audio, which the server keeps and plays again."""
    await _long_answer(server, says, "load")
    return await _long_answer(server, says, "warm")


async def _long_answer(server: Server, says: Mapping[str, Samples], name: str) -> Samples:
    async with talk(server, Tally(), says, name) as caller:
        if not await caller.question():
            raise SystemExit("the demo agent does not answer")
        await caller.caller.hear_out(since=caller.caller.place - 1)
        return np.concatenate([piece for _, piece in caller.caller.ear.track[caller.first :]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; the exit code is 1 where something was never answered or noticed."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.turns", description=__doc__)
    parser.add_argument("--calls", type=int, default=6, help="conversations, of about 50 seconds each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="invorto-bench-") as folder, dev(Path(folder)) as server:
        watch = machine.Watch(0)
        tally = trio.run(measure, server, options.calls, random.Random(options.seed))
        others = watch.others
    p = figures.percentile
    answered, interrupted = ([value * 1000 for value in values] for values in (tally.answered, tally.interrupted))
    figures.show(
        f"Turns with the engines of this machine, {options.calls} conversations",
        ("what", "count", "p50", "p95", "most"),
        [
            ("answered, ms", len(answered), p(answered, 0.5), p(answered, 0.95), p(answered, 1.0)),
            ("interrupted, ms", len(interrupted), p(interrupted, 0.5), p(interrupted, 0.95), p(interrupted, 1.0)),
            ("words remembered, not played", len(tally.off), p(tally.off, 0.5), p(tally.off, 0.95), p(tally.off, 1.0)),
            ("disturbed by itself or a cough", tally.asked, "", "", ""),
            ("hushed by it, and released", tally.hushed - tally.false, "", "", ""),
            ("hushed by it for good", tally.false, "", "", ""),
        ],
        ("on: Silero, Moonshine, the dialogue engine, Piper, recording, timeline, echo gate", f"others {others:.2f}"),
    )  # fmt: skip
    figures.tell(
        {
            "eou_to_audio_p50_ms": p(answered, 0.5), "eou_to_audio_p95_ms": p(answered, 0.95),
            "bargein_p50_ms": p(interrupted, 0.5), "bargein_p95_ms": p(interrupted, 0.95),
            "false_bargeins": tally.false, "hushes_released": tally.hushed - tally.false,
            "words_off_most": max(map(abs, tally.off), default=0), "lost": tally.lost, "others_cores": others,
        }
    )  # fmt: skip
    return int(tally.lost > 0)


if __name__ == "__main__":
    sys.exit(main())
