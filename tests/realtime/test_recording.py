"""Recordings: both sides in their places, whole at every moment, and never in the call's way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import wave
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import structlog
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from invorto.errors import Invalid, UsageError
from invorto.realtime import recording as module
from invorto.realtime.recording import Recorder, Recording, recordings_folder
from invorto.realtime.tracks import Track
from invorto.realtime.wavfile import MOST_DATA, WavFile, repair

RATE = 8000
FRAME = RATE // 50


def sound(value: int, seconds: float = 0.02, rate: int = RATE) -> np.ndarray:
    """Make audio that is recognised by its value."""
    return np.full(round(seconds * rate), value, np.int16)


def read(path: Path) -> np.ndarray:
    """Read a file as others do: an array of samples by channels."""
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16).reshape(-1, file.getnchannels())


def runs(side: np.ndarray) -> list[tuple[int, int, int]]:
    """Give the stretches of one value that are not silence: value, begin and end in milliseconds."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], side, [0]))))
    return [(int(side[a]), round(a * 1000 / RATE), round(b * 1000 / RATE)) for a, b in pairwise(edges) if side[a]]


def files_in(folder: Path) -> int:
    """Count what is in a folder."""
    return len(list(folder.iterdir()))


@asynccontextmanager
async def recorder_in(folder: Path, *, threads: bool = False):
    """Run a recorder, in virtual time without threads."""
    recorder = Recorder(folder, threads=threads)
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        yield recorder
        nursery.cancel_scope.cancel()


async def speak(recording: Recording, value: int, seconds: float, start: float | None = None) -> None:
    """Send a caller's frames as they arrive in real time."""
    start = trio.current_time() if start is None else start
    for number in range(round(seconds * 50)):
        await trio.sleep_until(start + (number + 1) * 0.02)
        recording.caller(sound(value), trio.current_time())


# -- where everything finds its place -------------------------------------------------------------


async def test_both_sides_lie_on_the_calls_clock(tmp_path: Path, autojump_clock):
    """The caller is on the left when it arrived, the agent on the right when it played, what is between is silent."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("t/c.wav", rate=RATE, stereo=True, began=began) as recording:
            await trio.sleep(1)
            recording.agent(sound(7, 1.5), began + 1.2)
            await speak(recording, 5, 2)
            await trio.sleep(1)
    heard = read(tmp_path / "t/c.wav")
    assert heard.shape == (4 * RATE, 2)
    assert runs(heard[:, 0]) == [(5, 1000, 3000)]
    assert runs(heard[:, 1]) == [(7, 1200, 2700)]
    assert (recording.path, recording.seconds, recording.fault, recording.lost) == ("t/c.wav", 4.0, None, 0)


async def test_what_was_not_played_is_not_recorded(tmp_path: Path, autojump_clock):
    """Audio that was handed over ahead ends where the agent was interrupted; what it says next is there in full."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=began) as recording:
            for number in range(10):
                recording.agent(sound(7, 0.2), began + number * 0.2)
                await trio.sleep_until(began + max(0, number * 0.2 - 0.2))
            assert trio.current_time() == began + 1.6
            await trio.sleep_until(began + 1.7)
            recording.cut_agent(began + 1.7)
            recording.agent(sound(8, 0.3), began + 2.5)
            await trio.sleep_until(began + 2.6)
    assert runs(read(tmp_path / "c.wav")[:, 1]) == [(7, 0, 1700), (8, 2500, 2600)]


async def test_a_cut_that_is_told_late_is_still_a_cut(tmp_path: Path, autojump_clock):
    """An interruption that is known 0.4 s after it happened cuts where it happened, whenever the file was written."""
    async with recorder_in(tmp_path) as recorder:
        for number in range(12):
            began = trio.current_time()
            async with recorder.record(f"{number}.wav", rate=RATE, stereo=True, began=began) as recording:
                at = 2 + number / 10
                for tenth in range(40):
                    recording.agent(sound(7, 0.1), began + tenth / 10)
                    await trio.sleep_until(began + max(0, tenth / 10 - 0.2))
                    recording.caller(sound(5, 0.1), trio.current_time())
                    if tenth / 10 >= at + 0.6:
                        break
                recording.cut_agent(began + at)
            assert runs(read(tmp_path / f"{number}.wav")[:, 1]) == [(7, 0, round(at * 1000))]


