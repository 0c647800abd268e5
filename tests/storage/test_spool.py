"""The spool: a record is on disk when it is said to be, comes back in its turn, and a torn one holds up nothing."""

from __future__ import annotations

import os
import resource
import stat

import pytest
import trio

from invorto.errors import Unavailable, UsageError
from invorto.storage import spool as module
from invorto.storage.spool import Record, Spool


async def everything(spool: Spool) -> list[bytes]:
    records = [await spool.read(name) for name in await spool.names()]
    return [record.body for record in records if record]


async def test_records_come_back_in_order(tmp_path):
    """What was kept is read back byte for byte, oldest first, also by the next process."""
    spool = Spool(tmp_path / "deep" / "spool")
    bodies = [b"", b"\x00\xff", b"x" * 100_000, "₹".encode()]
    names = [await spool.put(f"k{number}", body) for number, body in enumerate(bodies)]
    assert await spool.names() == names
    assert await everything(Spool(tmp_path / "deep" / "spool")) == bodies
    assert await spool.read(names[1]) == Record(names[1], "k1", b"\x00\xff")
    await spool.remove(names[0])
    await spool.remove(names[0])
    assert await spool.names() == names[1:]
    assert await spool.read(names[0]) is None


async def test_order_outlives_a_clock_that_is_set_back(tmp_path):
    """Records keep the order in which they came, through a wall clock set back and a restart."""
    times = iter([5000, 4000, 4000])
    spool = Spool(tmp_path, lambda: next(times))
    for body in (b"1", b"2", b"3"):
        await spool.put("k", body)
    again = Spool(tmp_path, lambda: 10)
    await again.put("k", b"4")
    assert await everything(again) == [b"1", b"2", b"3", b"4"]


async def test_concurrent_puts_keep_the_order_of_the_calls(tmp_path):
    """Calls that end at the same moment are all kept, and none overwrites another."""
    spool = Spool(tmp_path, lambda: 1)
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(spool.put, "k", str(number).encode())
    assert sorted(map(int, await everything(spool))) == list(range(50))


async def test_nobody_else_can_read_it(tmp_path):
    """Transcripts on disk are for the owner's eyes only."""
    spool = Spool(tmp_path / "spool")
    name = await spool.put("k", b"secret")
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "spool" / name).stat().st_mode) == 0o600


async def test_it_is_on_disk_when_it_is_said_to_be(tmp_path, monkeypatch):
    """The file and its folder are synced before anybody is told that a record is safe, and it appears whole."""
    done: list[str] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        done.append(f"{kind} {len(list(tmp_path.glob('*.rec')))}")
        fsync(handle)

    spool = Spool(tmp_path)
    monkeypatch.setattr(os, "fsync", watched)
    await spool.put("k", b"body")
    assert done == ["file 0", "folder 1"]


@pytest.mark.parametrize(
    "tear",
    [
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"x",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"",
        lambda data: b"\n" * 10,
        lambda data: b"x" * 10_000,
        lambda data: data.replace(b"spool-1", b"spool-9"),
        lambda data: data.replace(b" 4\n", b" 99999999999999999999\n"),
        lambda data: data.replace(b" 4\n", b" -4\n"),
    ],
    ids=["short", "half", "long", "flipped", "empty", "lines", "garbage", "version", "huge", "negative"],
)
async def test_torn_records_are_set_aside(tmp_path, tear):
    """A record that a disk spoilt is put aside for a person to look at, and those after it are read."""
    spool = Spool(tmp_path)
    names = [await spool.put("k", body) for body in (b"1111", b"2222")]
    path = tmp_path / names[0]
    path.write_bytes(tear(path.read_bytes()))
    assert await spool.read(names[0]) is None
    assert await everything(spool) == [b"2222"]
    assert (tmp_path / f"{names[0]}.bad").exists()


async def test_reading_is_bounded(tmp_path, monkeypatch):
    """A file of any size that somebody put there does not take the memory of the process."""
    spool = Spool(tmp_path)
    name = await spool.put("k", b"x" * 5000)
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    assert await spool.read(name) is None
    assert await spool.names() == []
    with pytest.raises(Unavailable, match="1001 bytes"):
        await spool.put("k", b"x" * 1001)


async def test_other_files_are_left_alone(tmp_path):
    """What is not a record is neither read nor removed."""
    (tmp_path / "README").write_text("hello")
    (tmp_path / "x.rec").write_text("hello")
    (tmp_path / ".00000000000000000001-1-k.rec.half").write_text("half")
    spool = Spool(tmp_path)
    assert await spool.names() == []
    assert len(list(tmp_path.iterdir())) == 3


async def test_halves_of_dead_processes_are_swept(tmp_path):
    """A process that was killed while it wrote leaves nothing for ever."""
    old, new = tmp_path / ".1.rec.half", tmp_path / ".2.rec.half"
    for half in (old, new):
        half.write_bytes(b"half")
    os.utime(old, (1, 1))
    Spool(tmp_path)
    assert not old.exists()
    assert new.exists()


async def test_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    """When the disk is full its owner hears so in one sentence, and no half file takes the last of the room."""
    spool = Spool(tmp_path)
    await spool.put("k", b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Unavailable, match="No space left") as caught:
            await spool.put("k", b"body")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # the kernel stops a write in its middle
    try:
        with pytest.raises(Unavailable, match="cannot be written"):
            await spool.put("k", os.urandom(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "store_unavailable"
    assert len(list(tmp_path.iterdir())) == 1
    await spool.put("k", b"after")
    assert await everything(spool) == [b"before", b"after"]


async def test_unusable_folder_stops_the_start(tmp_path):
    """A spool that cannot be written to is found at the start, not when the first call needs it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="DATA_DIR"):
        Spool(tmp_path / "file" / "spool")


async def test_folder_that_vanishes_is_said(tmp_path):
    """A folder removed under a running process is an outage with a sentence, not a crash."""
    spool = Spool(tmp_path / "spool")
    name = await spool.put("k", b"x")
    (tmp_path / "spool" / name).unlink()
    (tmp_path / "spool").rmdir()
    for attempt in (spool.names(), spool.put("k", b"y")):
        with pytest.raises(Unavailable, match="spool"):
            await attempt


async def test_cancelling_does_not_tear(tmp_path):
    """Who is cancelled while keeping a record has either kept it whole or not at all."""
    spool = Spool(tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        name = await spool.put("k", b"body" * 1000)
        assert (tmp_path / name).exists()
    assert await everything(spool) == [b"body" * 1000]
