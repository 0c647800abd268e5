"""The timeline: what is appended is read back whole, in order, by pages and live, on the fake and on a real Redis."""

from __future__ import annotations

import json

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from invorto.config import TimelineSettings
from invorto.errors import Invalid, StoreUnavailable
from invorto.model.event_ids import event_key
from invorto.model.record import TimelineEvent
from invorto.storage import timeline as module
from invorto.storage.fakes import FakeRedis
from invorto.storage.redis import Commands, Refused
from invorto.storage.timeline import Deadlines, Timeline
from tests.storage.events import SETTINGS, event, fill, numbers

# -- reading --------------------------------------------------------------------------------------


async def test_what_is_appended_is_read_back(timeline: Timeline):
    """An event comes back with its id, kind, payload and timestamp, after those before it."""
    first = event(1, "stt.final", text="नमस्ते ₹ \U0001f600", confidence=0.5, words=[{"w": "a", "at": None}])
    timeline.append("c_1", first)
    timeline.append("c_2", event(9))
    timeline.append("c_1", event(2))
    await timeline.flush()
    assert await timeline.read("c_1") == [first, event(2)]
    assert await timeline.read("c_2") == [event(9)]


async def test_stream_is_laid_out_as_the_original_had_it(timeline: Timeline, redis: Commands):
    """Tools that read the stream itself find `kind`, `payload` as JSON and `timestamp` in milliseconds."""
    timeline.append("c_1", event(1, "call.started", a=1))
    await timeline.flush()
    [(key, fields)] = await redis.xrange("events:c_1", count=9)
    assert key == "1000-1"
    assert list(fields) == [b"kind", b"payload", b"timestamp"]
    assert (fields[b"kind"], json.loads(fields[b"payload"]), fields[b"timestamp"]) == (
        b"call.started",
        {"a": 1},
        b"1001",
    )


async def test_empty_timeline(timeline: Timeline):
    """A call without events has an empty page, whichever way it is read."""
    assert await timeline.read("c_none") == []
    assert await timeline.read("c_none", after="1-0") == []
    assert await timeline.read("c_none", before="1-0", kinds=["x"]) == []


async def test_pages_forward(timeline: Timeline):
    """Going on after the last event read shows every event once, over pages and over chunks."""
    await fill(timeline, 523)
    seen: list[int] = []
    after = None
    while page := await timeline.read("c_1", after=after, count=200):
        seen += numbers(page)
        after = page[-1].id
    assert seen == list(range(1, 524))


async def test_pages_backward(timeline: Timeline):
    """Going back before the first event read shows the page just before it, ascending, down to the beginning."""
    await fill(timeline, 523)
    assert numbers(await timeline.read("c_1", before="1000-11", count=3)) == [8, 9, 10]
    seen: list[int] = []
    before = "1000-524"
    while page := await timeline.read("c_1", before=before, count=200):
        assert numbers(page) == sorted(numbers(page))
        seen = numbers(page) + seen
        before = page[0].id
    assert seen == list(range(1, 524))


async def test_between_two_cursors(timeline: Timeline):
    """With both cursors, what lies between them, from the lower one up."""
    await fill(timeline, 20)
    assert numbers(await timeline.read("c_1", after="1000-3", before="1000-7")) == [4, 5, 6]
    assert numbers(await timeline.read("c_1", after="1000-3", before="1000-17", count=2)) == [4, 5]
    for low, high in (("1000-3", "1000-4"), ("1000-3", "1000-3"), ("1000-7", "1000-3")):
        assert await timeline.read("c_1", after=low, before=high) == []


async def test_cursors_outside_the_stream(timeline: Timeline):
    """Cursors before, after and beyond all events are no errors."""
    await fill(timeline, 3)
    last = f"{2**64 - 1}-{2**64 - 1}"
    assert numbers(await timeline.read("c_1", after="0-0")) == [1, 2, 3]
    assert numbers(await timeline.read("c_1", before=last)) == [1, 2, 3]
    assert numbers(await timeline.read("c_1", after="999-9", before="1001-0")) == [1, 2, 3]
    for after, before in ((last, None), (None, "0-0"), ("1000-3", None), (None, "1000-1")):
        assert await timeline.read("c_1", after, before) == []


