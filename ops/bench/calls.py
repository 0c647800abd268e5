"""How many calls one core holds, and at what cost and delay; long, since load, measuring and telling are one run.

``python -m ops.bench.calls [-n 25,100] [--seconds 60] [--unplugged]``. Callers on binary voice sockets (8 kHz µ-law,
20 ms) speak recorded seconds in real time, are answered with two seconds of audio, and talk over every third answer.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections.abc import Sequence
from typing import Any

import attrs

from ops.bench import figures, house, machine, speech
from ops.bench.caller import Socket
from ops.bench.house import Server
from ops.bench.loop import Loop, now

STEPS = (25, 50, 100, 150, 200, 250, 300, 400)
ANSWER = 2.0
"""Seconds of audio in an answer."""
BREATH = 0.3
"""Seconds between the end of an answer and the caller's next words: more than is sent ahead."""
WARM = 32
"""Calls before anything is weighed: as many as the detector takes in a batch, whose room is not a call's."""
CYCLE = speech.LENGTH + house.SILENCE + house.STUBS + ANSWER + BREATH
PATIENCE = 3.0
"""Seconds after which an answer, or a clear, counts as never."""
HELD = 0.050
"""Seconds that may be added to 99 of 100 answers."""
SLICE = 1.0
"""Seconds at a time for which it is asked whether the machine was ours."""
NOISE = 0.1
"""Cores that others may take, the host of a virtual machine among them; latencies of louder seconds are left out."""


@attrs.define
class Tally:
    """What the callers of one run have seen; seconds."""

    added: list[tuple[float, float]] = attrs.field(factory=list)
    """For each answer: when it came, how much was added."""
    clears: list[tuple[str, float, float]] = attrs.field(factory=list)
    """For each answer that was talked over: the call, when the caller began, when the clear came."""
    answers: int = 0
    timeouts: int = 0
    strays: int = 0
    """Answers to half an utterance: audio while the caller was still speaking."""
    lost: int = 0
    """Connections that ended."""
    blocked: int = 0
    since: float = float("inf")
    """From when on it counts."""


class Talker(Socket):
    """One caller: speaks, listens, every third time talks over the answer."""

    def __init__(self, loop: Loop, server: Server, call_id: str, cuts: Sequence[speech.Cut], tally: Tally) -> None:
        self._id, self._cuts, self._tally = call_id, cuts, tally
        self._quiet = speech.quiet()
        self._random = random.Random(call_id)
        self._turn = self._place = 0
        self._words: tuple[bytes, ...] = ()
        self._speak_at = now() + 0.2
        self._spoke_at: float | None = None
        self._began = 0.0
        self._interrupting = self._over_answer = self._cleared = False
        self._due = now() + self._random.random() * 0.02
        super().__init__(loop, server.port, server.target(call_id), server.key)
        self.say('{"t":"start","audioOut":"binary"}')
        loop.at(self._due, self._tick)

    def _tick(self) -> None:
        """Send a frame, once every 20 ms by the clock."""
        if self.over:
            return
        if self._place < len(self._words):
            self.send(self._words[self._place])
            self._place += 1
            if self._place == len(self._words):
                self._spoke_at = now()
        else:
            moment = now()
            if moment >= self._speak_at:
                self._speak(moment)
            elif self._spoke_at is not None and moment > self._spoke_at + PATIENCE:
                self._tally.timeouts += self._counts
                self._speak(moment)
            else:
                self.send(self._quiet[self._turn % len(self._quiet)])
        self._due += 0.02
        self._loop.at(self._due, self._tick)

    def _speak(self, moment: float) -> None:
        if self._over_answer and not self._cleared:
            self._tally.timeouts += self._counts
        self._over_answer, self._interrupting = self._interrupting, False
        self._words, self._place = self._random.choice(self._cuts).frames, 1
        self._began, self._speak_at, self._spoke_at = moment, float("inf"), None
        self._cleared = False
        self.send(self._words[0])

    @property
    def _counts(self) -> bool:
        return self._began >= self._tally.since

    def heard(self) -> None:
        """Take the first audio of an answer; the rest only plays."""
        if self._spoke_at is None:
            self._tally.strays += self._place > 30 and self._counts
            return
        came = now()
        if self._counts:
            self._tally.added.append((came, came - self._spoke_at - house.SILENCE - house.STUBS))
            self._tally.answers += 1
        self._spoke_at = None
        self._turn += 1
        self._interrupting = self._turn % 3 == 0
        self._speak_at = came + (ANSWER / 2 if self._interrupting else ANSWER + BREATH)

    def told(self, message: bytes) -> None:
        """Take a clear; of all else it is enough that it comes."""
        if message.startswith(b'{"t":"control.bargein"'):
            self._cleared = True
            if self._counts:
                self._tally.clears.append((self._id, self._began, now()))

    def ended(self) -> None:
        """Count a connection that went: none should."""
        self._tally.lost += 1
        self._tally.blocked += self.blocked


