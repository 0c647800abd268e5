"""WebSocket framing: both roles against each other, every split, and whatever garbage there is."""

from __future__ import annotations

import itertools
import sys
import tracemalloc
from collections.abc import Callable, Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invorto.errors import PeerError
from invorto.realtime.framing import Close, Event, Framing, Ping, Pong

MASK = b"\x37\xfa\x21\x3d"


def client(limit: int = 65_536) -> Framing:
    """Make the other side of a server, with a mask that is always the same."""
    return Framing(client=True, limit=limit, mask=lambda: MASK)


@attrs.define
class ConnectionPair:
    """A server and a client whose bytes reach each other whole."""

    server: Framing = attrs.Factory(Framing)
    client: Framing = attrs.Factory(client)

    def play(self, verb: Callable[[Framing], bytes]) -> Event | None:
        """Do *verb* on both sides, each time as the other one sees it; both must see the same."""
        self.server.receive_data(verb(self.client))
        self.client.receive_data(verb(self.server))
        heard, seen = self.server.next_event(), self.client.next_event()
        assert heard == seen
        assert self.server.next_event() is None
        assert self.client.next_event() is None
        return heard


def frame(opening: int, payload: bytes = b"", *, masked: bool = True, size: bytes | None = None) -> bytes:
    """Make a frame by hand, with whatever is wrong with it."""
    if size is None:
        n = len(payload)
        size = bytes((n,)) if n < 126 else b"\x7e" + n.to_bytes(2) if n < 65_536 else b"\x7f" + n.to_bytes(8)
    flag = 0x80 if masked else 0
    key = MASK if masked else b""
    body = bytes(byte ^ MASK[i % 4] for i, byte in enumerate(payload)) if masked else payload
    return bytes((opening, flag | size[0])) + size[1:] + key + body


def hear(machine: Framing, chunks: Iterable[bytes]) -> list[Event]:
    """Feed *chunks* and list what they make up."""
    events: list[Event] = []
    for chunk in chunks:
        machine.receive_data(chunk)
        while (event := machine.next_event()) is not None:
            events.append(event)
    return events


def fault(data: bytes, limit: int = 65_536) -> int:
    """Feed *data* to a server and give the code that it closes with."""
    machine = Framing(limit=limit)
    with pytest.raises(PeerError) as raised:
        hear(machine, [data])
    with pytest.raises(PeerError) as again:
        hear(machine, [frame(0x82, b"more")])
    assert again.value is raised.value
    return raised.value.close_code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 640, 65_535, 65_536])
def test_messages_arrive_as_they_were_sent(size: int):
    """A message of any allowed length is the same on the other side, in both directions, text and binary."""
    pair = ConnectionPair()
    assert pair.play(lambda side: side.binary(b"\x80" * size)) == b"\x80" * size
    assert pair.play(lambda side: side.text("x" * size)) == "x" * size
    assert pair.play(lambda side: side.binary(b"next")) == b"next"


def test_controls_arrive_as_they_were_sent():
    """Pings, pongs and closes are the same on the other side."""
    pair = ConnectionPair()
    assert pair.play(lambda side: side.ping(b"are you there")) == Ping(b"are you there")
    assert pair.play(lambda side: side.pong(b"")) == Pong(b"")
    assert pair.play(lambda side: side.close(4001, "replacéd")) == Close(4001, "replacéd")
    assert pair.server.closed
    assert pair.server.close_sent


def test_nothing_comes_after_a_close():
    """Bytes after a close are dropped, in the same piece or later; a second close is empty."""
    machine = Framing()
    assert hear(machine, [frame(0x88) + frame(0x82, b"late") + b"\xff", b"\xff" * 9]) == [Close(1005, "")]
    assert machine.close(1000)
    assert machine.close(1000) == b""


def test_our_close_is_always_fit_to_send():
    """A code that must not be on the wire becomes none, a long reason is cut between two characters."""
    assert Framing().close(1005) == b"\x88\x00"
    assert Framing().close(99) == b"\x88\x00"
    sent = Framing().close(1000, "é" * 100)
    assert len(sent) == 2 + 2 + 122
    assert sent[4:].decode() == "é" * 61


def test_a_lone_surrogate_does_not_stop_us():
    """Text that cannot be encoded is sent with a question mark in its place."""
    assert Framing().text("a\ud800b") == b"\x81\x03a?b"


