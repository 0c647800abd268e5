"""The voice socket: sending never waits, closing always ends, a peer who is not there is noticed."""

from __future__ import annotations

import itertools
import os
import socket as stdlib
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from invorto.realtime.closed import LOST, Closed
from invorto.realtime.framing import Close, Event, Framing, Ping, Pong
from invorto.realtime.socket import Patience, VoiceSocket, open_socket


@attrs.define
class Peer:
    """The far end: a client made of bytes."""

    stream: trio.abc.Stream
    framing: Framing = attrs.Factory(lambda: Framing(client=True, limit=2**24))

    async def say(self, *messages: bytes | str) -> None:
        framed = [self.framing.text(m) if isinstance(m, str) else self.framing.binary(m) for m in messages]
        await self.stream.send_all(b"".join(framed))

    async def hear(self) -> Event | None:
        """Wait for the next event; None at the end of the stream."""
        while (event := self.framing.next_event()) is None:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.framing.receive_data(bytes(data))
        return event

    async def babble(self, data: bytes) -> None:
        """Send bytes as they are, as long as someone takes them."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(data)

    async def leave(self) -> None:
        """Close if that has not been done, so that nobody has to wait for it."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(self.framing.close())


@asynccontextmanager
async def in_memory(
    patience: Patience | None = None, *, opening: bytes = b"", residue: bytes = b""
) -> AsyncGenerator[tuple[VoiceSocket, Peer]]:
    """Open a socket and its peer on memory streams, for virtual time."""
    ours, theirs = memory_stream_pair()
    async with open_socket(ours, patience=patience, opening=opening, residue=residue) as socket:
        yield socket, (peer := Peer(theirs))
        await peer.leave()
    await trio.aclose_forcefully(theirs)


def tcp_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Connect two kernel sockets, without waiting: there is nothing to cancel."""
    with stdlib.create_server(("127.0.0.1", 0)) as listener:
        near = stdlib.create_connection(listener.getsockname())
        far, _ = listener.accept()
    left, right = (trio.SocketStream(trio.socket.from_stdlib_socket(each)) for each in (far, near))
    return left, right


@asynccontextmanager
async def on_tcp(patience: Patience | None = None) -> AsyncGenerator[tuple[VoiceSocket, Peer]]:
    """Open a socket and its peer on the kernel."""
    ours, theirs = tcp_pair()
    async with theirs, open_socket(ours, patience=patience) as socket:
        yield socket, (peer := Peer(theirs))
        await peer.leave()


type Opened = Callable[..., AbstractAsyncContextManager[tuple[VoiceSocket, Peer]]]
KINDS = pytest.mark.parametrize("opened", [in_memory, on_tcp], ids=["memory", "tcp"])


@KINDS
async def test_messages_pass_in_order(opened: Opened):
    """What is sent either way, text and audio, arrives as it was, in order; pings are answered in passing."""
    async with opened() as (socket, peer):
        await peer.say("a", b"b" * 640, "नमस्ते", b"", "")
        await peer.stream.send_all(peer.framing.ping(b"?"))
        await peer.say(b"end")
        assert [await socket.receive() for _ in range(6)] == ["a", b"b" * 640, "नमस्ते", b"", "", b"end"]
        for i in range(3):
            socket.send_text(f"{i}")
            socket.send_audio(bytes((i,)) * 320)
        heard = [await peer.hear() for _ in range(7)]
        assert heard == [Pong(b"?"), "0", bytes(320), "1", b"\1" * 320, "2", b"\2" * 320]


@KINDS
async def test_a_receive_that_is_cancelled_loses_nothing(opened: Opened):
    """Whoever gives up waiting, and comes back, gets every message once and in order."""
    async with opened() as (socket, peer):
        await peer.say(*map(str, range(300)))
        came: list[str | bytes] = []
        for attempt in itertools.count():
            with trio.CancelScope() as scope:
                if attempt % 100:  # else nothing new would ever be read
                    scope.cancel()
                came.append(await socket.receive())
            if len(came) == 300:
                break
        assert came == list(map(str, range(300)))


async def test_the_answer_to_the_handshake_goes_first_and_early_frames_count():
    """The opening is the first thing sent; frames that came with the handshake are the first received."""
    async with in_memory(opening=b"HTTP/1.1 101\r\n\r\n", residue=Framing(client=True).text("early")) as (socket, peer):
        assert await socket.receive() == "early"
        assert await peer.stream.receive_some() == b"HTTP/1.1 101\r\n\r\n"


@KINDS
@pytest.mark.parametrize(("sent", "code"), [(4000, 4000), (1005, 1005)], ids=["code", "none"])
async def test_a_peer_that_closes_is_answered(opened: Opened, sent: int, code: int):
    """The peer's close is answered in kind and told to whoever receives, again each time."""
    async with opened() as (socket, peer):
        await peer.say("last words")
        await peer.stream.send_all(peer.framing.close(sent, "bye"))
        assert await socket.receive() == "last words"
        for _ in range(2):
            with pytest.raises(Closed) as raised:
                await socket.receive()
            assert raised.value.code == code
        socket.send_audio(b"too late")
        assert await peer.hear() == Close(code, "")
        await socket.aclose()
        assert await peer.hear() is None