async def test_the_end_cuts_what_was_not_played(tmp_path: Path, autojump_clock):
    """What the agent would still have said is not there, even where the caller's audio runs ahead of its time."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=began) as recording:
            recording.agent(sound(7, 2), began)
            await trio.sleep(0.5)
            recording.caller(sound(5, 0.5), trio.current_time())
            recording.caller(sound(5, 1), trio.current_time())
    heard = read(tmp_path / "c.wav")
    assert runs(heard[:, 0]) == [(5, 0, 1500)]
    assert runs(heard[:, 1]) == [(7, 0, 500)]


def test_silence_that_was_cut_is_not_taken_back():
    """A burst after a cut takes back what is left of the silence, never what was said since."""
    track = Track(slack=10, most=5000)
    track.put(np.full(100, 1, np.int16), 0)
    track.put(np.full(100, 2, np.int16), 1000)
    track.cut(400)
    track.put(np.full(100, 3, np.int16), 400)
    track.put(np.full(100, 4, np.int16), 100)
    assert np.frombuffer(track.take(300), np.int16).tolist() == [1] * 100 + [3] * 100 + [4] * 100


async def test_a_pause_is_silence(tmp_path: Path, autojump_clock):
    """Nothing of either side is kept while the recording is paused, and the time goes on."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=began) as recording:
            recording.pause(began)
            await speak(recording, 1, 3)
            recording.resume(began + 3)
            await speak(recording, 2, 2)
            recording.agent(sound(7, 1), began + 5)
            await trio.sleep(0.5)
            recording.pause(began + 5.5)
            recording.agent(sound(9, 1), began + 5.5)
            await trio.sleep(0.5)
    heard = read(tmp_path / "c.wav")
    assert len(heard) == 6 * RATE
    assert runs(heard[:, 0]) == [(2, 3000, 5000)]
    assert runs(heard[:, 1]) == [(7, 5000, 5500)]


async def test_a_stall_of_the_network_moves_nothing(tmp_path: Path, autojump_clock):
    """Frames that were held up and come in a burst lie where they were spoken, without a gap and without an echo."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=began) as recording:
            await speak(recording, 1, 2)
            await trio.sleep(0.42)
            for _ in range(21):
                recording.caller(sound(1), trio.current_time())
            await speak(recording, 1, 1)
    assert runs(read(tmp_path / "c.wav")[:, 0]) == [(1, 0, 3420)]


async def test_mono_is_both_sides_together(tmp_path: Path, autojump_clock):
    """Where one channel is asked for it holds the sum, clipped."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("c.wav", rate=RATE, stereo=False, began=began) as recording:
            recording.agent(sound(30_000, 0.5), began)
            recording.agent(sound(7, 0.5), began + 0.5)
            await speak(recording, 10_000, 1)
    heard = read(tmp_path / "c.wav")
    assert heard.shape == (RATE, 1)
    assert runs(heard[:, 0]) == [(32_767, 0, 500), (10_007, 500, 1000)]


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 60), st.integers(-300, 900)),
            st.tuples(st.just("cut"), st.just(0), st.integers(-300, 300)),
            st.tuples(st.just("take"), st.just(0), st.integers(0, 400)),
        ),
        max_size=60,
    )
)
def test_a_track_keeps_order_bounds_and_silence(steps):
    """Whatever comes when: samples stay in order, in bounds, and only what never came or was cut is silent."""
    track, now, number, out = Track(slack=10, most=500), 0, 0, np.empty(0, np.int16)
    for kind, size, offset in steps:
        match kind:
            case "put":
                number += 1
                track.put(np.full(size, number, np.int16), track.end + offset)
            case "cut":
                track.cut(track.end + offset)
            case _:
                now = track.base + offset
                piece = np.frombuffer(track.take(now), np.int16)
                out = np.concatenate((out, piece, np.zeros(now - out.size - piece.size, np.int16)))
        assert track.end - track.base <= 500
        assert out.size == track.base
    heard = out[out > 0]
    assert (np.diff(heard) >= 0).all()


# -- how it is written ----------------------------------------------------------------------------


async def test_an_hour_is_flat_in_memory(tmp_path: Path, autojump_clock):
    """An hour of both sides takes less than a megabyte at any moment, also at the highest rate."""
    async with recorder_in(tmp_path) as recorder:
        began = trio.current_time()
        async with recorder.record("c.wav", rate=48_000, stereo=True, began=began) as recording:
            second = sound(3, 1, 48_000)
            await trio.sleep(1)
            recording.caller(second, trio.current_time())
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(240):  # the rest of the hour is the same again
                await trio.sleep(1)
                recording.caller(second, trio.current_time())
                recording.agent(second, trio.current_time())
            after, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert after - before < 500_000
    assert most - before < 2_500_000  # what is being written, for a moment, and the test's own
    assert recording.seconds == 241


