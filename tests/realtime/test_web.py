"""The line to a browser or an app: only what is sound comes through, everything else is answered, nothing is lost."""

from __future__ import annotations

import base64
import itertools
import json
import time
from typing import Any

import attrs
import numpy as np
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from invorto import config
from invorto.audio import g711
from invorto.errors import NotSupported
from invorto.model.call import EndReason
from invorto.realtime.auth import Credential
from invorto.realtime.closed import LOST, Closed
from invorto.realtime.handshake import Codec, Handshake
from invorto.realtime.knock import Admission
from invorto.realtime.line import HungUp, Inbound, Line
from invorto.realtime.protocol import (
    CLIENT_KINDS,
    ConfigChange,
    Ended,
    ErrorMessage,
    Mark,
    Pause,
    Start,
    SttFinal,
    Text,
    ToolResult,
)
from invorto.realtime.socket import VoiceSocket
from invorto.realtime.tokens import ALWAYS, DEFAULT_ALLOW
from invorto.realtime.web import Patience, Socket, WebLine
from invorto.speech.ports import Samples
from tests.realtime.doors import agent


@attrs.define
class FakeSocket:
    """A socket whose peer has said everything already; then it is silent, or over."""

    said: list[str | bytes] = attrs.field(factory=list)
    end: Closed | None = None
    sent: list[str | bytes] = attrs.field(factory=list)
    closed: list[tuple[int, str]] = attrs.field(factory=list)

    async def receive(self) -> str | bytes:
        await trio.lowlevel.checkpoint()
        if self.said:
            return self.said.pop(0)
        if self.end is None:
            await trio.sleep_forever()
        raise self.end or Closed(LOST)

    def send_text(self, text: str) -> None:
        self.sent.append(text)

    def send_audio(self, audio: bytes) -> None:
        self.sent.append(audio)

    async def aclose(self, code: int = 1000, reason: str = "") -> None:
        await trio.lowlevel.checkpoint()
        self.closed.append((code, reason))

    @property
    def told(self) -> list[Any]:
        return [json.loads(text) if isinstance(text, str) else text for text in self.sent]

    @property
    def errors(self) -> list[str]:
        return [told["code"] for told in self.told if not isinstance(told, bytes) and told["t"] == "error"]


def handshake(rate: int = 16000, codec: Codec = "linear16") -> Handshake:
    """Make what was asked for."""
    return Handshake(call_id="c_1", agent=None, rate=rate, codec=codec, resume=None)


def line(*said: Any, asked: Handshake | None = None, end: Closed | None = None, **changes: Any) -> WebLine:
    """Make a line to a peer that says *said*: messages, frames, or values to be written as JSON."""
    spoken = [each if isinstance(each, str | bytes) else json.dumps(each) for each in said]
    numbers = itertools.count()
    fields: dict[str, Any] = {
        "allow": CLIENT_KINDS,
        "agents": frozenset({"a_1", "Desk"}),
        "next_id": lambda: f"1733000000000-{next(numbers)}",
    }
    return WebLine(socket=FakeSocket(spoken, end or Closed(1000)), handshake=asked or handshake(), **(fields | changes))


def socket_of(web: WebLine) -> FakeSocket:
    """Give the fake that a line stands on."""
    assert isinstance(web.socket, FakeSocket)
    return web.socket


def deaf(audio: Samples, at: float) -> None:
    """Hear nothing."""


async def everything(web: Line) -> list[Inbound | Samples]:
    """Receive until the end."""
    came: list[Inbound | Samples] = []
    while True:
        inbound = await web.receive(lambda audio, _: came.append(audio))
        came.append(inbound)
        if isinstance(inbound, HungUp):
            return came


def samples(count: int = 320, seed: int = 1) -> np.ndarray[Any, np.dtype[np.int16]]:
    """Make noise."""
    return np.random.default_rng(seed).integers(-32768, 32768, count, dtype=np.int16)


def audio_message(pcm: bytes, seq: int = 0) -> dict[str, Any]:
    """Write audio as JSON."""
    return {"t": "audio", "seq": seq, "pcm16": base64.b64encode(pcm).decode()}


# -- what comes in --------------------------------------------------------------------------------