@KINDS
async def test_a_peer_that_vanishes_is_lost(opened: Opened):
    """The end of the stream without a close is 1006, after what was said before; sending goes into the void."""
    async with opened() as (socket, peer):
        await peer.say("last words")
        await peer.stream.aclose()
        assert await socket.receive() == "last words"
        for _ in range(2):
            with pytest.raises(Closed, match="lost") as raised:
                await socket.receive()
            assert raised.value.code == LOST
            socket.send_audio(bytes(640))


async def test_a_connection_that_is_reset_is_lost():
    """A reset is an end like any other."""
    async with on_tcp() as (socket, peer):
        assert isinstance(peer.stream, trio.SocketStream)
        peer.stream.setsockopt(stdlib.SOL_SOCKET, stdlib.SO_LINGER, struct.pack("ii", 1, 0))
        await peer.stream.aclose()
        with pytest.raises(Closed) as raised:
            await socket.receive()
        assert raised.value.code == LOST
        socket.send_audio(b"void")
        socket.send_text("void")


@KINDS
@pytest.mark.parametrize(
    ("data", "code"),
    [(b"\xff\xff", 1002), (b"\x81\x81\0\0\0\0\xff", 1007), (b"\x82\xff\0\0\0\0\0\1\0\1", 1009)],
    ids=["protocol", "text", "size"],
)
async def test_a_peer_that_breaks_the_protocol_hears_why(opened: Opened, data: bytes, code: int):
    """The close says what was wrong and arrives although more of the nonsense is on its way."""
    async with opened() as (socket, peer), trio.open_nursery() as nursery:
        await peer.say("fine")
        nursery.start_soon(peer.babble, data + bytes(200_000))
        assert await socket.receive() == "fine"
        for _ in range(2):
            with pytest.raises(Closed) as raised:
                await socket.receive()
            assert raised.value.code == code
        nursery.start_soon(socket.aclose)
        with trio.fail_after(1):
            close = await peer.hear()
            assert isinstance(close, Close)
            assert close.code == code
            assert await peer.hear() is None
        await peer.stream.aclose()


@KINDS
async def test_closing_shakes_hands(opened: Opened):
    """Our close reaches the peer after all that was sent before; its answer ends it, and a second close is harmless."""
    async with opened() as (socket, peer), trio.open_nursery() as nursery:
        socket.send_text("goodbye")
        nursery.start_soon(socket.aclose, 4001, "replaced")
        assert await peer.hear() == "goodbye"
        assert await peer.hear() == Close(4001, "replaced")
        await peer.say("still talking")
        await peer.stream.send_all(peer.framing.close(4001))
        with trio.fail_after(1):
            await socket.aclose(1000)
            with pytest.raises(Closed) as raised:
                await socket.receive()
        assert raised.value.code == 4001