@attrs.define
class Slices:
    """The seconds of a run, and which of them were ours: neither others nor the host took much."""

    loop: Loop
    loud: list[tuple[float, float]] = attrs.field(factory=list)
    count: int = 0
    _watch: machine.Watch = attrs.field(init=False)
    _since: float = 0.0

    def __attrs_post_init__(self) -> None:
        """Begin with the first."""
        self._begin()

    def _begin(self) -> None:
        self._watch, self._since = machine.Watch(os.getpid()), now()
        self.loop.at(self._since + SLICE, self._end)

    def _end(self) -> None:
        self.count += 1
        if self._watch.others > NOISE:
            self.loud.append((self._since, now()))
        self._begin()

    def quiet(self, began: float, ended: float) -> bool:
        """Whether nobody disturbed between two moments."""
        return not any(since < ended and began < until for since, until in self.loud)

    @property
    def share(self) -> float:
        """How much of the run counts."""
        return 1 - len(self.loud) / max(self.count, 1)


@attrs.frozen
class Run:
    """What one number of calls came to."""

    calls: int
    seconds: float
    tally: Tally
    cpu: float
    """CPU seconds of the server and its children."""
    bytes: float
    """A call's memory."""
    tasks: float
    """A call's tasks."""
    batch: float
    """Windows that the detector judged at a time."""
    vad: float
    """Seconds that it took of the core."""
    verdict: list[float]
    """From the verdict on a barge-in to the caller's receipt of the clear."""
    frame: list[float]
    """From the frame that decides to the caller's receipt of the clear."""
    others: float
    quiet: float
    """The share of its seconds whose latencies count."""
    added_s: list[float]
    """Added to each answer that counts."""
    late: list[float]
    collector: float
    """The longest that the garbage collector held everything up."""

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds of a second of a call."""
        return self.cpu * 1000 / (self.calls * self.seconds)

    @property
    def held(self) -> bool:
        """Whether it counts as held."""
        tally = self.tally
        broken = tally.timeouts or tally.lost or not tally.answers or not tally.clears
        return not broken and figures.percentile(self.added_s, 0.99) <= HELD

    def added(self, share: float) -> float:
        """Give a percentile of what was added, milliseconds."""
        return figures.percentile(self.added_s, share) * 1000


def run(
    stores: house.Stores, core: int, calls: int, seconds: float, cuts: Sequence[speech.Cut], *, unplugged: bool
) -> Run:
    """Hold *calls* calls for *seconds*, after a warm-up."""
    with house.server(stores, core, unplugged=unplugged) as server:
        _hold(server, min(WARM, calls), 4.0, cuts, "warm")
        empty, empty_bytes = server.ask("settled"), machine.memory(server.pid)
        loop, tally = Loop(), Tally()
        began = now()
        talkers: list[Talker] = []

        def call(number: int) -> None:
            talkers.append(Talker(loop, server, f"n{calls}-{number}", cuts, tally))

        ramp = max(CYCLE, calls / 40)
        for number in range(calls):
            loop.at(began + ramp * number / calls, lambda number=number: call(number))
        loop.run(began + ramp + CYCLE)
        server.ask("clears")
        before, watch = server.ask("state"), machine.Watch(server.pid)
        loop.lateness.clear()
        tally.since = now()
        slices = Slices(loop)
        loop.run(now() + seconds)
        tally.since, took, cpu, others = float("inf"), watch.seconds, watch.server_cpu, watch.others
        after, full_bytes = server.ask("state"), machine.memory(server.pid)
        clears = server.ask("clears")["clears"]
        late, lost = loop.lateness, tally.lost
        for talker in talkers:
            talker.hang_up()
        tally.lost = lost
        loop.close()
        windows, batches = (after["vad"][name] - before["vad"][name] for name in ("windows", "batches"))
        added = [added for came, added in tally.added if slices.quiet(came - added - house.SILENCE, came)]
        verdict, frame = _matched(tally, clears, slices)
        return Run(
            calls, took, tally, cpu, (full_bytes - empty_bytes) / calls, (after["tasks"] - empty["tasks"]) / calls,
            windows / max(batches, 1), (after["vad"]["seconds"] - before["vad"]["seconds"]) / took, verdict, frame,
            others, slices.share, added, late, after["collector"],
        )  # fmt: skip


def _hold(server: Server, calls: int, seconds: float, cuts: Sequence[speech.Cut], name: str) -> None:
    """Hold some calls and let them go, uncounted."""
    loop = Loop()
    talkers = [Talker(loop, server, f"{name}-{number}", cuts, Tally()) for number in range(calls)]
    loop.run(now() + seconds)
    for talker in talkers:
        talker.hang_up()
    loop.close()
    while server.ask("state")["calls"]:
        loop = Loop()
        loop.run(now() + 0.05)
        loop.close()


def _matched(tally: Tally, clears: list[list[Any]], slices: Slices) -> tuple[list[float], list[float]]:
    """Put what the server knows of each clear beside what its caller saw; gives seconds since verdict, since frame."""
    sent: dict[str, list[tuple[float, float, float]]] = {}
    for call_id, frame, verdict, cleared in clears:
        sent.setdefault(call_id, []).append((frame, verdict, cleared))
    since_verdict, since_frame = list[float](), list[float]()
    for call_id, began, came in tally.clears:
        frame, verdict, _ = next(times for times in reversed(sent[call_id]) if began <= times[1] <= came)
        if slices.quiet(frame, came):
            since_verdict.append(came - verdict)
            since_frame.append(came - frame)
    return since_verdict, since_frame


_HEEDED = (
    "others: cores that other processes or the host took; latencies are of the quiet seconds, in which it was at most"
    f" {NOISE}"
)


def report(runs: Sequence[Run], cuts: Sequence[speech.Cut]) -> dict[str, Any]:
    """Print the table; gives the named figures."""
    p = figures.percentile
    figures.show(
        f"Calls on one core, {runs[0].seconds:.0f} s each",
        ("calls", "added p50", "p95", "p99 ms", "clear p99 ms", "from frame", "CPU ms/call-s", "KB/call", "tasks/call",
         "answers", "timed out", "batch", "VAD %", "GC ms", "others", "quiet %", "late p99", "held"),
        [
            (
                each.calls, each.added(0.5), each.added(0.95), each.added(0.99), p(each.verdict, 0.99) * 1000,
                p(each.frame, 0.99) * 1000, each.cpu_ms, each.bytes / 1000, each.tasks, each.tally.answers,
                each.tally.timeouts + each.tally.lost, each.batch, each.vad * 100,
                each.collector * 1000, each.others, each.quiet * 100, p(each.late, 0.99) * 1000,
                "yes" if each.held else "no",
            )
            for each in runs
        ],
        (f"on: {house.ON}", _detector(cuts), _HEEDED),
    )  # fmt: skip
    held = 0
    for each in runs:
        if not each.held:
            break
        held = each.calls
    at = {each.calls: each for each in runs}
    last = max(runs, key=lambda each: each.calls)
    named: dict[str, Any] = {
        "calls_held_one_core": held, "kb_per_call": last.bytes / 1000, "tasks_per_call": last.tasks,
    }  # fmt: skip
    for calls, each in at.items():
        named |= {
            f"cpu_ms_per_call_second_at_{calls}": each.cpu_ms, f"added_p99_ms_at_{calls}": each.added(0.99),
            f"bargein_p99_ms_at_{calls}": p(each.verdict, 0.99) * 1000,
        }  # fmt: skip
    first = at.get(25, runs[0])
    return {
        **named, "bargein_p99_ms": p(first.verdict, 0.99) * 1000,
        "bargein_from_frame_p99_ms": p(first.frame, 0.99) * 1000,
        "timed_out": sum(each.tally.timeouts + each.tally.lost for each in runs),
        "others_cores": max(each.others for each in runs), "quiet_share": min(each.quiet for each in runs),
    }  # fmt: skip


def _detector(cuts: Sequence[speech.Cut]) -> str:
    tails = [tail * 1000 for cut in cuts for tail in cut.tails]
    return (
        f"{len(cuts)} recorded seconds, whose ends the detector alone hears {min(tails):+.0f} to {max(tails):+.0f} ms"
        f" off (median {figures.percentile(tails, 0.5):+.0f}): that much of what is added is its window of 32 ms"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench; the exit code is 1 where an answer or a clear never came at the smallest number of calls."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.calls", description=__doc__)
    parser.add_argument("-n", help="numbers of calls, such as 25,100; without it, more and more until too many")
    parser.add_argument("--seconds", type=float, default=60.0, help="to measure for, each")
    parser.add_argument("--unplugged", action="store_true", help="without the detector: must fail")
    options = parser.parse_args(arguments)
    steps = sorted(int(part) for part in options.n.split(",")) if options.n else STEPS
    runs: list[Run] = []
    with house.on_the_load_s_core() as core, house.stores() as stores:
        cuts = speech.cuts()
        for calls in steps:
            runs.append(run(stores, core, calls, options.seconds, cuts, unplugged=options.unplugged))
            if not options.n and not runs[-1].held:
                break
    named = report(runs, cuts)
    figures.tell(named)
    first = runs[0].tally
    return int(bool(first.timeouts or first.lost or not first.answers))


if __name__ == "__main__":
    sys.exit(main())