def test_it_is_a_line_and_takes_a_voice_socket():
    """The ports fit: the type checker reads this."""

    def fits(socket: VoiceSocket, web: WebLine) -> tuple[Socket, Line]:
        return socket, web

    assert fits


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
async def test_linear_frames(rate):
    """Binary frames are little-endian samples at the agreed rate, from one sample to 200 ms."""
    longest = samples(rate // 5)
    web = line(longest.astype("<i2").tobytes(), b"\x01\x80", asked=handshake(rate))
    first, second, _ = await everything(web)
    assert web.rate == rate
    assert isinstance(first, np.ndarray)
    assert first.dtype == np.int16
    np.testing.assert_array_equal(first, longest)
    np.testing.assert_array_equal(second, [-32767])
    assert socket_of(web).sent == []


@pytest.mark.parametrize("codec", ["mulaw", "alaw"])
async def test_g711_frames(codec):
    """Binary frames are one byte a sample where G.711 was agreed, odd counts too; JSON audio stays linear."""
    encode, decode = (g711.encode_ulaw, g711.decode_ulaw) if codec == "mulaw" else (g711.encode_alaw, g711.decode_alaw)
    wire = encode(samples(161))
    web = line(wire, audio_message(samples(160).astype("<i2").tobytes()), asked=handshake(8000, codec))
    first, second, _ = await everything(web)
    np.testing.assert_array_equal(first, decode(wire))
    np.testing.assert_array_equal(second, samples(160))


async def test_json_audio_is_the_same_as_a_frame():
    """`audio` messages carry the same samples."""
    (came, _) = await everything(line(audio_message(samples().astype("<i2").tobytes())))
    np.testing.assert_array_equal(came, samples())


BAD_AUDIO: list[tuple[Any, Handshake]] = [
    (b"", handshake()),
    (b"\0\0\0", handshake()),
    (b"\0" * (6400 + 2), handshake(16000)),
    (b"\0" * 65_536, handshake(48000)),
    (b"", handshake(8000, "mulaw")),
    (b"\0" * 1601, handshake(8000, "alaw")),
    (audio_message(b""), handshake()),
    (audio_message(b"\0\0\0"), handshake()),
    (audio_message(b"\0"), handshake(8000, "mulaw")),
    (audio_message(b"\0" * 6402), handshake()),
    ({"t": "audio", "seq": 0, "pcm16": "?"}, handshake()),
]


@pytest.mark.parametrize(("bad", "asked"), BAD_AUDIO, ids=range(len(BAD_AUDIO)))
async def test_bad_audio_is_answered_and_the_socket_stays(bad, asked):
    """Empty, half-sample and endless frames get an error; what comes after them is heard."""
    web = line(bad, {"t": "text", "text": "still here"}, asked=asked)
    assert await everything(web) == [Text("still here"), HungUp(1000)]
    assert socket_of(web).errors == ["bad_message"]
    assert not socket_of(web).closed


async def test_messages_come_through():
    """What a client says reaches the conversation as values, in order."""
    said = [
        {"t": "start", "callId": "c_1", "agentId": "Desk"},
        {"t": "text", "text": "hi"},
        {"t": "pause"},
        {"t": "tool.result", "id": "1-1", "result": 5},
        {"t": "config", "config": {"llm": {}}},
    ]
    web = line(*said)
    assert await everything(web) == [
        Start("c_1", "Desk"), Text("hi"), Pause(), ToolResult("1-1", 5), ConfigChange({"llm": {}}), HungUp(1000),
    ]  # fmt: skip
    assert socket_of(web).sent == []


async def test_bad_messages_are_answered_with_their_own_code():
    """An unknown type and a broken message get different errors, each with an id, none of them fatal."""
    web = line("{", {"t": "nonsense"}, {"t": "text"}, {"t": "pause"})
    assert await everything(web) == [Pause(), HungUp(1000)]
    told = socket_of(web).told
    assert [each["code"] for each in told] == ["bad_message", "unknown_type", "bad_message"]
    assert [each["id"] for each in told] == [f"1733000000000-{n}" for n in range(3)]
    assert not any(each["fatal"] for each in told)
    assert "`text`" in told[2]["message"]


async def test_a_ping_is_answered_here():
    """`pong` repeats what `ping` carried, else it tells our time; a client's own `pong` is let pass."""
    web = line({"t": "ping", "timestamp": 7.5}, {"t": "ping"}, {"t": "ping", "timestamp": 0}, {"t": "pong"})
    assert await everything(web) == [HungUp(1000)]
    assert socket_of(web).told == [
        {"t": "pong", "id": "1733000000000-0", "timestamp": 7.5},
        {"t": "pong", "id": "1733000000000-1", "timestamp": 1733000000000},
        {"t": "pong", "id": "1733000000000-2", "timestamp": 0},
    ]


START = {"t": "start"}


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([START | {"callId": "c_2"}], ["bad_message"]),
        ([START | {"agentId": "a_2"}], ["bad_message"]),
        ([START, START], ["bad_message"]),
        ([START | {"callId": "c_2"}, START], ["bad_message"]),
    ],
    ids=["call", "agent", "twice", "again"],
)
async def test_a_start_that_does_not_fit(said, told):
    """A `start` for another call or agent, or a second one, is refused; a right one after a wrong one counts."""
    web = line(*said)
    came = await everything(web)
    assert came.count(Start()) == (len(said) - 1)
    assert socket_of(web).errors == told