def test_fragments_make_a_message_with_controls_in_between():
    """A message in pieces comes whole, pings between its pieces come at once, and the next message is its own."""
    parts = [
        frame(0x01, b"caf\xc3"), frame(0x89, b"p"), frame(0x00, b""), frame(0x00, b"\xa9"), frame(0x8A),
        frame(0x80, b"!"), frame(0x02, b"a"), frame(0x80, b"b"), frame(0x81, b"end"),
    ]  # fmt: skip
    assert hear(Framing(), parts) == [Ping(b"p"), Pong(b""), "café!", b"ab", "end"]
    assert hear(Framing(), [b"".join(parts)]) == [Ping(b"p"), Pong(b""), "café!", b"ab", "end"]


EXCHANGE = b"".join(
    [
        frame(0x82, bytes(range(160))),
        frame(0x81, '{"t":"start","locale":"hi-IN","é":"नमस्ते"}'.encode()),
        frame(0x89, b"ping"),
        frame(0x02, b"x" * 300),
        frame(0x8A, b"pong"),
        frame(0x80, b"y" * 10),
        frame(0x01, "€".encode()[:2]),
        frame(0x80, "€".encode()[2:]),
        frame(0x82),
        frame(0x88, (4000).to_bytes(2) + b"bye"),
    ]
)


def test_every_split_point_gives_the_same():
    """Wherever the network cuts an exchange, in two or byte by byte, what comes out is the same."""
    whole = hear(Framing(), [EXCHANGE])
    assert whole[-1] == Close(4000, "bye")
    assert len(whole) == 8
    for at in range(len(EXCHANGE) + 1):
        assert hear(Framing(), [EXCHANGE[:at], EXCHANGE[at:]]) == whole
    assert hear(Framing(), [EXCHANGE[i : i + 1] for i in range(len(EXCHANGE))]) == whole


@given(cuts=st.lists(st.integers(0, len(EXCHANGE)), max_size=12))
def test_any_splits_give_the_same(cuts: list[int]):
    """However many pieces there are."""
    places = [0, *sorted(cuts), len(EXCHANGE)]
    pieces = [EXCHANGE[a:b] for a, b in itertools.pairwise(places)]
    assert hear(Framing(), pieces) == hear(Framing(), [EXCHANGE])


@given(messages=st.lists(st.one_of(st.text(), st.binary(max_size=400)), max_size=8), cut=st.integers(1, 200))
def test_whatever_is_sent_is_heard(messages: list[str | bytes], cut: int):
    """Any text and any bytes come through, in order, both ways, in pieces of any size."""
    for here, there in ((client(), Framing()), (Framing(), client())):
        wire = b"".join(here.text(m) if isinstance(m, str) else here.binary(m) for m in messages)
        assert hear(there, [wire[i : i + cut] for i in range(0, len(wire), cut)]) == messages