async def test_count(timeline: Timeline):
    """A page has the settings' number of events unless asked otherwise, and never more than their most."""
    await fill(timeline, 300)
    assert len(await timeline.read("c_1")) == 5
    assert len(await timeline.read("c_1", count=1)) == 1
    assert len(await timeline.read("c_1", count=10**9)) == 250
    for wrong in (0, -1):
        with pytest.raises(Invalid, match=r"\$\.count"):
            await timeline.read("c_1", count=wrong)


async def test_kinds_still_fill_pages(timeline: Timeline):
    """Asking for some kinds gives full pages of them, however rare they are."""
    await fill(timeline, 450)
    timeline.append("c_1", event(451, "rare"))
    await timeline.flush()
    assert numbers(await timeline.read("c_1", kinds=["even"], count=150)) == list(range(2, 301, 2))
    assert numbers(await timeline.read("c_1", kinds={"odd", "rare"}, after="1000-445")) == [447, 449, 451]
    assert numbers(await timeline.read("c_1", kinds="rare")) == [451]
    assert numbers(await timeline.read("c_1", kinds=["odd"], before="1000-449", count=2)) == [445, 447]
    assert await timeline.read("c_1", kinds=["none"]) == []
    assert numbers(await timeline.read("c_1", kinds=[])) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrong", ["", "x", "5", "5-", "-", "+", "$", "(1-1", "1-1-1", f"{2**64}-0", "1-1\n"])
async def test_wrong_cursors(wrong):
    """A cursor that is none is an error that says which parameter, not a page of something else."""
    timeline = Timeline(FakeRedis(), SETTINGS)
    for name in ("after", "before"):
        with pytest.raises(Invalid, match=rf"\$\.{name}"):
            await timeline.read("c_1", **{name: wrong})
    with pytest.raises(Invalid, match=r"\$\.after"):
        async with timeline.follow("c_1", after=wrong):
            pytest.fail("followed")


BROKEN = [
    ({}, ("unknown", {}, 7)),
    ({"kind": b"k", "payload": b"{}", "timestamp": b"12"}, ("k", {}, 12)),
    ({"kind": b"k", "payload": b'{"a":1}'}, ("k", {"a": 1}, 7)),
    ({"kind": b"\xff", "payload": b"\xff"}, ("�", {"raw": "�"}, 7)),
    ({"kind": b"k", "payload": b"nope", "timestamp": b"soon"}, ("k", {"raw": "nope"}, 7)),
    ({"kind": b"k", "payload": b"[1]", "timestamp": b"-5"}, ("k", {"raw": [1]}, 7)),
    ({"kind": b"k", "payload": b'"text"', "timestamp": b"nan"}, ("k", {"raw": "text"}, 7)),
    ({"kind": b"k", "payload": b'{"a":', "timestamp": b"1e400"}, ("k", {"raw": '{"a":'}, 7)),
    ({"kind": b"k", "payload": b"", "timestamp": b"12.9"}, ("k", {"raw": ""}, 12)),
    ({"payload": b"null", "timestamp": b"9" * 40, "other": b"x"}, ("unknown", {"raw": None}, 7)),
]


async def test_broken_fields_lose_nothing_else(timeline: Timeline, redis: Commands):
    """Whatever others wrote into a stream, each event is there, and the sound ones are sound."""
    for number, (fields, _) in enumerate(BROKEN):
        flat = [part for pair in (fields or {"x": b""}).items() for part in pair]
        await redis.call("XADD", "events:c_1", f"7-{number}", *flat)
    events = await timeline.read("c_1", count=50)
    assert [(item.kind, item.payload, item.timestamp) for item in events] == [expected for _, expected in BROKEN]
    assert [item.id for item in events] == [f"7-{number}" for number in range(len(BROKEN))]


async def test_any_payload_is_kept(timeline: Timeline):
    """What JSON has no word for becomes text; no event is lost for it, and none holds up another."""
    circle: dict[str, object] = {}
    circle["self"] = circle
    odd: list[dict] = [{"a": float("nan")}, {"b": "\ud800"}, {3: 4}, {"o": object()}, circle, {"s": {1}}]
    for number, payload in enumerate(odd):
        timeline.append("c_1", TimelineEvent(id=f"1000-{number}", kind="k\ud800", payload=payload, timestamp=1))
    await timeline.flush()
    events = await timeline.read("c_1", count=50)
    assert [item.payload for item in events][:3] == [{"a": None}, {"b": "?"}, {"3": 4}]
    assert len(events) == len(odd)
    assert timeline.dropped == 0


async def test_wrong_kind_of_key_is_said(timeline: Timeline, redis: Commands):
    """A key that is no stream is an error for its reader, and costs other calls nothing."""
    if isinstance(redis, FakeRedis):
        return
    await redis.call("SET", "events:c_odd", "text")
    timeline.append("c_odd", event(1))
    timeline.append("c_1", event(1))
    await timeline.flush()
    assert numbers(await timeline.read("c_1")) == [1]
    assert timeline.dropped == 1
    assert timeline.healthy
    with pytest.raises(Refused, match="WRONGTYPE"):
        await timeline.read("c_odd")


KINDS = st.sampled_from(["a", "b", "c"])
CURSORS = st.none() | st.tuples(st.integers(0, 12), st.integers(0, 12)).map(lambda pair: f"{pair[0]}-{pair[1]}")


@given(
    kinds=st.lists(st.tuples(st.integers(0, 10), st.integers(1, 10), KINDS), max_size=40),
    after=CURSORS,
    before=CURSORS,
    count=st.none() | st.integers(1, 60),
    filters=st.tuples(st.none() | st.sets(KINDS), st.integers(1, 7)),
)
def test_reads_are_slices_of_what_was_written(kinds, after, before, count, filters):
    """Whatever page is asked for, it is the slice of the whole that its cursors, kinds and count describe."""
    only, chunk = filters
    keys = sorted({(ms, n): kind for ms, n, kind in kinds}.items())
    whole = [TimelineEvent(id=f"{ms}-{n}", kind=kind, payload={"n": n}, timestamp=ms) for (ms, n), kind in keys]

    async def main() -> list[TimelineEvent]:
        timeline = Timeline(FakeRedis(), TimelineSettings(default_count=6, max_count=20, ttl_hours=1))
        for item in whole:
            timeline.append("c_1", item)
        await timeline.flush()
        return await timeline.read("c_1", after=after, before=before, count=count, kinds=only)

    model = [item for item in whole if not only or item.kind in only]
    model = [item for item in model if after is None or event_key(item.id) > event_key(after)]
    model = [item for item in model if before is None or event_key(item.id) < event_key(before)]
    most = min(count or 6, 20)
    model = model[-most:] if before is not None and after is None else model[:most]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK", chunk)
        assert trio.run(main) == model


# -- writing, in virtual time ---------------------------------------------------------------------


@pytest.fixture
async def running(fake, nursery):
    """Give a timeline on the fake whose writer runs; the test itself asks for `autojump_clock`."""
    timeline = Timeline(fake, SETTINGS)
    await nursery.start(timeline.run)
    return timeline


def adds(fake: FakeRedis) -> list[list[str]]:
    """Give the ids that each pipeline added."""
    return [ids for sent in fake.pipelines if (ids := [str(c[2]) for c in sent if c[0] == "XADD"])]


async def test_all_calls_are_one_write_a_tick(autojump_clock, running: Timeline, fake: FakeRedis):
    """However many calls talk, Redis hears from a node ten times a second; when nobody does, never."""
    began = trio.current_time()
    for number in range(1, 41):
        running.append(f"c_{number % 20}", event(number))
        await trio.sleep(0.03)
    await trio.sleep(1)
    assert [len(ids) for ids in adds(fake)] == [4] * 10
    await trio.sleep(3600)
    assert len(fake.pipelines) == 10
    assert running.behind == 0
    assert trio.current_time() == pytest.approx(began + 3602.2)


async def test_append_never_waits_and_arrives_within_a_tick(autojump_clock, running: Timeline):
    """An event is in Redis a tenth of a second after it happened."""
    running.append("c_1", event(1))
    await trio.sleep(0.09)
    assert await running.read("c_1") == []
    await trio.sleep(0.02)
    assert numbers(await running.read("c_1")) == [1]


async def test_redis_away_and_back(autojump_clock, running: Timeline, fake: FakeRedis):
    """While Redis is away calls go on; when it is back their events are there, in order, each once."""
    fake.away = True
    began = trio.current_time()
    for number in range(1, 601):
        running.append("c_1", event(number))
        running.append("c_2", event(number))
        await trio.sleep(0.02)
    assert not running.healthy
    assert running.behind == 1202
    with pytest.raises(StoreUnavailable):
        await running.read("c_1")
    fake.away = False
    await running.flush()
    assert running.healthy
    assert trio.current_time() - began < 12 + 2
    for call in ("c_1", "c_2"):
        seen: list[int] = []
        while page := await running.read(call, after=f"1000-{seen[-1] if seen else 0}", count=250):
            seen += numbers(page)
        assert seen == list(range(1, 601))
    assert running.dropped == 0


async def test_tries_are_spaced_while_redis_is_away(autojump_clock, running: Timeline, fake: FakeRedis, monkeypatch):
    """A Redis that is away is not hammered: tries come at 0.1, 0.3, 0.7, 1.5, 3.1 s, then every two seconds."""
    tries: list[float] = []
    began = trio.current_time()

    async def gone(_: object) -> list[object]:
        tries.append(round(trio.current_time() - began, 3))
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable

    monkeypatch.setattr(fake, "pipeline", gone)
    running.append("c_1", event(1))
    await trio.sleep(10)
    assert tries == [0.1, 0.3, 0.7, 1.5, 3.1, 5.1, 7.1, 9.1]
    monkeypatch.undo()


async def test_lost_answers_double_nothing(autojump_clock, running: Timeline, fake: FakeRedis):
    """When Redis took a write and its answer got lost, sending it again leaves one of each event."""
    fake.deaf = True
    for number in range(1, 11):
        running.append("c_1", event(number))
        await trio.sleep(0.1)
    assert not running.healthy
    fake.deaf = False
    await running.flush()
    assert numbers(await running.read("c_1", count=50)) == list(range(1, 11))
    assert running.dropped == 0


async def test_full_redis_is_waited_for(autojump_clock, running: Timeline, fake: FakeRedis):
    """A Redis that is out of memory, or a replica for now, loses no event."""
    for refusal in ("OOM command not allowed when used memory > 'maxmemory'.", "READONLY You can't write"):
        fake.refusing = refusal
        running.append("c_1", event(1 + (refusal.startswith("READ"))))
        await trio.sleep(1)
        assert not running.healthy
        fake.refusing = None
        await running.flush()
        assert running.healthy
    assert len(await running.read("c_1")) == 2
    assert running.dropped == 0


async def test_events_that_no_stream_takes_are_counted(autojump_clock, running: Timeline):
    """An id at or below the last one written is a loss that shows; it is not taken for a success."""
    running.append("c_1", event(5))
    await running.flush()
    running.append("c_1", event(4))
    running.append("c_1", event(5))
    running.append("c_1", event(6))
    await running.flush()
    assert numbers(await running.read("c_1")) == [5, 6]
    assert running.dropped == 2
    with pytest.raises(Invalid, match=r"\$\.id"):
        running.append("c_1", TimelineEvent(id="0-0", kind="k", payload={}, timestamp=0))
    with pytest.raises(Invalid, match=r"\$\.id"):
        running.append("c_1", TimelineEvent(id="now", kind="k", payload={}, timestamp=0))


async def test_buffer_is_bounded(fake: FakeRedis, monkeypatch):
    """With Redis away for long, memory stays bounded: the oldest events go, are counted, and the rest is in order."""
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    timeline = Timeline(fake, SETTINGS)
    fake.away = True
    for number in range(1, 1001):
        timeline.append("c_1", event(number))
    assert timeline._backlog._bytes <= 20_000
    assert timeline.dropped + timeline.behind == 1000
    fake.away = False
    await timeline.flush()
    kept = numbers(await timeline.read("c_1", count=250))
    assert kept == list(range(timeline.dropped + 1, 1001))
    assert len(kept) > 20


async def test_buffer_is_bounded_while_a_write_is_under_way(fake: FakeRedis, monkeypatch, autojump_clock):
    """Events that fall out while a write hangs are the oldest ones, and what comes back keeps its place."""
    monkeypatch.setattr(module, "MOST_BYTES", 20_000)
    monkeypatch.setattr(module, "BATCH", 10)
    timeline = Timeline(fake, SETTINGS)
    for number in range(1, 31):
        timeline.append("c_1", event(number))
    fake.silent = True
    with trio.move_on_after(1):
        await timeline.flush()
    for number in range(31, 201):
        timeline.append("c_1", event(number))
    fake.silent = False
    await timeline.flush()
    kept = numbers(await timeline.read("c_1", count=250))
    assert kept == list(range(timeline.dropped + 1, 201))
    assert timeline._backlog._bytes == 0
    assert timeline.behind == 0


async def test_time_to_live(timeline: Timeline, redis: Commands):
    """A live call's timeline stays; after the call it leaves Redis as the settings say; a forgotten one in the end."""
    timeline.append("c_1", event(1))
    await timeline.flush()
    assert 26 * 3600 < await redis.call("TTL", "events:c_1") <= 28 * 3600
    timeline.append("c_1", event(2))
    await timeline.expire("c_1")
    await timeline.flush()
    assert 7195 <= await redis.call("TTL", "events:c_1") <= 7200
    assert numbers(await timeline.read("c_1")) == [1, 2]
    await timeline.expire("c_none")
    await timeline.flush()
    assert timeline.healthy


async def test_stopping_writes_what_is_buffered(fake: FakeRedis, autojump_clock):
    """What happened just before the process stops is on the timeline; what comes later is counted."""
    timeline = Timeline(fake, SETTINGS)
    async with trio.open_nursery() as nursery:
        await nursery.start(timeline.run)
        for number in range(1, 601):
            timeline.append("c_1", event(number))
        nursery.cancel_scope.cancel()
    assert sum(map(len, adds(fake))) == 600
    assert trio.current_time() < 0.01
    timeline.append("c_1", event(601))
    await timeline.expire("c_1")
    await timeline.close()
    assert (timeline.dropped, timeline.behind) == (1, 0)


@pytest.mark.parametrize("fault", ["away", "silent", "deaf"])
async def test_stopping_without_redis_ends_in_time(fake: FakeRedis, autojump_clock, fault):
    """A process stops in its time with Redis gone, and says how many events did not arrive."""
    timeline = Timeline(fake, SETTINGS, Deadlines(close=3))
    setattr(fake, fault, True)
    async with trio.open_nursery() as nursery:
        await nursery.start(timeline.run)
        timeline.append("c_1", event(1))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert trio.current_time() == pytest.approx(13)
    assert (timeline.dropped, timeline.behind) == (1, 0)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope when a task is about to take its n-th step: at each checkpoint in turn."""

    def __init__(self, step: int) -> None:
        self.left, self.scope, self.task = step, trio.CancelScope(), trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def test_cancelled_at_every_step_each_event_is_there_once(timeline: Timeline, redis: Commands):
    """Wherever the writer is cut off, stopping writes each event, and none twice."""
    for step in range(1, 60):
        call = f"c_{step}"
        timeline._closed = False
        for number in range(1, 4):
            timeline.append(call, event(number))
        instrument = CancelAt(step)
        trio.lowlevel.add_instrument(instrument)
        with trio.move_on_after(0.3) as patience, instrument.scope:
            await timeline.run()
        trio.lowlevel.remove_instrument(instrument)
        assert numbers(await timeline.read(call)) == [1, 2, 3], step
        if patience.cancelled_caught:
            break
    else:
        pytest.fail("there were more steps")
    assert step > 3
    assert timeline.dropped == 0
    assert timeline.behind == 0