async def test_a_start_after_audio_still_counts():
    """Audio may begin the conversation before `start`, which still says how it wants to be answered."""
    web = line(b"\0\0" * 160, START | {"audioOut": "binary", "capabilities": ["marks", "other"]})
    came = await everything(web)
    assert isinstance(came[1], Start)
    assert web.marks
    web.play(samples(), turn=1)
    assert socket_of(web).sent == [samples().astype("<i2").tobytes()]


async def test_the_ends():
    """However a socket ends the line says so, again whenever it is asked, with the code where there is one."""
    for end, code in ((Closed(1000), 1000), (Closed(4003, "x"), 4003), (Closed(LOST), None)):
        web = line(end=end)
        assert [await web.receive(deaf), await web.receive(deaf)] == [HungUp(code)] * 2


# -- what a credential may ------------------------------------------------------------------------

GUARDED = {
    "config": {"t": "config", "config": {}},
    "transfer": {"t": "transfer", "to": "+911"},
    "dtmf.send": {"t": "dtmf.send", "digits": "1"},
}


@pytest.mark.parametrize("name", GUARDED)
async def test_what_a_browser_may_not(name):
    """A browser's token changes no agent and makes no calls, unless it was minted for that."""
    web = line(GUARDED[name], allow=DEFAULT_ALLOW | ALWAYS)
    assert await everything(web) == [HungUp(1000)]
    assert socket_of(web).errors == ["forbidden"]
    assert len(await everything(line(GUARDED[name], allow=DEFAULT_ALLOW | ALWAYS | {name}))) == 2


async def test_a_token_without_audio_is_not_heard():
    """Where audio is not allowed neither frames nor messages of it come through."""
    web = line(b"\0\0", audio_message(b"\0\0"), {"t": "text", "text": "x"}, allow=frozenset({"text"}))
    assert await everything(web) == [Text("x"), HungUp(1000)]
    assert socket_of(web).errors == ["forbidden", "forbidden"]


# -- limits ---------------------------------------------------------------------------------------


async def test_the_message_rate(autojump_clock: MockClock):
    """Over the limit a message is dropped with an error, audio and marks go on, and a minute later all is well."""
    chatter = [{"t": "text", "text": str(n)} for n in range(5)]
    web = line(*chatter, b"\0\0", audio_message(b"\0\0"), {"t": "mark", "name": "m"}, {"t": "pong"}, message_limit=3)
    web.marks = True
    web.mark("m", turn=1, text="")
    came = await everything(web)
    assert came[:3] == [Text("0"), Text("1"), Text("2")]
    assert [type(each) for each in came[3:]] == [np.ndarray, np.ndarray, Mark, HungUp]
    assert socket_of(web).errors == ["rate_limit_exceeded"] * 2
    await trio.sleep(60)
    socket_of(web).said = ['{"t":"pause"}']
    assert await web.receive(deaf) == Pause()