@pytest.mark.parametrize(
    "data",
    [
        frame(0xC2, b"x"), frame(0xA2, b"x"), frame(0x92, b"x"), frame(0xC1), frame(0xF9),
        *[frame(0x80 | opcode) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        frame(0x82, b"x", masked=False), frame(0x81, b"x", masked=False), frame(0x88, masked=False),
        frame(0x09, b"x"), frame(0x08), frame(0x0A),
        frame(0x89, b"x" * 126), frame(0x88, b"\x03\xe8" + b"x" * 124),
        frame(0x80, b"x"), frame(0x00, b"x"),
        frame(0x01, b"x") + frame(0x81, b"y"), frame(0x02, b"x") + frame(0x02, b"y"), frame(0x01, b"x") + frame(0x82),
        frame(0x82, b"x", size=b"\x7e\x00\x01"), frame(0x81, b"x" * 125, size=b"\x7e\x00\x7d"),
        frame(0x82, b"x" * 300, size=b"\x7f" + (300).to_bytes(8)), frame(0x82, size=b"\x7f" + b"\xff" * 8),
        frame(0x88, b"\x03"), *[frame(0x88, code.to_bytes(2)) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)],
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_broken_frames_close_1002(data: bytes):
    """What RFC 6455 forbids is a protocol error, and stays one."""
    assert fault(data) == 1002


@pytest.mark.parametrize("opening", [0x81, 0x82, 0x01, 0x02])
def test_a_message_inside_another_is_refused_whenever_it_comes(opening: int):
    """Also when the first piece has long been read."""
    machine = Framing()
    assert hear(machine, [frame(0x02, b"x")]) == []
    machine.receive_data(frame(opening, b"y"))
    with pytest.raises(PeerError, match="inside another"):
        machine.next_event()


def test_a_server_that_masks_is_refused():
    """The client's side holds the server to its role too."""
    machine = client()
    machine.receive_data(frame(0x82, b"x"))
    with pytest.raises(PeerError, match="masked"):
        machine.next_event()


@pytest.mark.parametrize(
    "data",
    [
        frame(0x81, b"\xff"), frame(0x81, b"\xed\xa0\x80"), frame(0x81, b"\xc3"), frame(0x81, b"\xf4\x90\x80\x80"),
        frame(0x01, b"a\xff"), frame(0x01, b"\xc3") + frame(0x00, b"x"), frame(0x01, b"\xc3") + frame(0x80),
        frame(0x88, b"\x03\xe8\xff"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_text_that_is_not_utf8_closes_1007(data: bytes):
    """Bad text is noticed with the fragment that breaks it, not when the message ends."""
    assert fault(data) == 1007


@pytest.mark.parametrize(
    "data",
    [
        frame(0x82, b"x" * 101), frame(0x81, b"x" * 101), frame(0x82, size=b"\x7e\xff\xff"),
        frame(0x82, size=b"\x7f\x00\x00" + b"\xff" * 6), frame(0x02, b"x" * 60) + frame(0x80, b"x" * 41),
        frame(0x01, b"x" * 60) + frame(0x00, b"x" * 41),
    ],
    ids=["binary", "text", "64 KiB announced", "256 TiB announced", "pieces", "open pieces"],
)  # fmt: skip
def test_long_messages_close_1009(data: bytes):
    """A message over the limit is refused by its header, before its bytes have come; pieces count together."""
    assert fault(data, limit=100) == 1009
    assert hear(Framing(limit=100), [frame(0x82, b"x" * 100)]) == [b"x" * 100]
    assert hear(Framing(limit=100), [frame(0x02, b"x" * 60) + frame(0x80, b"x" * 40)]) == [b"x" * 100]


def test_empty_fragments_take_no_memory():
    """Fragments without content do not add up: ten thousand of them take less than a byte each."""
    machine = Framing()
    hear(machine, [frame(0x02)])
    some = frame(0x00) * 100
    hear(machine, [some])
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        hear(machine, [some] * 100)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000


def test_a_message_of_drops_is_held_in_its_own_size():
    """A long message that comes byte by byte takes its own size, and is not read again with each byte."""
    machine = Framing()
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    data = frame(0x02, b"x" * 30_000)
    machine.receive_data(data[:10])
    sys.setprofile(count)
    try:
        for i in range(10, len(data) - 1):
            machine.receive_data(data[i : i + 1])
            assert machine.next_event() is None
    finally:
        sys.setprofile(None)
    assert steps / len(data) < 15


@given(data=st.lists(st.binary(max_size=300), max_size=5), ours=st.booleans())
def test_garbage_raises_nothing_but_peer_error(data: list[bytes], ours: bool):
    """Whatever comes, it is a message or the peer's fault."""
    machine = client(1000) if ours else Framing(limit=1000)
    code = 1002
    try:
        hear(machine, data)
    except PeerError as error:
        code = error.close_code
    assert code in {1002, 1007, 1009}


@given(
    frames=st.lists(
        st.tuples(
            st.sampled_from([0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A]),
            st.one_of(st.binary(max_size=140), st.text(max_size=40).map(str.encode)),
        ),
        max_size=12,
    ),
    flip=st.none() | st.tuples(st.integers(0, 3000), st.integers(0, 255)),
)
def test_almost_valid_frames_raise_nothing_but_peer_error(
    frames: list[tuple[int, bytes]], flip: tuple[int, int] | None
):
    """Frames in any order, with one byte changed: the same, and the same however they are cut."""
    data = bytearray(b"".join(frame(opening, payload) for opening, payload in frames))
    if flip and data:
        data[flip[0] % len(data)] = flip[1]

    def outcome(chunks: list[bytes]) -> list[object]:
        machine, seen = Framing(limit=500), list[object]()
        try:
            for chunk in chunks:
                machine.receive_data(chunk)
                while (event := machine.next_event()) is not None:
                    seen.append(event)
        except PeerError as error:
            seen.append((error.close_code, error.reason))
        return seen

    assert outcome([bytes(data)]) == outcome([bytes(data[i : i + 1]) for i in range(len(data))])