@KINDS
async def test_whoever_receives_is_told_that_we_close(opened: Opened):
    """A task that waits in receive while another closes gets `Closed`; what the peer still says is dropped."""
    codes = list[int]()

    async def receive(socket: VoiceSocket) -> None:
        try:
            while True:
                codes.append(len(await socket.receive()))
        except Closed as closed:
            codes.append(closed.code)

    async with opened() as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(receive, socket)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(socket.aclose, 4004, "agent_not_found")
        assert await peer.hear() == Close(4004, "agent_not_found")
        await peer.say("dropped")
        await peer.stream.send_all(peer.framing.close(4004))
    assert codes == [4004]


async def test_two_receivers_are_a_mistake():
    """A second task that receives is told so, and the first goes on."""
    async with in_memory() as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(socket.receive)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await socket.receive()
        await peer.say("x")


async def test_a_peer_that_never_answers_the_close_costs_two_seconds(autojump_clock: MockClock):
    """Closing ends after `farewell`, with a peer that says nothing, or chatters on; twice at once too."""
    for chatter in (False, True):
        async with in_memory() as (socket, peer), trio.open_nursery() as nursery:
            if chatter:
                nursery.start_soon(chat, peer)
            began = trio.current_time()
            async with trio.open_nursery() as both:
                both.start_soon(socket.aclose)
                both.start_soon(socket.aclose)
            assert trio.current_time() - began == pytest.approx(2)
            nursery.cancel_scope.cancel()


async def chat(peer: Peer) -> None:
    """Talk, whoever listens."""
    with suppress(trio.BrokenResourceError):
        while True:
            await peer.say(bytes(320))
            await trio.sleep(0.02)


async def test_a_peer_that_does_not_read_cannot_hold_up_a_close():
    """Closing ends in time with the kernel's buffers full, and the connection is gone."""
    async with on_tcp(Patience(farewell=0.2, backlog=2**26)) as (socket, peer):
        fill(socket)
        assert socket.backlog
        with trio.fail_after(1):
            await socket.aclose(1000)
        with pytest.raises(Closed):
            await socket.receive()
        assert isinstance(peer.stream, trio.SocketStream)


def fill(socket: VoiceSocket) -> int:
    """Send without end until nothing more is taken; how much was sent."""
    sent = 0
    while not socket.backlog:
        socket.send_audio(bytes(60_000))
        sent += 60_000
    return sent


async def test_sending_does_not_wait_and_a_deaf_peer_is_given_up():
    """A peer that reads nothing costs `backlog` bytes and no time: then it is lost, and whoever receives is woken."""
    async with on_tcp() as (socket, _peer), trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(Closed, match="too slow"):
                await socket.receive()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        fill(socket)
        began = trio.current_time()
        most = 0
        for _ in range(20):
            socket.send_audio(bytes(60_000))
            most = max(most, socket.backlog)
        assert 400_000 < most <= Patience().backlog
        assert socket.backlog == 0
        assert trio.current_time() - began < 0.1


async def test_a_slow_peer_gets_all_of_it():
    """What the kernel did not take at once arrives whole and in order when the peer reads, with what came after."""
    async with on_tcp(Patience(backlog=2**24)) as (socket, peer):
        sent = fill(socket) // 60_000
        for i in range(50):
            socket.send_text(f"{i}")
            socket.send_audio(bytes((i,)) * 1000)
        with trio.fail_after(5):
            assert [await peer.hear() for _ in range(sent)] == [bytes(60_000)] * sent
            for i in range(50):
                assert await peer.hear() == f"{i}"
                assert await peer.hear() == bytes((i,)) * 1000
        assert socket.backlog == 0


async def test_a_peer_that_stalls_is_given_up(autojump_clock: MockClock):
    """A small backlog of which nothing is taken for `stalled` seconds is enough to know."""
    ours, theirs = lockstep_stream_pair()
    async with open_socket(ours) as socket:
        socket.send_text("hello?")
        began = trio.current_time()
        with pytest.raises(Closed, match="does not read"):
            await socket.receive()
        assert trio.current_time() - began == pytest.approx(10)
    await trio.aclose_forcefully(theirs)