async def test_every_text_message_counts_that_is_no_audio_or_mark():
    """Pings, broken messages and forbidden ones use up the limit, too; else a flood of them would be free."""
    for each in ("{", '{"t":"?"}', '{"t":"ping"}', '{"t":"audio"}', '{"t":"config","config":{}}', '{"t":"start"}'):
        web = line(each, {"t": "pause"}, message_limit=1, allow=DEFAULT_ALLOW | ALWAYS)
        assert Pause() not in await everything(web)
        assert socket_of(web).errors[-1] == "rate_limit_exceeded"


async def test_no_message_limit():
    """`MESSAGE_RATE_LIMIT=0` lets everything through."""
    web = line(*[{"t": "pause"}] * 500, message_limit=0)
    assert len(await everything(web)) == 501


async def test_a_flood_of_garbage_is_not_answered_by_a_flood(autojump_clock: MockClock):
    """Thousands of bad frames get some dozens of errors, and the next good frame is heard."""
    web = line(*[b"\0"] * 5000, b"\0\0")
    came = await everything(web)
    assert len(came) == 2
    assert len(socket_of(web).sent) == 50
    await trio.sleep(2)
    socket_of(web).said = [b"\0"] * 20
    await web.receive(deaf)
    assert len(socket_of(web).sent) == 60


async def test_audio_that_comes_too_fast(autojump_clock: MockClock):
    """Five seconds at once are taken, then two a second; what is over is dropped, counted, and no error."""
    second = [b"\0\0" * 1600] * 10
    web = line(*second * 8)
    assert len(await everything(web)) == 50 + 1
    assert web.dropped == pytest.approx(3.0)
    await trio.sleep(1)
    socket_of(web).said = [json.dumps(audio_message(b"\0\0" * 1600))] * 30
    assert len(await everything(web)) == 20 + 1
    assert web.dropped == pytest.approx(4.0)
    assert socket_of(web).sent == []


# -- silence --------------------------------------------------------------------------------------


@attrs.define
class SlowSocket(FakeSocket):
    """Says one thing at each moment of a plan, in seconds since the start."""

    plan: list[tuple[float, str | bytes]] = attrs.field(factory=list)

    async def receive(self) -> str | bytes:
        if not self.plan:
            await trio.sleep_forever()
        at, message = self.plan[0]
        await trio.sleep_until(at)
        self.plan.pop(0)
        return message


PAUSE, PING, FRAME, ODD = '{"t":"pause"}', '{"t":"ping"}', b"\0\0", b"\0"


@pytest.mark.parametrize(
    ("plan", "patience", "at"),
    [
        ([], Patience(), 120),
        ([(100, PING)], Patience(), 220),
        ([(100, "{")], Patience(), 220),
        ([(100, ODD)], Patience(), 220),
        ([(10, '{"t":"start"}')], Patience(), 310),
        ([(10, FRAME)], Patience(), 310),
        ([(10, FRAME), (300, PING)], Patience(), 600),
        ([(10, FRAME), (300, PAUSE), (599, ODD)], Patience(), 899),
        ([], Patience(silent=5), 5),
        ([(4, FRAME)], Patience(silent=5), 9),
        ([(119.9, FRAME)], Patience(silent=1000), 1119.9),
        ([(at / 2, FRAME) for at in range(1, 1400)], Patience(), 999.5),
        ([(at / 2, ODD) for at in range(1, 300)], Patience(), 269.5),
    ],
    ids=range(13),
)
async def test_a_silent_peer(plan, patience, at, autojump_clock: MockClock):
    """Nothing received for 300 s, or 120 s before the beginning, closes 4000, exactly then and for that only."""
    web = line(patience=patience)
    web.socket = slow = SlowSocket(plan=[(trio.current_time() + moment, said) for moment, said in plan])
    began = trio.current_time()
    came = await everything(web)
    assert came[-1] == HungUp(4000)
    assert trio.current_time() - began == pytest.approx(at)
    assert slow.closed == [(4000, "connection_timeout")]