async def test_many_calls_share_one_thread_hop(tmp_path: Path, autojump_clock, monkeypatch):
    """Fifty calls do not cost fifty tasks, and far fewer hops than calls and seconds."""
    hops = []
    real = module._run
    monkeypatch.setattr(module, "_run", lambda jobs: (hops.append(len(jobs)), real(jobs))[1])
    async with recorder_in(tmp_path) as recorder:
        began, tasks = trio.current_time(), trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as nursery:
            for number in range(50):
                await nursery.start(_hold, recorder, number, began)
            await trio.sleep(10)
            assert trio.lowlevel.current_statistics().tasks_living == tasks + 50
            assert sum(hops) >= 50 * 8
            assert len(hops) <= 10 * 11
            nursery.cancel_scope.cancel()
    assert files_in(tmp_path) == 50


async def _hold(recorder: Recorder, number: int, began: float, *, task_status) -> None:
    async with recorder.record(f"{number}.wav", rate=RATE, stereo=True, began=began):
        task_status.started()
        await trio.sleep_forever()


async def test_the_file_is_whole_at_every_moment(tmp_path: Path, autojump_clock):
    """While the call goes on the file can be read, up to a second or two ago."""
    async with recorder_in(tmp_path) as recorder:
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=trio.current_time()) as recording:
            await speak(recording, 5, 10)
            heard = read(tmp_path / "c.wav")
            assert 10 * RATE - 2.5 * RATE <= len(heard) <= 10 * RATE
            assert runs(heard[:, 0]) == [(5, 0, len(heard) * 1000 // RATE)]


WRITER = """
import sys, pathlib, numpy as np, trio
from invorto.realtime.recording import Recorder
async def main():
    recorder = Recorder(pathlib.Path(sys.argv[1]))
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        began = trio.current_time()
        async with recorder.record("c.wav", rate=8000, stereo=True, began=began) as recording:
            for number in range(10_000):
                await trio.sleep_until(began + number * 0.02)
                recording.caller(np.full(160, 5, np.int16), began + (number + 1) * 0.02)
                recording.agent(np.full(160, 7, np.int16), began + number * 0.02)
                if number == 50 * 2:
                    print("two seconds", flush=True)
trio.run(main)
"""


def test_a_killed_process_leaves_a_readable_file(tmp_path: Path):
    """After `kill -9` in the middle of a call the file plays, and `repair` finds all that was written."""
    argv = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"two seconds\n"
        time.sleep(0.37)  # somewhere between two writes
        process.send_signal(signal.SIGKILL)
    heard = read(tmp_path / "c.wav")
    assert len(heard) >= RATE // 2
    assert (heard == (5, 7)).all()
    assert repair(tmp_path / "c.wav") >= len(heard) / RATE


# -- when something goes wrong --------------------------------------------------------------------


async def test_a_full_disk_never_touches_the_call(tmp_path: Path, autojump_clock, monkeypatch):
    """The call goes on, the fault is logged once and told, and what was written until then plays."""
    real, room = os.pwrite, 256 * 1024

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = real(fd, data[:room], offset)
        room -= written
        return written

    monkeypatch.setattr(os, "pwrite", pwrite)
    with structlog.testing.capture_logs() as logs:
        async with recorder_in(tmp_path) as recorder:
            async with recorder.record("c.wav", rate=RATE, stereo=True, began=trio.current_time()) as recording:
                await speak(recording, 5, 30)
    heard = read(tmp_path / "c.wav")
    assert 5 * RATE < len(heard) < 9 * RATE
    assert runs(heard[:, 0]) == [(5, 0, len(heard) * 1000 // RATE)]
    assert recording.fault == os.strerror(errno.ENOSPC)
    assert recording.path == "c.wav"
    assert recording.lost > 20
    assert [entry["event"] for entry in logs] == ["recording_failed"]


def test_what_the_kernel_refuses_is_an_error_not_an_end(tmp_path: Path):
    """A real limit of the system, met in the middle of a write, leaves the process alive and the file readable."""
    script = """
import resource, sys, pathlib
from invorto.realtime.wavfile import WavFile
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
file = WavFile(pathlib.Path(sys.argv[1]), 8000, 2)
for second in range(10):
    try:
        file.write(second * 8000, b"\\5\\0" * 8000, b"\\7\\0" * 8000, (second + 1) * 8000)
    except OSError as error:
        print(second, error.strerror)
file.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script.replace("\\\\", "\\"), str(tmp_path / "c.wav")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"{second} {os.strerror(errno.EFBIG)}" for second in range(3, 10)]
    heard = read(tmp_path / "c.wav")
    assert len(heard) == 3 * RATE
    assert (heard == (5, 7)).all()


async def test_room_on_the_disk_is_used_again(tmp_path: Path, autojump_clock, monkeypatch):
    """When a disk that was full has room again, the recording goes on in its place, silent in between."""
    real, full = os.pwrite, False

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if full:
            raise OSError(errno.ENOSPC, "full")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with structlog.testing.capture_logs() as logs:
        async with recorder_in(tmp_path) as recorder:
            async with recorder.record("c.wav", rate=RATE, stereo=True, began=trio.current_time()) as recording:
                await speak(recording, 5, 4)
                full = True
                await speak(recording, 6, 4)
                full = False
                await speak(recording, 7, 4)
    heard = read(tmp_path / "c.wav")
    assert len(heard) == 12 * RATE
    first, *_, last = runs(heard[:, 0])
    assert first[:2] == (5, 0)
    assert (last[0], last[2]) == (7, 12_000)
    assert recording.fault == "full"
    assert [entry["event"] for entry in logs] == ["recording_failed", "recording_goes_on"]


async def test_a_folder_that_is_none_never_touches_the_call(tmp_path: Path, autojump_clock):
    """Where nothing can be written there is no path, a fault that says why, and a call."""
    (tmp_path / "file").write_text("in the way")
    told = []
    recorder = Recorder(tmp_path / "file", lambda: told.append(1), threads=False)
    async with recorder.record("c.wav", rate=RATE, stereo=True, began=trio.current_time()) as recording:
        await speak(recording, 5, 2)
    assert recording.path is None
    assert recording.fault == os.strerror(errno.EEXIST)
    assert told == [1]


async def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch):
    """A call ends within the deadline although the disk answers nothing; later the file is finished all the same."""
    monkeypatch.setattr(module, "CLOSING", 0.1)
    hung, real = threading.Event(), os.pwrite

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        hung.wait(10)
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    async with recorder_in(tmp_path, threads=True) as recorder:
        began = trio.current_time()
        with trio.fail_after(1):
            async with recorder.record("c.wav", rate=RATE, stereo=True, began=began - 1) as recording:
                recording.caller(sound(5, 1), began)
        assert recording.fault == "the disk was too slow"
        hung.set()
        with trio.fail_after(5):
            while not recording.path:
                await trio.sleep(0.01)
    assert runs(read(tmp_path / "c.wav")[:, 0]) == [(5, 0, 1000)]


async def test_what_could_not_wait_for_a_thread_is_written_later(tmp_path: Path, monkeypatch):
    """An end that got no thread within the deadline leaves its audio to the recorder's task, and no descriptor."""
    monkeypatch.setattr(module, "CLOSING", 0.05)
    async with recorder_in(tmp_path, threads=True) as recorder:
        began = trio.current_time()
        for number in range(4):
            recorder._limiter.acquire_on_behalf_of_nowait(number)
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=began - 1) as recording:
            recording.caller(sound(5, 1), began)
        assert recording.path is None
        for number in range(4):
            recorder._limiter.release_on_behalf_of(number)
        with trio.fail_after(5):
            while recording._last is None or not recording.path:
                await trio.sleep(0.01)
    assert runs(read(tmp_path / "c.wav")[:, 0]) == [(5, 0, 1000)]


async def test_cancelled_at_any_moment_the_file_is_whole(tmp_path: Path, autojump_clock):
    """A call that is cancelled leaves its recording up to that moment, closed."""
    for number, seconds in enumerate((0.0, 0.3, 1.0, 1.13, 5.05)):
        recording = None
        async with recorder_in(tmp_path) as recorder:
            with trio.move_on_after(seconds):
                async with recorder.record(
                    f"{number}.wav", rate=RATE, stereo=True, began=trio.current_time()
                ) as recording:
                    await speak(recording, 5, 100)
        assert recording is not None
        assert recording.fault is None
        if seconds:
            assert read(tmp_path / f"{number}.wav")[:, 0].size == round(seconds * RATE)
        else:
            assert recording.path is None
    assert files_in(tmp_path) == 4


async def test_an_older_recording_is_never_overwritten(tmp_path: Path, autojump_clock):
    """A name that is taken gets a number, and the record says so."""
    paths = []
    recorder = Recorder(tmp_path, threads=False)
    for _ in range(3):
        async with recorder.record("t/c.wav", rate=RATE, stereo=True, began=trio.current_time()) as recording:
            await speak(recording, 5, 1)
        paths.append(recording.path)
    assert paths == ["t/c.wav", "t/c-2.wav", "t/c-3.wav"]


@pytest.mark.parametrize("name", ["../c.wav", "t/../../c.wav", "/etc/c.wav"])
async def test_a_name_cannot_leave_the_folder(tmp_path: Path, name):
    """Names that point elsewhere are refused before anything is made."""
    with pytest.raises(ValueError, match="not below"):
        async with Recorder(tmp_path).record(name, rate=RATE, stereo=True, began=0):
            pass


async def test_a_peer_that_sends_too_much_stays_bounded(tmp_path: Path, autojump_clock):
    """Audio at many times real time fills its few seconds and is then counted as lost; the file stays in order."""
    async with recorder_in(tmp_path) as recorder:
        async with recorder.record("c.wav", rate=RATE, stereo=True, began=trio.current_time()) as recording:
            for _ in range(100):
                for _ in range(10):
                    recording.caller(sound(5), trio.current_time())
                await trio.sleep(0.02)
            assert recording._caller.end - recording._caller.base <= module.MOST * RATE
    assert recording.lost > 10
    assert recording.seconds < 2 + module.MOST + 0.1


def test_recordings_are_private(tmp_path: Path):
    """Nobody else on the host may read what was said."""
    file = WavFile(tmp_path / "new" / "c.wav", RATE, 2)
    file.write(0, b"\1\0", b"", 1)
    file.close()
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o077 == 0


def test_an_earlier_stretch_may_be_written_later(tmp_path: Path):
    """A write that was held up finds its place, and the header goes on counting what came after it."""
    file = WavFile(tmp_path / "c.wav", RATE, 2)
    file.write(100, sound(6).tobytes(), b"", 100 + FRAME)
    file.write(0, np.full(100, 5, np.int16).tobytes(), b"", 100)
    file.close()
    assert read(file.path)[:, 0].tolist() == [5] * 100 + [6] * FRAME


def test_a_file_ends_where_wav_does(tmp_path: Path):
    """What no WAV header can count is refused as an error of the disk, not written in silence."""
    file = WavFile(tmp_path / "c.wav", RATE, 2)
    with pytest.raises(OSError, match="cannot be longer"):
        file.write(MOST_DATA // 4, b"\1\0", b"", MOST_DATA // 4 + 1)
    file.close()
    file.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="is closed"):
        file.write(0, b"\1\0", b"", 1)


def test_repair_counts_what_is_there(tmp_path: Path):
    """Sizes that were never written are mended, half a sample is dropped, and a whole file stays as it is."""
    file = WavFile(tmp_path / "c.wav", RATE, 2)
    file.write(0, sound(5, 1).tobytes(), sound(7, 1).tobytes(), RATE)
    file.close()
    whole = file.path.read_bytes()
    assert repair(file.path) == 1.0
    assert file.path.read_bytes() == whole
    file.path.write_bytes(whole[:4] + bytes(4) + whole[8:40] + bytes(4) + whole[44:-3])
    assert repair(file.path) == (RATE - 1) / RATE
    assert file.path.read_bytes()[44:] == whole[44:-4]
    assert len(read(file.path)) == RATE - 1


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"x" * 100, b"RIFF\0\0\0\0WAVEfmt " + bytes(20) + b"data" + bytes(9)]
)
def test_repair_leaves_other_files_alone(tmp_path: Path, content):
    """A file that is not ours is told and stays as it was."""
    path = tmp_path / "other.wav"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=r"other\.wav is not a recording"):
        repair(path)
    assert path.read_bytes() == content


def test_where_recordings_go():
    """A `file:` URL is a folder, relative to the data; what is not served says so."""
    data = Path("/data")
    assert recordings_folder("file:./rec", data) == Path("/data/rec/recordings")
    assert recordings_folder("file:///srv/a%20b", data) == Path("/srv/a b/recordings")
    with pytest.raises(UsageError, match="RECORDINGS_URL"):
        recordings_folder("s3://bucket", data)