async def test_a_peer_is_asked_every_15_seconds_and_given_up_after_45(autojump_clock: MockClock):
    """A silent peer hears three pings and is gone 45 seconds after its last byte."""
    began = trio.current_time()
    asked = list[float]()

    async def listen(peer: Peer) -> None:
        await trio.sleep(7)
        await peer.say("still here")
        while await peer.hear() == Ping(b""):
            asked.append(trio.current_time() - began)

    async with in_memory() as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(listen, peer)
        assert await socket.receive() == "still here"
        with pytest.raises(Closed, match="silent") as raised:
            await socket.receive()
        assert raised.value.code == LOST
        assert trio.current_time() - began == pytest.approx(7 + 45)
    assert asked == pytest.approx([15, 30, 45])


async def test_a_peer_that_answers_stays(autojump_clock: MockClock):
    """Pongs are signs of life: an hour of nothing else is fine."""

    async def answer(peer: Peer) -> None:
        while isinstance(event := await peer.hear(), Ping):
            await peer.stream.send_all(peer.framing.pong(event.payload))

    async with in_memory() as (socket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(answer, peer)
        with trio.move_on_after(3600) as hour:
            await socket.receive()
        assert hour.cancelled_caught
        assert trio.current_time() - socket.heard_at < 16
        nursery.cancel_scope.cancel()


async def test_a_peer_is_not_silent_while_we_do_not_listen(autojump_clock: MockClock):
    """If nobody received for minutes, what the peer said in the meantime counts."""
    async with in_memory() as (socket, peer):
        await peer.say("a")
        await trio.sleep(300)
        assert await socket.receive() == "a"


async def test_an_error_inside_is_raised_as_it_is_and_closes_1011():
    """The body's error comes out unwrapped, and the peer is told that it was our fault."""
    ours, theirs = memory_stream_pair()
    peer = Peer(theirs)
    await peer.stream.send_all(peer.framing.close(1011))
    with pytest.raises(KeyError, match="oops"):
        async with open_socket(ours):
            raise KeyError("oops")
    assert await peer.hear() == Close(1011, "")
    assert await peer.hear() is None


async def test_an_error_inside_is_not_lost_to_a_cancel(autojump_clock: MockClock):
    """An error is raised although we are cancelled while the socket closes."""
    ours, theirs = memory_stream_pair()
    with pytest.raises(KeyError, match="oops"), trio.move_on_after(1):
        async with open_socket(ours):
            raise KeyError("oops")
    await trio.aclose_forcefully(theirs)


async def test_a_cancelled_call_ends_its_socket_at_once(autojump_clock: MockClock):
    """Being cancelled says 1001 and waits for nobody."""
    ours, theirs = memory_stream_pair()
    peer = Peer(theirs)
    with trio.move_on_after(1):
        async with open_socket(ours) as socket:
            await socket.receive()
    assert trio.current_time() - 1 == pytest.approx(0, abs=0.01)
    assert await peer.hear() is None


async def test_a_cancelled_call_says_1001_on_a_real_socket():
    """The kernel takes the close even so."""
    ours, theirs = tcp_pair()
    async with theirs:
        with trio.CancelScope() as scope:
            async with open_socket(ours):
                scope.cancel()
                await trio.sleep_forever()
        assert await Peer(theirs).hear() == Close(1001, "")


async def test_a_call_that_is_slow_to_be_cancelled_says_1001_too():
    """The peer learns it although the socket's own task still has a nursery to leave."""
    ours, theirs = tcp_pair()
    async with theirs:
        with trio.CancelScope() as scope:
            async with open_socket(ours), trio.open_nursery(), trio.open_nursery():
                scope.cancel()
                await trio.sleep_forever()
        assert await Peer(theirs).hear() == Close(1001, "")


class Steps(trio.abc.Instrument):
    """Cancels a scope at the n-th step of one task, and counts steps by task."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.scope, self.task = at, trio.CancelScope(), trio.lowlevel.current_task()
        self.steps: dict[str, int] = {}
        self.taken = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps[task.name] = self.steps.get(task.name, 0) + 1
        if task is self.task:
            self.taken += 1
            if self.taken == self.at:
                self.scope.cancel()


async def conversation(closed: list[bool]) -> None:
    """Open, talk, be silent, drain a backlog, close."""
    ours, theirs = tcp_pair()
    try:
        async with theirs, open_socket(ours, patience=Patience(backlog=2**24, farewell=0.05)) as socket:
            peer = Peer(theirs)
            await peer.say("a", b"b")
            assert [await socket.receive(), await socket.receive()] == ["a", b"b"]
            sent = fill(socket) // 60_000
            for _ in range(sent):
                await peer.hear()
            await socket.aclose(4000, "enough")
    finally:
        closed.append(ours.socket.fileno() == -1)


async def test_cancelled_at_each_checkpoint_it_closes():
    """Wherever a conversation is cancelled, the connection is closed and nothing of it is left."""
    closed, at = list[bool](), 0
    for at in range(1, 10_000):
        steps = Steps(at)
        trio.lowlevel.add_instrument(steps)
        try:
            with trio.fail_after(2), steps.scope:
                await conversation(closed)
        finally:
            trio.lowlevel.remove_instrument(steps)
        if not steps.scope.cancelled_caught and steps.taken < at:
            break
    assert at > 10
    assert all(closed)


async def test_a_frame_costs_one_wake_up():
    """Each frame wakes the reader once and nobody else, whatever is sent in return."""
    async with on_tcp() as (socket, peer):
        await peer.say(b"first")
        await socket.receive()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                for _ in range(50):
                    socket.send_audio(await socket.receive())  # pyright: ignore[reportArgumentType]

            nursery.start_soon(listen, name="reader")
            for _ in range(50):
                await peer.say(bytes(640))
                assert await peer.hear() == bytes(640)
        trio.lowlevel.remove_instrument(steps)
        assert steps.steps["reader"] <= 52
        assert not any("keep" in name for name in steps.steps)


async def test_a_flood_of_tiny_frames_lets_others_run():
    """Thousands of frames that come at once are handed out with room for other tasks in between."""
    async with on_tcp() as (socket, peer):
        await peer.say(*[b""] * 2000)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(2000):
                assert await socket.receive() == b""
            nursery.cancel_scope.cancel()
        assert turns >= 30


async def test_a_flood_of_pings_is_bounded():
    """A peer that asks without reading the answers is given up, not remembered."""
    async with on_tcp(Patience(backlog=10_000)) as (socket, peer), trio.open_nursery() as nursery:

        async def ask() -> None:
            with suppress(trio.BrokenResourceError):
                while True:
                    await peer.stream.send_all(peer.framing.ping(bytes(125)) * 1000)

        nursery.start_soon(ask)
        with pytest.raises(Closed), trio.fail_after(10):
            await socket.receive()
        assert socket.backlog == 0
        nursery.cancel_scope.cancel()


async def test_a_socket_that_is_over_never_touches_its_number_again():
    """What is sent after the end does not reach a stranger who got the same descriptor."""
    ours, theirs = tcp_pair()
    number = ours.socket.fileno()
    async with theirs:
        async with open_socket(ours) as socket:
            await theirs.send_all(Framing(client=True).close())
        left, right = stdlib.socketpair()
        with left, right:
            if number not in {left.fileno(), right.fileno()}:
                os.dup2(left.fileno(), number)
            socket.send_audio(b"stray")
            with pytest.raises(Closed):
                await socket.receive()
            for end in (left, right):
                end.setblocking(False)
                with pytest.raises(BlockingIOError):
                    end.recv(100)
            if number not in {left.fileno(), right.fileno()}:
                os.close(number)


@settings(max_examples=60, deadline=None)
@given(data=st.lists(st.binary(min_size=1, max_size=200), max_size=4))
async def test_garbage_ends_in_closed(data: list[bytes]):
    """Whatever a peer sends, receive gives messages or `Closed`."""
    async with in_memory(Patience(farewell=0.01)) as (socket, peer):
        for piece in data:
            await peer.stream.send_all(piece)
        await peer.stream.aclose()
        assert await all_of(socket) in {1002, 1005, 1007, 1009, LOST}


async def all_of(socket: VoiceSocket) -> int:
    """Receive until the end; why it ended."""
    try:
        while True:
            await socket.receive()
    except Closed as closed:
        return closed.code