async def test_cancelling_a_wait_is_no_timeout(autojump_clock: MockClock):
    """A caller's own deadline passes through, and the line can be used afterwards."""
    web = line(end=Closed(1000))
    web.socket = SlowSocket(plan=[(trio.current_time() + 10, PAUSE)])
    with trio.move_on_after(5) as scope:
        await web.receive(deaf)
    assert scope.cancelled_caught
    assert await web.receive(deaf) == Pause()
    assert not socket_of(web).closed


# -- what goes out --------------------------------------------------------------------------------


async def test_audio_as_json():
    """Unless asked otherwise audio goes out as numbered `tts.chunk` with base64, as the original's clients read it."""
    for codec in ("linear16", "mulaw"):
        web = line(START, asked=handshake(8000, codec))
        await everything(web)
        web.play(samples(80), turn=1)
        web.play(samples(81, 2), turn=2)
        told = socket_of(web).told
        assert [(each["t"], each["seq"], each["turn"], each["id"]) for each in told] == [
            ("tts.chunk", 0, 1, "1733000000000-0"), ("tts.chunk", 1, 2, "1733000000000-1"),
        ]  # fmt: skip
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(told[1]["pcm16"]), "<i2"), samples(81, 2))


@pytest.mark.parametrize("codec", ["linear16", "mulaw", "alaw"])
async def test_audio_as_frames(codec):
    """Binary audio goes out in the codec that comes in, from any view of samples."""
    web = line(START | {"audioOut": "binary"}, asked=handshake(8000, codec))
    await everything(web)
    web.play(samples(), turn=1)
    web.play(samples()[10:20], turn=1)
    first, second = socket_of(web).sent
    assert isinstance(first, bytes)
    assert isinstance(second, bytes)
    heard = {"linear16": lambda b: np.frombuffer(b, "<i2"), "mulaw": g711.decode_ulaw, "alaw": g711.decode_alaw}[codec](
        first
    )
    assert heard.size == 320
    per_sample = len(first) // 320
    assert per_sample == (2 if codec == "linear16" else 1)
    assert second == first[10 * per_sample : 20 * per_sample]


@pytest.mark.parametrize(
    ("start", "marks", "told"),
    [
        ({}, False, []),
        ({"capabilities": ["marks"]}, True, ["tts.mark"]),
        ({"audioOut": "binary"}, False, ["tts.mark"]),
        ({"audioOut": "binary", "capabilities": ["marks"]}, True, ["tts.mark"]),
    ],
    ids=["plain", "marks", "binary", "both"],
)
async def test_marks(start, marks, told):
    """Marks are told where they were asked for or audio is binary; echoes are believed only where asked for, once."""
    web = line(START | start, end=Closed(1000))
    await everything(web)
    assert web.marks is marks
    web.mark("m1", turn=1, text="Hello.")
    assert [each["t"] for each in socket_of(web).told] == told
    socket_of(web).said = ['{"t":"mark","name":"m1"}', '{"t":"mark","name":"m1"}', '{"t":"mark","name":"other"}']
    assert await everything(web) == [*([Mark("m1")] if marks else []), HungUp(1000)]


async def test_marks_after_a_clear_do_not_count():
    """What a client echoes of audio that it was told to drop is not taken as played."""
    web = line(START | {"capabilities": ["marks"]})
    await everything(web)
    web.mark("m1", turn=1, text="")
    web.clear()
    web.mark("m2", turn=2, text="")
    socket_of(web).said = ['{"t":"mark","name":"m1"}', '{"t":"mark","name":"m2"}']
    assert await everything(web) == [Mark("m2"), HungUp(1000)]


async def test_marks_that_never_come_back_are_forgotten():
    """A client that asks for marks and never echoes one costs nothing."""
    web = line(START | {"capabilities": ["marks"]})
    await everything(web)
    for number in range(10_000):
        web.mark(f"m{number}", turn=1, text="")
    assert len(web._awaited) == 256
    socket_of(web).said = ['{"t":"mark","name":"m9999"}', '{"t":"mark","name":"m1"}']
    assert await everything(web) == [Mark("m9999"), HungUp(1000)]


async def test_events_and_the_end():
    """Events go out as they are, with the id they were given; the end is told, then closed."""
    web = line()
    web.tell(SttFinal("hi", 1.0, 1), "1-1")
    web.tell(Ended(EndReason.SILENCE), "1-2")
    await web.close()
    assert socket_of(web).told == [
        {"t": "stt.final", "id": "1-1", "text": "hi", "ts": 1.0, "turn": 1},
        {"t": "end", "id": "1-2", "reason": "silence"},
    ]
    assert socket_of(web).closed == [(1000, "")]


async def test_what_a_browser_cannot():
    """There is nobody to hand a browser over to, and nothing to press on it."""
    with pytest.raises(NotSupported):
        await line().transfer("+911", "blind")
    with pytest.raises(NotSupported):
        await line().send_digits("1", "info")


def test_a_line_is_made_of_an_admission():
    """Settings and credential arrive: what may be sent, how often, how long silence lasts, what the agent is called."""

    async def make() -> WebLine:
        await trio.lowlevel.checkpoint()
        credential = Credential(
            tenant_id="t_1", role="dev", way="token", fingerprint="f", allow=frozenset({"audio"})
        )  # fmt: skip
        asked = attrs.evolve(handshake(), agent="asked")
        admission = Admission(handshake=asked, credential=credential, call=None, agent=agent())
        limits = config.load({"MESSAGE_RATE_LIMIT": "7", "CONNECTION_TIMEOUT": "60000"}).limits
        return WebLine.of(FakeSocket(), admission, lambda: "1-1", limits)

    web = trio.run(make)
    assert (web.allow, web.message_limit, web.patience) == ({"audio"}, 7, Patience(silent=60.0))
    assert web.agents == {"a_1", "Desk", "asked"}
    assert (web.rate, web.lead, web.marks) == (16000, 0.2, False)


# -- everything at once ---------------------------------------------------------------------------

FRAMES = (
    st.binary(max_size=7000)
    | st.text(st.characters(exclude_categories=("Cs",)))
    | st.sampled_from([PAUSE, PING, '{"t":"start"}', '{"t":"mark","name":"m"}', '{"t":"end"}'])
    | st.builds(
        lambda t, x: json.dumps({"t": t, "text": x, "pcm16": x, "name": x}),
        st.sampled_from(sorted(CLIENT_KINDS)),
        st.text(),
    )
)


@settings(deadline=None)
@given(
    st.lists(FRAMES, max_size=30), st.sampled_from(["linear16", "mulaw", "alaw"]), st.sampled_from([0, 3, 100]),
    st.sets(st.sampled_from(sorted(CLIENT_KINDS))),
)  # fmt: skip
def test_whatever_comes_only_what_is_sound_comes_through(said, codec, limit, allow):
    """No frame and no text, in any order, raises; what comes through is allowed, bounded and whole."""

    async def run() -> None:
        web = line(*said, asked=handshake(8000, codec), message_limit=limit, allow=frozenset(allow) | ALWAYS)
        came = await everything(web)
        socket = socket_of(web)
        assert came[-1] == HungUp(1000)
        for inbound in came[:-1]:
            if isinstance(inbound, np.ndarray):
                assert 0 < inbound.size <= 1600
                assert "audio" in allow
            else:
                assert not isinstance(inbound, HungUp)
        assert {each["t"] for each in socket.told} <= {"error", "pong"}
        assert len(came) - 1 + len(socket.sent) <= len(said)
        assert not socket.closed
        web.tell(ErrorMessage("x", "y", fatal=False), "1-1")

    trio.run(run)


async def test_a_frame_is_cheap():
    """A frame costs the reader some microseconds, not a wake-up of another task."""
    frames = [samples(160).astype("<i2").tobytes()] * 100

    @attrs.define
    class Ready(FakeSocket):
        async def receive(self) -> str | bytes:
            if not self.said:
                raise Closed(1000)
            return self.said.pop()

    web = line(asked=handshake(8000))
    web.socket = ready = Ready()
    web._audio.rate = web._audio.burst = web._audio._level = 1e12
    best = 1.0
    for _ in range(20):
        ready.said = list(frames)
        began = time.perf_counter()
        await web.receive(deaf)
        best = min(best, (time.perf_counter() - began) / len(frames))
    assert best < 60e-6, f"{best * 1e6:.1f} µs"
    print(f"{best * 1e6:.1f} µs a frame")
